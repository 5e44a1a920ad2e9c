"""Reads of what a collection lacks of a model: faces without a vector, and vectors that say something else than their
face does. Raw SQL where a row of one table is compared with one of another."""

from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import Exists, OuterRef, QuerySet

from portrait.gallery.models import EmbeddingModel, Portrait, PortraitEmbedding
from portrait.sightings.models import Detection, DetectionEmbedding


@dataclass(frozen=True, slots=True)
class Gaps:
    """How many portraits (deleted ones that can be restored too) and kept detections have no vector by a model, and
    how many vectors repeat their row wrongly."""

    portraits: int
    detections: int
    strays: int

    @property
    def none(self) -> bool:
        return not (self.portraits or self.detections or self.strays)

    def as_json(self) -> dict[str, int]:
        return asdict(self)


def portraits_of(collection_id: UUID) -> "QuerySet[Portrait]":
    return Portrait.objects.filter(identity__collection_id=collection_id).order_by("pk")


def detections_of(collection_id: UUID) -> "QuerySet[Detection]":
    return Detection.objects.filter(camera__collection_id=collection_id).order_by("pk")


def portraits_without(collection_id: UUID, model: EmbeddingModel) -> "QuerySet[Portrait]":
    """Portraits without a vector by the model, in order of their ids."""
    have = PortraitEmbedding.objects.filter(portrait=OuterRef("pk"), model_id=model.pk)
    return portraits_of(collection_id).filter(~Exists(have))


def detections_without(collection_id: UUID, model: EmbeddingModel) -> "QuerySet[Detection]":
    """Kept detections without a vector by the model, in order of their ids."""
    have = DetectionEmbedding.objects.filter(detection=OuterRef("pk"), model_id=model.pk)
    return detections_of(collection_id).filter(~Exists(have))


_LIVE = "(p.deleted_at IS NULL AND i.deleted_at IS NULL AND i.merged_into_id IS NULL)"
_PORTRAITS = f"""
    FROM gallery_portrait p JOIN gallery_identity i ON i.id = p.identity_id
    WHERE e.collection_id = %(collection)s AND e.model_id = %(model)s AND p.id = e.portrait_id
        AND (e.identity_id <> p.identity_id OR e.live <> {_LIVE})
"""
_DETECTIONS = """
    FROM sightings_detectionembedding r
    WHERE e.collection_id = %(collection)s AND e.model_id = %(model)s
        AND r.detection_id = e.detection_id AND r.model_id = %(other)s AND r.exemplar <> e.exemplar
"""
# Parts of these statements are constants of this module, values are parameters.
_COUNTED = (
    "SELECT count(*) FROM gallery_portraitembedding e, LATERAL (SELECT 1 " + _PORTRAITS + ") AS stray",  # noqa: S608
    "SELECT count(*) FROM sightings_detectionembedding e, LATERAL (SELECT 1 " + _DETECTIONS + ") AS stray",  # noqa: S608
)
_MENDED = (
    "UPDATE gallery_portraitembedding e SET identity_id = p.identity_id, live = " + _LIVE + _PORTRAITS,  # noqa: S608
    "UPDATE sightings_detectionembedding e SET exemplar = r.exemplar " + _DETECTIONS,  # noqa: S608
)


def count_gaps(collection_id: UUID, model: EmbeddingModel, other: EmbeddingModel | None = None) -> Gaps:
    """All that is missing or astray; reads every row of the collection.

    other: a model whose vectors of detections tell which are exemplars.
    """
    return Gaps(
        portraits_without(collection_id, model).order_by().count(),
        detections_without(collection_id, model).order_by().count(),
        sum(_run(statement, collection_id, model, other) for statement in _COUNTED),
    )


def mend_strays(collection_id: UUID, model: EmbeddingModel, other: EmbeddingModel | None = None) -> int:
    """Make vectors say again what their rows say: who changed those while the vectors were being made did not see them.
    Answers how many."""
    return sum(_run(statement, collection_id, model, other) for statement in _MENDED)


def _run(statement: str, collection_id: UUID, model: EmbeddingModel, other: EmbeddingModel | None) -> int:
    values: dict[str, Any] = {"collection": collection_id, "model": model.pk, "other": other.pk if other else None}
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return int(cursor.fetchone()[0]) if cursor.description else int(cursor.rowcount)
