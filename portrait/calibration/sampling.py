"""Whom a calibration looks at: known people of a collection and some of their portraits, the same for the same seed."""

import random
from collections import defaultdict
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import numpy as np
from django.db.models import F, Window
from django.db.models.functions import RowNumber

from inference.types import FloatArray
from portrait.gallery.models import Collection, Distinct, Identity, PortraitEmbedding
from portrait.gallery.selectors import nearest_identities
from portrait.gallery.vectors import as_array, column_of

READ = 500


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much is looked at, at most; memory follows from it: about 10 MB of vectors, and 20 of pairs."""

    people: int = 4000
    portraits: int = 5
    pairs: int = 500_000
    neighbours: int = 300


@dataclass(frozen=True, slots=True)
class Sample:
    """vectors: float32 (n, dims), and for each whose it is: an index into `people`. groups: a value each, or None.

    known: how many known people the collection has. distinct: pairs of indexes, lower first, said to be two people.
    """

    vectors: FloatArray
    owners: np.ndarray[Any, np.dtype[np.int64]]
    people: list[UUID]
    groups: list[str | None]
    known: int
    distinct: frozenset[tuple[int, int]]


def sample(collection: Collection, *, seed: int, bounds: Bounds, group_by: str | None = None) -> Sample:
    """Known people with a portrait, each at random with the same chance, and their portraits likewise."""
    known = Identity.objects.filter(
        collection=collection, kind=Identity.Kind.KNOWN, merged_into=None, deleted_at=None
    ).order_by("pk")
    ids = list(known.values_list("pk", flat=True))
    chosen = sorted(random.Random(seed).sample(ids, min(len(ids), bounds.people)))  # noqa: S311  (no secret)
    vectors: dict[UUID, list[FloatArray]] = defaultdict(list)
    groups: dict[UUID, str | None] = {}
    for start in range(0, len(chosen), READ):
        chunk = chosen[start : start + READ]
        for identity_id, vector in _vectors(collection, chunk, bounds.portraits):
            vectors[identity_id].append(vector)
        if group_by is not None:
            rows = Identity.objects.filter(pk__in=chunk).values_list("pk", "metadata")
            groups |= {key: _group(metadata, group_by) for key, metadata in rows}
    people = [key for key in chosen if key in vectors]
    number = {key: index for index, key in enumerate(people)}
    rows_of = [row for key in people for row in vectors[key]]
    dims = collection.active_model.dims
    return Sample(
        vectors=np.stack(rows_of) if rows_of else np.zeros((0, dims), dtype=np.float32),
        owners=np.array([number[key] for key in people for _ in vectors[key]], dtype=np.int64),
        people=people,
        groups=[groups.get(key) for key in people],
        known=len(ids),
        distinct=_distinct(number, collection),
    )


@dataclass(frozen=True, slots=True)
class Nearest:
    """A person, the nearest other one of the whole collection, and how far; distinct: somebody said they are two."""

    person: UUID
    other: UUID
    distance: float
    distinct: bool


def nearest_others(collection: Collection, found: Sample, *, count: int, seed: int) -> list[Nearest]:
    """For some of the people, at most `count`: whom a face of theirs would be taken for."""
    rng = random.Random(seed)  # noqa: S311  (no secret)
    first_rows = np.flatnonzero(np.diff(found.owners, prepend=-1))
    rows = sorted(rng.sample(range(len(first_rows)), min(count, len(first_rows))))
    nearest = []
    for index in rows:
        person = found.people[index]
        vector = found.vectors[first_rows[index]]
        for candidate in nearest_identities(collection, vector, min_similarity=0, exclude=[person]):
            if candidate.identity.kind == Identity.Kind.KNOWN:
                other = candidate.identity.pk
                pair = {"first_id": min(person, other), "second_id": max(person, other)}
                nearest.append(Nearest(person, other, candidate.distance, Distinct.objects.filter(**pair).exists()))
    return nearest


def _vectors(collection: Collection, identity_ids: list[UUID], count: int) -> list[tuple[UUID, FloatArray]]:
    """Of each at most `count` portraits: by their ids, which are random."""
    rank = Window(RowNumber(), partition_by=F("identity_id"), order_by=F("portrait_id").asc())
    rows = PortraitEmbedding.objects.filter(
        identity__in=identity_ids, collection=collection, model_id=collection.active_model_id, live=True
    )
    rows = rows.annotate(rank=rank).filter(rank__lte=count).order_by("identity_id", "portrait_id")
    column = column_of(collection.active_model)
    return [(key, as_array(vector)) for key, vector in rows.values_list("identity_id", column)]


def _group(metadata: Any, key: str) -> str | None:
    value = metadata.get(key) if isinstance(metadata, dict) else None
    return str(value)[:60] if isinstance(value, str | int | float | bool) else None


def _distinct(number: dict[UUID, int], collection: Collection) -> frozenset[tuple[int, int]]:
    pairs = Distinct.objects.filter(first__collection=collection).values_list("first_id", "second_id")
    found = ((number[one], number[two]) for one, two in pairs.iterator() if one in number and two in number)
    return frozenset((min(pair), max(pair)) for pair in found)
