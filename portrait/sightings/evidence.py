"""Reads of the faces that were seen, as tracks and sightings are made of them."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import numpy as np
from django.db.models import F, QuerySet, Window
from django.db.models.functions import RowNumber
from numpy.typing import NDArray

from portrait.cameras.models import Camera
from portrait.gallery.vectors import as_array
from portrait.sightings.decide import Grade
from portrait.sightings.linking import Spots
from portrait.sightings.models import Detection, DetectionEmbedding
from portrait.sightings.windows import Rule

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
CHUNK = 500


def microseconds(time: datetime) -> int:
    """Since 1970, exactly."""
    return (time - _EPOCH) // _MICROSECOND


def moment(time: int) -> datetime:
    """The inverse of `microseconds`."""
    return _EPOCH + time * _MICROSECOND


def rule_of(camera: Camera) -> Rule:
    """When a sighting of this camera begins and ends."""
    return Rule(
        min_hits=camera.min_hits,
        window=round(camera.window_s * 1_000_000),
        gap=round(camera.gap_s * 1_000_000),
        tumbling=camera.window_mode == Camera.WindowMode.TUMBLING,
    )


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Faces that were seen before or after; `ids` and `tracks` belong to the rows of `spots`."""

    ids: list[int]
    tracks: list[int | None]
    spots: Spots


def spots(rows: Sequence[tuple[int, datetime, Sequence[float], bool, NDArray[np.float32]]], dims: int) -> Spots:
    """Rows of (frame, capture time, box, good, vector) as columns."""
    return Spots(
        frame=np.array([row[0] for row in rows], dtype=np.int64),
        at=np.array([microseconds(row[1]) / 1e6 for row in rows], dtype=np.float64),
        box=np.array([row[2] for row in rows], dtype=np.float64).reshape(-1, 4),
        good=np.array([row[3] for row in rows], dtype=np.bool_),
        vector=np.array([row[4] for row in rows], dtype=np.float32).reshape(-1, dims),
    )


def faces_between(camera: Camera, model_id: int, since: datetime, until: datetime, dims: int) -> Neighbours:
    """The faces of a camera in a stretch of time, with their vectors; without those that somebody took back."""
    seen = Detection.objects.filter(camera=camera, captured_at__range=(since, until), dismissed=False)
    found = seen.filter(embeddings__model_id=model_id)
    columns = (
        "frame_id",
        "captured_at",
        "box",
        "acceptable",
        "embeddings__vector",
        "embeddings__half",
        "id",
        "track_id",
    )
    rows = list(found.order_by("id").values_list(*columns))
    seen_rows = [(*row[:4], as_array(row[4] if row[4] is not None else row[5])) for row in rows]
    return Neighbours([row[6] for row in rows], [row[7] for row in rows], spots(seen_rows, dims))


def best_faces(track_ids: Collection[int], count: int) -> dict[int, list[tuple[int, Grade]]]:
    """The best faces of each track that may say who it is, with their grades, best first: the same whatever order
    they came in."""
    order = [F("grade").desc(), F("quality_score").desc(), F("captured_at").asc(), F("id").asc()]
    rank = Window(RowNumber(), partition_by=F("track_id"), order_by=order)
    usable = Detection.objects.filter(track_id__in=track_ids, grade__gt=Grade.POOR).annotate(rank=rank)
    rows = usable.filter(rank__lte=count).order_by("track_id", "rank")
    found: dict[int, list[tuple[int, Grade]]] = defaultdict(list)
    for track_id, detection_id, grade in rows.values_list("track_id", "id", "grade"):
        found[track_id].append((detection_id, Grade(grade)))
    return found


def vectors_of(detection_ids: Iterable[int], model_id: int) -> dict[int, NDArray[np.float32]]:
    """The vectors of these detections."""
    rows = DetectionEmbedding.objects.filter(detection_id__in=list(detection_ids), model_id=model_id)
    found = rows.values_list("detection_id", "vector", "half")
    return {key: as_array(vector if vector is not None else half) for key, vector, half in found}


def hits_between(camera: Camera, identity_id: UUID, since: int, until: int) -> list[int]:
    """Capture times, one a frame and ascending, of the hits of a stretch of time."""
    seen = Detection.objects.filter(camera=camera, identity_id=identity_id)
    return _times(seen.filter(captured_at__range=(moment(since), moment(until))).order_by("captured_at"))


def hits(camera: Camera, identity_id: UUID, since: int, until: int, gap: int) -> list[int]:
    """Capture times, one a frame and ascending, of all hits between, and of those that follow before and after
    without a pause longer than `gap`."""
    seen = Detection.objects.filter(camera=camera, identity_id=identity_id)
    times = seen.filter(captured_at__range=(moment(since), moment(until)))
    inside = _times(times.order_by("captured_at"))
    first, last = (min(inside[0], since), max(inside[-1], until)) if inside else (since, until)
    return [*reversed(_walk(seen, first, gap, backwards=True)), *inside, *_walk(seen, last, gap, backwards=False)]


def _times(seen: "QuerySet[Detection]", limit: int | None = None) -> list[int]:
    """Capture times, one a frame."""
    return [microseconds(time) for time, _ in seen.values_list("captured_at", "frame_id").distinct()[:limit]]


def _walk(seen: "QuerySet[Detection]", start: int, gap: int, *, backwards: bool) -> list[int]:
    """Hits beyond `start`, as long as each is within `gap` of the one before."""
    found: list[int] = []
    reached = start
    while True:
        if backwards:
            rest = seen.filter(captured_at__lt=moment(reached)).order_by("-captured_at")
        else:
            rest = seen.filter(captured_at__gt=moment(reached)).order_by("captured_at")
        chunk = _times(rest, CHUNK)
        if len(chunk) == CHUNK:  # a moment's hits are never taken in half
            chunk = [time for time in chunk if time != chunk[-1]] or chunk
        for time in chunk:
            if abs(time - reached) > gap:
                return found
            found.append(time)
            reached = time
        if len(chunk) < CHUNK // 2:
            return found
