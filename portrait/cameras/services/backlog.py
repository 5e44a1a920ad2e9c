"""Backlog instead of loss: how much waits, since when, and when it will be done at the present pace."""

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db.models import Count, Min, OuterRef, Q, QuerySet, Subquery, Sum
from django.utils import timezone

from portrait.cameras.models import Camera, Frame, FrameState

MINUTE = timedelta(minutes=1)
NEWEST_FRAMES = (1_000, 10_000, 100_000)
"""How many of the newest rows are looked at for the pace of acceptance, by steps: `accepted_at` has no index of its
own, and on a quiet system the first step is enough."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits, of one camera or of several. Rates are frames a second over the last minute.

    `drain_s`: seconds until nothing waits if the pace stays; None: it never will.
    """

    waiting: int = 0
    oldest_at: datetime | None = None
    oldest_age_s: float = 0.0
    waiting_bytes: int = 0
    failed: int = 0
    accepted_per_s: float = 0.0
    done_per_s: float = 0.0
    failed_per_s: float = 0.0

    @property
    def drain_s(self) -> float | None:
        if not self.waiting:
            return 0.0
        net = self.done_per_s + self.failed_per_s - self.accepted_per_s
        return self.waiting / net if net > 0 else None


def backlogs(cameras: Iterable[Camera]) -> dict[UUID, Backlog]:
    """The backlog of each of these cameras: a few queries however many they are."""
    ids = [camera.pk for camera in cameras]
    now = timezone.now()
    waiting = _by_camera(
        Frame.objects.filter(state=FrameState.WAITING, camera_id__in=ids).values_list("camera_id"),
        Count("id"),
        Min("waits_since"),
        Sum("size_bytes"),
    )
    failed = _by_camera(Frame.objects.filter(state=FrameState.FAILED, camera_id__in=ids).values_list("camera_id"))
    ended = Frame.objects.filter(finished_at__gt=now - MINUTE, camera_id__in=ids).values_list("camera_id")
    done, failing = Q(state=FrameState.DONE), Q(state=FrameState.FAILED)
    pace = _by_camera(ended, Count("id", filter=done), Count("id", filter=failing))
    accepted = acceptance_rates(ids, now=now)
    found = {}
    for each in ids:
        count, oldest, size = waiting.get(each, (0, None, 0))
        ended_done, ended_failed = pace.get(each, (0, 0))
        found[each] = Backlog(
            waiting=count,
            oldest_at=oldest,
            oldest_age_s=max(0.0, (now - oldest).total_seconds()) if oldest else 0.0,
            waiting_bytes=size,
            failed=failed.get(each, (0,))[0],
            accepted_per_s=accepted.get(each, 0.0),
            done_per_s=ended_done / MINUTE.total_seconds(),
            failed_per_s=ended_failed / MINUTE.total_seconds(),
        )
    return found


def total(parts: Collection[Backlog]) -> Backlog:
    """Several backlogs as one."""
    return Backlog(
        waiting=sum(part.waiting for part in parts),
        oldest_at=min((part.oldest_at for part in parts if part.oldest_at), default=None),
        oldest_age_s=max((part.oldest_age_s for part in parts), default=0.0),
        waiting_bytes=sum(part.waiting_bytes for part in parts),
        failed=sum(part.failed for part in parts),
        accepted_per_s=math.fsum(part.accepted_per_s for part in parts),
        done_per_s=math.fsum(part.done_per_s for part in parts),
        failed_per_s=math.fsum(part.failed_per_s for part in parts),
    )


def acceptance_rates(camera_ids: Collection[UUID], *, now: datetime) -> dict[UUID, float]:
    """Frames accepted a second, by camera, over the last minute, or over as much of it as the newest 100,000 tell."""
    for count in NEWEST_FRAMES:
        newest = Frame.objects.filter(id__in=Frame.objects.order_by("-id").values("id")[:count])
        seen = newest.aggregate(rows=Count("id"), since=Min("accepted_at"))
        whole_minute = seen["rows"] < count or seen["since"] <= now - MINUTE
        if whole_minute or count == NEWEST_FRAMES[-1]:
            break
    span_s = MINUTE.total_seconds() if whole_minute else max(1e-3, (now - seen["since"]).total_seconds())
    recent = newest.filter(accepted_at__gt=now - MINUTE, camera_id__in=camera_ids).values_list("camera_id")
    return {camera_id: rows / span_s for camera_id, (rows,) in _by_camera(recent).items()}


def with_backlog(cameras: "QuerySet[Camera]") -> "QuerySet[Camera]":
    """Annotate what a list of cameras shows, row by row from indexes: `waiting_count`, `oldest_waiting`,
    `newest_captured_at`."""
    waiting = Frame.objects.filter(camera=OuterRef("pk"), state=FrameState.WAITING)
    count = waiting.order_by().values("camera").annotate(count=Count("pk")).values("count")
    newest = Frame.objects.filter(camera=OuterRef("pk")).order_by("-captured_at").values("captured_at")
    return cameras.annotate(
        waiting_count=Subquery(count),
        oldest_waiting=Subquery(waiting.order_by("id").values("waits_since")[:1]),
        newest_captured_at=Subquery(newest[:1]),
    )


def _by_camera(rows: "QuerySet[Frame, tuple[UUID]]", *aggregates: Count | Min | Sum) -> dict[UUID, tuple[Any, ...]]:
    named = {f"value_{index}": each for index, each in enumerate(aggregates or (Count("id"),))}
    grouped = rows.order_by("camera_id").annotate(**named).values_list("camera_id", *named)
    return {camera_id: tuple(values) for camera_id, *values in grouped}
