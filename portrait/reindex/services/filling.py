"""Vectors that are missing are made: out of those of the network behind a model, or out of pictures.

Everything here can be done twice, by several at once, and be cut off at any moment: what is there is left alone.
"""

import logging
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import numpy as np
from django.db import connection, transaction
from django.db.models import Max, Model, QuerySet

from inference.faces.embed import Embedder
from inference.types import FloatArray
from portrait.core.database import release_connection
from portrait.core.pipelines import embedder
from portrait.gallery.models import EmbeddingModel, Identity, Portrait, PortraitEmbedding
from portrait.gallery.services.spaces import lock_models
from portrait.gallery.vectors import as_array, network_of, project, stored_values
from portrait.reindex import gaps
from portrait.reindex.live import turn
from portrait.reindex.services import pictures
from portrait.sightings.models import Detection, DetectionEmbedding

logger = logging.getLogger(__name__)

PROJECTED_STEP = 500
"""Rows in one transaction where no picture is looked at."""


Vectors = dict[Any, FloatArray]
"""By primary key of their rows."""


@dataclass(slots=True)
class Filled:
    """How many vectors were made, and of how many rows the pictures could not be used."""

    made: int = 0
    impossible: int = 0

    @property
    def looked_at(self) -> int:
        return self.made + self.impossible

    def add(self, other: "Filled") -> None:
        self.made += other.made
        self.impossible += other.impossible


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be made. from_pictures: also where a stored vector of the network would do."""

    collection_id: UUID
    model: EmbeddingModel
    from_pictures: bool = False
    other: EmbeddingModel | None = None
    """A model whose vectors tell which detections are exemplars."""


def fill(wanted: Wanted, *, most: int | None = None) -> Filled:
    """Make all that is missing and can be made, and mend what is astray.

    most: look at so many rows at most, beginning anywhere: pictures that cannot be used are met again the next time,
    and must not keep it from all others for ever.
    """
    portraits = gaps.portraits_without(wanted.collection_id, wanted.model)
    detections = gaps.detections_to_make(wanted.collection_id, wanted.model, from_pictures=wanted.from_pictures)
    done = Filled()
    if most is None:
        done.add(fill_portraits(wanted, portraits))
        done.add(fill_detections(wanted, detections))
    else:
        for part in _from(portraits, uuid4()):
            done.add(fill_portraits(wanted, part, most=most - done.looked_at))
        end = Detection.objects.aggregate(end=Max("pk"))["end"] or 0
        for part in _from(detections, random.randint(0, end)):  # noqa: S311  (no secret)
            done.add(fill_detections(wanted, part, most=most - done.looked_at))
    gaps.mend_strays(wanted.collection_id, wanted.model, wanted.other)
    return done


def _from(rows: "QuerySet[Any]", begin: Any) -> tuple["QuerySet[Any]", "QuerySet[Any]"]:
    return rows.filter(pk__gte=begin), rows.filter(pk__lt=begin)


def fill_portraits(wanted: Wanted, rows: "QuerySet[Portrait]", *, most: int | None = None) -> Filled:
    """rows: without a vector by the model, in order of their ids. most: so many are looked at."""
    kind = _Kind(PortraitEmbedding, "portrait_id", pictures.of_portraits, _keep_portraits)
    return _fill(wanted, kind, rows, most)


def fill_detections(wanted: Wanted, rows: "QuerySet[Detection]", *, most: int | None = None) -> Filled:
    """rows: as above."""
    kind = _Kind(DetectionEmbedding, "detection_id", pictures.of_detections, _keep_detections)
    return _fill(wanted, kind, rows.select_related("frame"), most)


@dataclass(frozen=True, slots=True)
class _Kind:
    """What differs between portraits and detections."""

    table: Any
    key: str
    look: Callable[[Sequence[Any], Embedder], Vectors]
    keep: Callable[[Wanted, Vectors], int]


def _fill(wanted: Wanted, kind: _Kind, rows: "QuerySet[Any]", most: int | None) -> Filled:
    """Step by step through the ids, each step in a transaction of its own."""
    done, last, more = Filled(), None, True
    while more and (most is None or done.looked_at < most):
        with turn() as size:
            further = rows if last is None else rows.filter(pk__gt=last)
            more, last = _step(wanted, kind, further if most is None else further[: most - done.looked_at], size, done)
    return done


def _step(wanted: Wanted, kind: _Kind, rows: "QuerySet[Any]", size: int, done: Filled) -> tuple[bool, Any]:
    """Answers whether there may be more rows, and the id of the last one."""
    by_vectors = not wanted.from_pictures and wanted.model.source_id is not None
    some = list(rows[: PROJECTED_STEP if by_vectors else size])
    if not some:
        return False, None
    found = _stored(kind, wanted.model, [row.pk for row in some]) if by_vectors else {}
    left = [row for row in some if row.pk not in found]
    for start in range(0, len(left), size):
        found |= _looked(kind, wanted.model, left[start : start + size])
    done.made += kind.keep(wanted, found)
    done.impossible += len(some) - len(found)
    return True, some[-1].pk


def _looked(kind: _Kind, model: EmbeddingModel, rows: Sequence[Any]) -> Vectors:
    release_connection()
    return _projected(model, kind.look(rows, embedder(network_of(model))))


def _stored(kind: _Kind, model: EmbeddingModel, keys: Sequence[Any]) -> Vectors:
    """The model's vectors out of those of its network, as far as these are stored."""
    rows = kind.table.objects.filter(model_id=model.source_id, **{f"{kind.key}__in": keys})
    found = rows.values_list(kind.key, "vector", "half")
    return _projected(model, {row: as_array(vector if vector is not None else half) for row, vector, half in found})


