"""Reads of what was seen: within a caller's reach, filtered, and nearest to a face."""

from collections.abc import Collection as Items
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

import numpy as np
from django.db import connection, transaction
from django.db.models import (
    BooleanField,
    Case,
    DurationField,
    ExpressionWrapper,
    F,
    FloatField,
    Model,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    Value,
    When,
)
from django.utils import timezone
from numpy.typing import NDArray

from portrait.cameras.models import Camera
from portrait.cameras.selectors import visible_cameras
from portrait.core.errors import NotFoundError
from portrait.core.principal import Principal
from portrait.gallery.models import Collection
from portrait.gallery.neighbours import EXACT_BELOW
from portrait.gallery.vectors import distance_to
from portrait.sightings.models import Alert, Detection, DetectionEmbedding, Sighting, Watch

SCAN_TUPLES = 200_000
"""How far the index is walked for rows that a filter leaves: beyond that few are left to find."""

Row = TypeVar("Row", bound=Model)


@dataclass(frozen=True, slots=True)
class Scope:
    """Where and when to look: one collection, these of its cameras (None: all), capture times (None: any)."""

    collection: Collection
    camera_ids: frozenset[UUID] | None = None
    since: datetime | None = None
    until: datetime | None = None


def _within_reach(rows: "QuerySet[Row]", principal: Principal, collection: str) -> "QuerySet[Row]":
    if principal.collection_ids is not None:
        rows = rows.filter(**{f"{collection}__in": principal.collection_ids})
    if principal.camera_ids is not None:
        rows = rows.filter(camera_id__in=principal.camera_ids)
    return rows


def visible_sightings(principal: Principal) -> "QuerySet[Sighting]":
    """The sightings a caller may see, with what their answers show; none of people who were deleted."""
    sightings = Sighting.objects.filter(identity__deleted_at=None)
    return _within_reach(with_open(sightings), principal, "collection_id")


def visible_alerts(principal: Principal) -> "QuerySet[Alert]":
    """The alerts a caller may see; none about people who were deleted."""
    alerts = Alert.objects.filter(identity__deleted_at=None).select_related("watch", "camera", "identity", "detection")
    return _within_reach(alerts, principal, "camera__collection_id")


def visible_watches(principal: Principal) -> "QuerySet[Watch]":
    """The watches a caller may see; a watch belongs to a whole collection, so no camera's key sees one."""
    watches = (
        Watch.objects.filter(identity__deleted_at=None)
        .select_related("collection", "identity")
        .prefetch_related("cameras")
    )
    if principal.collection_ids is None:
        return watches
    return watches.filter(collection_id__in=principal.collection_ids)


def with_open(sightings: "QuerySet[Sighting]") -> "QuerySet[Sighting]":
    """Annotate `open`: the camera goes on, and the person was there until a moment ago (the camera's gap)."""
    gap = ExpressionWrapper(F("camera__gap_s") * Value(timedelta(seconds=1)), output_field=DurationField())
    lasts = Q(last_seen__gte=F("camera__timeline__latest") - gap)
    goes_on = Q(camera__timeline__advanced_at__gte=Value(timezone.now()) - gap)
    is_open = Case(When(lasts & goes_on, then=True), default=False, output_field=BooleanField())
    return sightings.select_related("camera", "identity", "best").annotate(open=is_open)


def overlapping(since: datetime | None, until: datetime | None) -> Q:
    """Sightings that last into a stretch of time."""
    wanted = Q()
    if since is not None:
        wanted &= Q(last_seen__gte=since)
    if until is not None:
        wanted &= Q(first_seen__lte=until)
    return wanted


def find_cameras(principal: Principal, camera_ids: Items[UUID], collection: Collection | None = None) -> list[Camera]:
    """Cameras by their ids.

    Raises:
        NotFoundError: one is out of reach, or not of this collection.
    """
    if not camera_ids:
        return []
    cameras = visible_cameras(principal).filter(id__in=camera_ids)
    if collection is not None:
        cameras = cameras.filter(collection=collection)
    found = list(cameras)
    if len(found) != len(set(camera_ids)):
        raise NotFoundError("There is no such camera.", field="camera")
    return found


