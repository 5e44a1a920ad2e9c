"""Reads of what a collection lacks of a model: faces without a vector, and vectors that say something else than their
face does. Raw SQL where a row of one table is compared with one of another."""

from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import Exists, Max, OuterRef, Q, QuerySet

from portrait.gallery.models import EmbeddingModel, Portrait, PortraitEmbedding
from portrait.sightings.models import Detection, DetectionEmbedding, Sighting


@dataclass(frozen=True, slots=True)
class Gaps:
    """How many portraits (deleted ones that can be restored too) and kept detections have no vector by a model, and
    how many vectors repeat their row wrongly. lost: those of the detections of which no picture is left to make it of.
    """

    portraits: int
    detections: int
    strays: int
    lost: int = 0

    @property
    def none(self) -> bool:
        return not (self.portraits or self.detections or self.strays)

    def as_json(self) -> dict[str, int]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Mark:
    """The newest vectors of both tables at some moment, by their ids."""

    portraits: int
    detections: int


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


def detections_to_make(
    collection_id: UUID, model: EmbeddingModel, *, from_pictures: bool = False
) -> "QuerySet[Detection]":
    """Those of them that a vector can be made of. Seen faces outlive their pictures: the others never get one, and are
    left out here, so that nobody reads them one by one again and again.

    from_pictures: a stored vector of the network does not do.
    """
    shown = Sighting.objects.filter(best=OuterRef("pk")).exclude(picture="")
    ways = ~Q(frame__picture="") | Q(Exists(shown))
    if not from_pictures and model.source_id is not None:
        stored = DetectionEmbedding.objects.filter(detection=OuterRef("pk"), model_id=model.source_id)
        ways |= Q(Exists(stored))
    return detections_without(collection_id, model).filter(ways)


_LIVE = "(p.deleted_at IS NULL AND i.deleted_at IS NULL AND i.merged_into_id IS NULL)"
_PORTRAITS = f"""
    FROM gallery_portrait p JOIN gallery_identity i ON i.id = p.identity_id
    WHERE e.collection_id = %(collection)s AND e.model_id = %(model)s AND e.id > %(after)s AND p.id = e.portrait_id
        AND (e.identity_id <> p.identity_id OR e.live <> {_LIVE})
"""
_DETECTIONS = """
    FROM sightings_detectionembedding r
    WHERE e.collection_id = %(collection)s AND e.model_id = %(model)s AND e.id > %(after)s
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


def count_gaps(
    collection_id: UUID, model: EmbeddingModel, other: EmbeddingModel | None = None, *, from_pictures: bool = False
) -> Gaps:
    """All that is missing or astray; reads every row of the collection, so that nobody should wait for it.

    other: a model whose vectors of detections tell which are exemplars.
    """
    without = detections_without(collection_id, model).order_by().count()
    makeable = detections_to_make(collection_id, model, from_pictures=from_pictures) if without else None
    return Gaps(
        portraits_without(collection_id, model).order_by().count(),
        without,
        sum(_run(statement, collection_id, model, other) for statement in _COUNTED),
        0 if makeable is None else max(0, without - makeable.order_by().count()),
    )


def newest() -> Mark:
    """Where both tables end. Ids are given in order: read while nobody stores vectors of a collection
    (`spaces.change_models`), all of its vectors that are stored later have later ids."""
    ends = [table.objects.aggregate(end=Max("pk"))["end"] or 0 for table in (PortraitEmbedding, DetectionEmbedding)]
    return Mark(*ends)


def count_newer(collection_id: UUID, model: EmbeddingModel, other: EmbeddingModel, mark: Mark) -> int:
    """What of the vectors beyond `mark` is astray, and those by `other` whose face has none by `model`: few rows."""
    values = {"collection_id": collection_id, "model_id": other.pk}
    portraits = PortraitEmbedding.objects.filter(portrait=OuterRef("portrait"), model_id=model.pk)
    detections = DetectionEmbedding.objects.filter(detection=OuterRef("detection"), model_id=model.pk)
    missing = (
        PortraitEmbedding.objects.filter(~Exists(portraits), pk__gt=mark.portraits, **values).count()
        + DetectionEmbedding.objects.filter(~Exists(detections), pk__gt=mark.detections, **values).count()
    )
    ends = (mark.portraits, mark.detections)
    return missing + sum(
        _run(statement, collection_id, model, other, after) for statement, after in zip(_COUNTED, ends, strict=True)
    )


def mend_strays(collection_id: UUID, model: EmbeddingModel, other: EmbeddingModel | None = None) -> int:
    """Make vectors say again what their rows say: who changed those while the vectors were being made did not see them.
    Answers how many."""
    return sum(_run(statement, collection_id, model, other) for statement in _MENDED)


def _run(
    statement: str, collection_id: UUID, model: EmbeddingModel, other: EmbeddingModel | None, after: int = 0
) -> int:
    values: dict[str, Any] = {
        "collection": collection_id,
        "model": model.pk,
        "other": other.pk if other else None,
        "after": after,
    }
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return int(cursor.fetchone()[0]) if cursor.description else int(cursor.rowcount)
