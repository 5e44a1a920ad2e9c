"""Who works on which frame, and how it ended. A frame has one result, however often its task is delivered."""

import itertools
import threading
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Case, F, IntegerField, Q, QuerySet, TextField, Value, When
from django.db.models.functions import Concat
from django.utils import timezone

from portrait.cameras.models import Frame, FrameState
from portrait.cameras.signals import pictures_going
from portrait.core.files import delete_on_commit, stored

DONE_REMEMBERED = 10_000
_done: dict[int, None] = {}
_done_lock = threading.Lock()

LONG_BACKLOG = 200
BATCH_PIXELS = 10_000_000
"""A larger batch has at most about so many pixels, so that it is done well within its lease: 32 frames of 640x480,
or the usual few of HD."""


@dataclass(frozen=True, slots=True)
class Claim:
    """Frames that one worker has; `suspect`: an earlier worker vanished with it, so it is alone."""

    lease: uuid.UUID
    frames: tuple[Frame, ...]

    @property
    def ids(self) -> list[int]:
        return [frame.pk for frame in self.frames]


def claim(*, frame_ids: Sequence[int], limit: int, limit_under_load: int | None = None) -> Claim | None:
    """Take those of these frames that are free, and while there is room the longest waiting others; None if none is.

    limit_under_load: while the backlog is long, so many, as far as their pictures are small: what a frame costs beside
    the networks (transactions, queries) is then shared by more of them.
    A frame whose worker vanished is taken alone, so that one that kills workers takes no other along.
    """
    now, lease = timezone.now(), uuid.uuid4()
    ripe = Q(paused_until=None) | Q(paused_until__lte=now)
    free = Frame.objects.filter(Q(lease=None) | Q(leased_until__lt=now), ripe, state=FrameState.WAITING)
    locked = free.select_for_update(skip_locked=True, of=("self",)).order_by("id")
    with transaction.atomic():
        named = list(locked.filter(id__in=frame_ids)[:limit])
        clean = [frame for frame in named if frame.crashes == 0 and frame.lease is None]
        if clean and limit_under_load and _is_long_backlog():
            limit = max(limit, min(limit_under_load, BATCH_PIXELS // max(1, clean[0].width * clean[0].height)))
        if clean and len(clean) < limit:
            others = locked.filter(lease=None, crashes=0).exclude(id__in=[frame.pk for frame in clean])
            clean += others[: limit - len(clean)]
        taken = sorted(clean, key=lambda frame: frame.pk) or named[:1]
        if not taken:
            return None
        Frame.objects.filter(id__in=[frame.pk for frame in taken]).update(
            lease=lease,
            leased_until=now + timedelta(seconds=settings.PORTRAIT.job_lease_s),
            paused_until=None,
            attempts=F("attempts") + 1,
            crashes=Case(
                When(lease__isnull=False, then=F("crashes") + 1), default=F("crashes"), output_field=IntegerField()
            ),
        )
    for frame in taken:
        frame.attempts += 1
        frame.crashes += frame.lease is not None
        frame.lease = lease
    return Claim(lease, tuple(taken))


def _is_long_backlog() -> bool:
    return Frame.objects.filter(state=FrameState.WAITING).values("pk")[LONG_BACKLOG : LONG_BACKLOG + 1].exists()


def owned(lease: uuid.UUID) -> "QuerySet[Frame]":
    """The frames that are still this worker's."""
    return Frame.objects.filter(lease=lease, state=FrameState.WAITING)


def lock_owned(lease: uuid.UUID, frame_ids: Collection[int]) -> set[int]:
    """Which of a claim's frames are still ours; until the transaction's end nobody else can end or take them."""
    rows = owned(lease).filter(id__in=frame_ids).order_by("id").select_for_update(of=("self",))
    return set(rows.values_list("id", flat=True))


def not_done_here(frame_ids: Sequence[int]) -> list[int]:
    """Those that this process has not just ended as done. Under a long backlog most messages name frames that were
    taken along with others: they need no look at the database."""
    with _done_lock:
        return [key for key in frame_ids if key not in _done]


def _note_done(frame_ids: Collection[int]) -> None:
    with _done_lock:
        _done.update(dict.fromkeys(frame_ids))
        for key in list(itertools.islice(_done, max(0, len(_done) - DONE_REMEMBERED))):
            del _done[key]


def finish(*, lease: uuid.UUID, frame_ids: Collection[int]) -> None:
    """End frames as done; to be called in the transaction that stores what was found in them, after `lock_owned`."""
    _end(lease, frame_ids, state=FrameState.DONE, error_code="", error_message="")
    transaction.on_commit(partial(_note_done, frame_ids), robust=True)  # done is for ever


def fail(*, lease: uuid.UUID, frame_ids: Collection[int], code: str, message: str, failed: bool = False) -> None:
    """End frames with the reason; their pictures stay, they may be retried by hand."""
    failures = F("failures") + int(failed)
    _end(lease, frame_ids, state=FrameState.FAILED, error_code=code, error_message=message, failures=failures)


def _end(lease: uuid.UUID, frame_ids: Collection[int], **values: Any) -> None:
    mine = owned(lease).filter(id__in=frame_ids)
    mine.update(lease=None, leased_until=None, finished_at=timezone.now(), **values)


def give_back(*, lease: uuid.UUID, frame_ids: Collection[int], pause_s: float, failed: bool = False) -> None:
    """Let frames wait again. failed: the try counts among their `failures`."""
    owned(lease).filter(id__in=frame_ids).update(
        lease=None,
        leased_until=None,
        paused_until=timezone.now() + timedelta(seconds=pause_s),
        failures=F("failures") + int(failed),
    )


def retry(*, frames: "QuerySet[Frame]") -> list[int]:
    """Let failed frames wait again; answers their ids, which the caller enqueues."""
    now = timezone.now()
    with transaction.atomic():
        failed = frames.filter(state=FrameState.FAILED).exclude(picture="").order_by("id")
        ids = list(failed.select_for_update(of=("self",)).values_list("id", flat=True))
        Frame.objects.filter(id__in=ids).update(
            state=FrameState.WAITING,
            attempts=0,
            crashes=0,
            failures=0,
            waits_since=now,
            enqueued_at=now,
            paused_until=None,
            finished_at=None,
            error_code="",
            error_message="",
        )
    return ids


def expire(*, frames: Sequence[Frame], code: str, message: str) -> None:
    """Remove the pictures of ended frames, for this reason; the rows say so, and why a failed one had failed. Files go
    when that is committed."""
    ended = [frame for frame in frames if frame.state != FrameState.WAITING]
    files = stored(*(frame.picture for frame in ended))
    first = Value(f"{message.rstrip('.')}; it had failed before: ")
    before = Concat(first, "error_code", Value(": "), "error_message", output_field=TextField())
    told = Case(When(state=FrameState.FAILED, then=before), default=Value(message), output_field=TextField())
    Frame.objects.filter(id__in=[frame.pk for frame in ended]).exclude(state=FrameState.WAITING).update(
        state=FrameState.EXPIRED, picture="", error_code=code, error_message=told, metadata={}
    )
    pictures_going.send(Frame, frame_ids=[frame.pk for frame in ended])
    delete_on_commit(files)


def take_for_enqueueing(frames: "QuerySet[Frame]") -> list[int]:
    """Note that the broker is told of these frames now, and answer their ids; two callers never take the same."""
    with transaction.atomic():
        ids = list(frames.select_for_update(skip_locked=True, of=("self",)).values_list("id", flat=True))
        Frame.objects.filter(id__in=ids).update(enqueued_at=timezone.now(), paused_until=None)
    return ids
