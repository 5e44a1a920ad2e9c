"""Reads of what a collection lacks of a model: faces without a vector, and vectors that say something else than their
face does. Raw SQL where a row of one table is compared with one of another."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, TypeVar
from uuid import UUID

from django.db import connection
from django.db.models import Exists, Model, OuterRef, Q, QuerySet

from portrait.gallery.models import EmbeddingModel, Portrait, PortraitEmbedding
from portrait.sightings.models import Detection, DetectionEmbedding

LIVE = Q(deleted_at=None, identity__deleted_at=None, identity__merged_into=None)
"""Which portraits are searched."""

Row = TypeVar("Row", bound=Model)


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


_PORTRAITS = """
    FROM gallery_portrait p JOIN gallery_identity i ON i.id = p.identity_id
    WHERE p.id = e.portrait_id AND e.collection_id = %s AND e.model_id = %s AND (
        e.identity_id <> p.identity_id
        OR e.live <> (p.deleted_at IS NULL AND i.deleted_at IS NULL AND i.merged_into_id IS NULL))
"""
_DETECTIONS = """
    FROM sightings_track t JOIN sightings_detection d ON d.track_id = t.id
    WHERE d.id = e.detection_id AND e.collection_id = %s AND e.model_id = %s AND e.exemplar <> (d.id = ANY (t.template))
"""
_LOOSE = """
    FROM sightings_detection d
    WHERE d.id = e.detection_id AND e.collection_id = %s AND e.model_id = %s AND d.track_id IS NULL AND e.exemplar
"""
_MENDED = (
    (
        "gallery_portraitembedding",
        "identity_id = p.identity_id, "
        "live = (p.deleted_at IS NULL AND i.deleted_at IS NULL AND i.merged_into_id IS NULL)",
        _PORTRAITS,
    ),
)


def count_gaps(collection_id: UUID, model: EmbeddingModel) -> Gaps:
    """All that is missing or astray; reads every row of the collection."""
    return Gaps(
        portraits_without(collection_id, model).order_by().count(),
        detections_without(collection_id, model).order_by().count(),
        _strays(collection_id, model),
    )