def _projected(model: EmbeddingModel, seen: Vectors) -> Vectors:
    if not seen:
        return {}
    vectors = project(model, np.stack(list(seen.values())))
    return dict(zip(seen, vectors, strict=True))


def _keep_portraits(wanted: Wanted, found: Vectors) -> int:
    """Those that are still there, with what their rows say at this moment."""
    with transaction.atomic():
        lock_models(wanted.collection_id)
        held = Portrait.objects.filter(pk__in=_held_portraits(found)).order_by("pk")
        rows = [
            PortraitEmbedding(
                portrait=row,
                model=wanted.model,
                collection_id=wanted.collection_id,
                identity_id=row.identity_id,
                live=_is_live(row),
                **stored_values(wanted.model, found[row.pk]),
            )
            for row in held.select_related("identity")
        ]
        return _insert(PortraitEmbedding, rows)


def _is_live(row: Portrait) -> bool:
    who = row.identity
    return row.deleted_at is None and who.deleted_at is None and who.merged_into_id is None


def _keep_detections(wanted: Wanted, found: Vectors) -> int:
    with transaction.atomic():
        lock_models(wanted.collection_id)
        others = DetectionEmbedding.objects.filter(detection__in=found, exemplar=True)
        exemplars = set(others.values_list("detection_id", flat=True))
        held = Detection.objects.filter(pk__in=_held_detections(found)).order_by("pk")
        rows = [
            DetectionEmbedding(
                detection=row,
                model=wanted.model,
                collection_id=wanted.collection_id,
                camera_id=row.camera_id,
                captured_at=row.captured_at,
                exemplar=row.pk in exemplars,
                **stored_values(wanted.model, found[row.pk]),
            )
            for row in held
        ]
        return _insert(DetectionEmbedding, rows)


def _held_portraits(keys: Iterable[Any]) -> list[Any]:
    """Those that nobody changes, nor their people, until the transaction ends: whoever deletes or merges one then finds
    its vector. Who is about to do so is not waited for: what it leaves is made later."""
    portrait, identity = (connection.ops.quote_name(each._meta.db_table) for each in (Portrait, Identity))
    return _locked(
        f"SELECT p.id FROM {portrait} p JOIN {identity} i ON i.id = p.identity_id "  # noqa: S608
        "WHERE p.id = ANY(%s) ORDER BY p.id FOR SHARE SKIP LOCKED",
        [list(keys)],
    )


def _held_detections(keys: Iterable[Any]) -> list[Any]:
    """Those that nobody deletes until the transaction ends."""
    table = connection.ops.quote_name(Detection._meta.db_table)
    return _locked(f"SELECT id FROM {table} WHERE id = ANY(%s) FOR KEY SHARE SKIP LOCKED", [list(keys)])  # noqa: S608


def _locked(statement: str, values: Sequence[Any]) -> list[Any]:
    with connection.cursor() as cursor:  # Django has no word for these locks
        cursor.execute(statement, values)
        return [row[0] for row in cursor.fetchall()]


def _insert(table: Any, rows: Iterable[Model]) -> int:
    """Those that are there already stay as they are."""
    return len(table.objects.bulk_create(rows, ignore_conflicts=True))
