"""Not this person: faces of which somebody said whose they are not, and what that means for faces like them.

A person is no answer for a face that looks more like one of the faces that were said not to be this person's than like
the person's own portraits, if it looks like that face at all. Apps above the gallery add faces of their own.
"""

from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass
from uuid import UUID

import numpy as np
from django.db.models import Exists, F, OuterRef, Q
from numpy.typing import NDArray

from portrait.gallery.models import Collection, PortraitEmbedding, Rejection
from portrait.gallery.vectors import distance_to

Distances = Callable[[Collection, NDArray[np.float32], Iterable[UUID]], Mapping[UUID, float]]


@dataclass(frozen=True, slots=True)
class Source:
    """Faces that were rejected. there: whether the identity of an outer query has any, at no query of its own;
    distances: the nearest of them to a face, by identity."""

    there: Exists
    distances: Distances


_sources: list[Source] = []


def register(source: Source) -> None:
    """Count these faces too; once, when an app starts."""
    _sources.append(source)


def has_any() -> Q:
    """For a query of identities: whether somebody said of any face that it is not theirs."""
    found = Q()
    for source in _sources:
        found |= Q(source.there)
    return found


def overruled(
    collection: Collection, vector: NDArray[np.float32], found: Mapping[UUID, float], *, farthest: float
) -> set[UUID]:
    """Who of those that were found is not the one, by what was rejected.

    found: distance of their nearest portrait, of people of whom `has_any` is true. farthest: up to this distance a
    face looks like another.
    """
    dropped: set[UUID] = set()
    for source in _sources if found else ():
        for identity_id, distance in source.distances(collection, vector, found).items():
            if distance < found[identity_id] and distance <= farthest:
                dropped.add(identity_id)
    return dropped


def _portraits(
    collection: Collection, vector: NDArray[np.float32], identity_ids: Iterable[UUID]
) -> Mapping[UUID, float]:
    """Deleted ones count as well, until they are removed for good: what was said of them stays true."""
    model, wanted = collection.active_model, set(identity_ids)
    rows = PortraitEmbedding.objects.filter(model=model, portrait__rejections__identity__in=wanted)
    rows = rows.annotate(who=F("portrait__rejections__identity"), distance=distance_to(model, vector))
    return nearest(rows.values_list("who", "distance"), wanted)


def nearest(rows: Iterable[tuple[UUID, float]], wanted: Container[UUID]) -> dict[UUID, float]:
    """The least distance of each of the wanted."""
    found: dict[UUID, float] = {}
    for identity_id, distance in rows:
        if identity_id in wanted:
            found[identity_id] = min(distance, found.get(identity_id, distance))
    return found


register(Source(Exists(Rejection.objects.filter(identity=OuterRef("pk"))), _portraits))
