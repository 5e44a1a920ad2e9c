"""People as the scan sees them: their faces' vectors, of portraits and of what cameras saw."""

from collections import defaultdict
from collections.abc import Collection as Items
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import numpy as np
from django.db.models import F, QuerySet, Window
from django.db.models.functions import RowNumber

from inference.types import FloatArray
from portrait.curation.graph import Faces
from portrait.gallery.models import Collection, Identity, Portrait, PortraitEmbedding
from portrait.gallery.vectors import as_array, column_of
from portrait.sightings.models import DetectionEmbedding, Track

FACES = 8
"""How many portraits, and how many tracks' best faces, stand for a person beside others: the newest."""
ALL_FACES = 64
"""How many of a person's own portraits are compared with each other."""


@dataclass(frozen=True, slots=True)
class Person:
    """vectors: float32 (n, dims) of the portraits, in their order; seen: (m, dims) of faces in frames."""

    identity_id: UUID
    portraits: list[UUID] = field(default_factory=list)
    vectors: list[FloatArray] = field(default_factory=list)
    seen: list[FloatArray] = field(default_factory=list)

    @property
    def everything(self) -> FloatArray:
        return np.stack([*self.vectors[:FACES], *self.seen])

    @property
    def faces(self) -> Faces:
        return Faces.of(self.everything)

    def nearest(self, other: "Person") -> float:
        """The least distance of a face here to one there."""
        mine, theirs = self.everything, other.everything
        return float(np.linalg.norm(mine[:, None] - theirs[None], axis=2).min())


def living(collection_id: UUID) -> "QuerySet[Identity]":
    """Those of whom suggestions are made: neither merged, deleted nor hidden."""
    return Identity.objects.filter(collection_id=collection_id, merged_into=None, deleted_at=None, hidden=False)


def load(collection: Collection, identity_ids: Items[UUID], *, portraits: int = FACES) -> dict[UUID, Person]:
    """These people with their vectors by the active model; whoever has no face is left out. Three queries.

    portraits: at most so many each.
    """
    people = {key: Person(key) for key in identity_ids}
    for identity_id, portrait_id, vector in _portrait_vectors(collection, identity_ids, portraits):
        people[identity_id].portraits.append(portrait_id)
        people[identity_id].vectors.append(as_array(vector))
    for identity_id, vector in _seen_vectors(collection, identity_ids):
        people[identity_id].seen.append(as_array(vector))
    return {key: person for key, person in people.items() if person.vectors or person.seen}


def _rank(partition: str) -> Window:
    """1 for the newest row of each."""
    return Window(RowNumber(), partition_by=F(partition), order_by=F("pk").desc())


def _portrait_vectors(collection: Collection, identity_ids: Items[UUID], count: int) -> list[tuple[UUID, UUID, Any]]:
    rows = PortraitEmbedding.objects.filter(
        identity__in=identity_ids, model_id=collection.active_model_id, collection=collection, live=True
    )
    columns = ("identity_id", "portrait_id", column_of(collection.active_model))
    rows = rows.annotate(rank=_rank("identity_id")).filter(rank__lte=count)
    return list(rows.order_by("identity_id", "-pk").values_list(*columns))


def _seen_vectors(collection: Collection, identity_ids: Items[UUID]) -> list[tuple[UUID, Any]]:
    """Of the newest tracks of each the best face."""
    tracks = Track.objects.filter(identity__in=identity_ids, template__len__gt=0)
    tracks = tracks.annotate(rank=_rank("identity_id")).filter(rank__lte=FACES)
    best = {template[0]: identity_id for identity_id, template in tracks.values_list("identity_id", "template")}
    rows = DetectionEmbedding.objects.filter(
        detection__in=best, model_id=collection.active_model_id, collection=collection
    )
    columns = ("detection_id", column_of(collection.active_model))
    return [(best[key], vector) for key, vector in rows.order_by("detection_id").values_list(*columns)]


@dataclass(frozen=True, slots=True)
class Kept:
    """A portrait's quality, and whose very same picture it is."""

    portrait_id: UUID
    identity_id: UUID
    score: float
    sha256: str


def qualities(identity_ids: Items[UUID]) -> dict[UUID, list[Kept]]:
    """The newest live portraits of each."""
    rows: QuerySet[Portrait, Any] = Portrait.objects.filter(identity__in=identity_ids, deleted_at=None)
    rank = Window(RowNumber(), partition_by=F("identity_id"), order_by=[F("created_at").desc(), F("pk").desc()])
    rows = rows.annotate(rank=rank).filter(rank__lte=ALL_FACES).order_by("identity_id", "-created_at", "-pk")
    found: dict[UUID, list[Kept]] = defaultdict(list)
    for key, identity_id, score, sha256 in rows.values_list("pk", "identity_id", "quality__score", "sha256"):
        found[identity_id].append(Kept(key, identity_id, 1.0 if score is None else float(score), sha256))
    return dict(found)