def faces_of_frame(frame_id: int) -> list[Detection]:
    """What was found in a frame, the largest face's row first; whoever was deleted is nobody."""
    rows = Detection.objects.filter(frame_id=frame_id).select_related("identity", "track").order_by("id")
    return [without_deleted(face) for face in rows]


def without_deleted(face: Detection) -> Detection:
    """A face as it is shown: of somebody who was deleted it is nobody's. The row itself stays as it is."""
    if face.identity is not None and face.identity.deleted_at is not None:
        face.identity, face.similarity = None, None
    return face


def _exemplars(scope: Scope) -> "QuerySet[DetectionEmbedding]":
    rows = DetectionEmbedding.objects.filter(
        collection=scope.collection, model_id=scope.collection.active_model_id, exemplar=True
    )
    asked: dict[str, Any] = {
        "camera_id__in": scope.camera_ids,
        "captured_at__gte": scope.since,
        "captured_at__lte": scope.until,
    }
    return rows.filter(**{lookup: value for lookup, value in asked.items() if value is not None})


def nearest_exemplars(scope: Scope, vector: NDArray[np.float32], limit: int) -> list[tuple[int, float]]:
    """(detection, distance) of the faces nearest to this one, nearest first, at most `limit`.

    vector: float32, shape (dims of the collection's active model,). What a filter leaves is scanned exactly where it
    is little, as in the gallery: the index would have to be walked far for it, and would miss some.
    """
    rows = _exemplars(scope)
    distance = distance_to(scope.collection.active_model, vector)
    with transaction.atomic():
        many = rows.values("pk")[EXACT_BELOW : EXACT_BELOW + 1].exists()
        if many:
            # A planner without fresh statistics takes them for a few rows, and would rather sort them all.
            _configure(str(SCAN_TUPLES), "off")
        else:
            distance = ExpressionWrapper(distance + Value(0.0), FloatField())  # not what the index is made for
        found = rows.annotate(distance=distance).order_by("distance")
        nearest = list(found.values_list("detection_id", "distance")[:limit])
        if many:  # the caller's transaction may go on, as it was
            _configure(None, None)
        return nearest


def _configure(scan_tuples: str | None, sort: str | None) -> None:
    """For the rest of the transaction; None: as the session has it."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT set_config('hnsw.max_scan_tuples', %s, true), set_config('enable_sort', %s, true)",
            [scan_tuples, sort],
        )


def sightings_around(detection_ids: Items[int]) -> dict[int, UUID | None]:
    """The sighting that each of these detections is part of, or None."""
    around = Sighting.objects.filter(
        camera=OuterRef("camera"),
        identity=OuterRef("identity"),
        first_seen__lte=OuterRef("captured_at"),
        last_seen__gte=OuterRef("captured_at"),
    )
    part_of = Subquery(around.order_by("-first_seen").values("pk")[:1])
    rows = Detection.objects.filter(pk__in=detection_ids).order_by()
    return dict(rows.annotate(part_of=part_of).values_list("pk", "part_of"))


def sightings_of(scope: Scope, similarities: dict[UUID, float], limit: int) -> "QuerySet[Sighting]":
    """Sightings of these identities, of the most similar first, and of each the newest first."""
    alike = Case(
        *(When(identity_id=key, then=Value(similarity)) for key, similarity in similarities.items()),
        default=Value(0.0),
        output_field=FloatField(),
    )
    rows = Sighting.objects.filter(overlapping(scope.since, scope.until), collection=scope.collection)
    rows = rows.filter(identity_id__in=similarities)
    if scope.camera_ids is not None:
        rows = rows.filter(camera_id__in=scope.camera_ids)
    return rows.annotate(alike=alike).order_by("-alike", "-first_seen", "-id")[:limit]
