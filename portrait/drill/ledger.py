"""What the drill reads of the ledger while servers come and go, and afterwards."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar
from uuid import UUID

from django.db import InterfaceError, OperationalError, connection
from django.db.models import QuerySet

from portrait.cameras.models import Frame, FrameState

Answer = TypeVar("Answer")
_PATIENCE_S = 120.0


def asked(question: Callable[[], Answer]) -> Answer:
    """What the database answers, as soon as it does.

    Raises:
        OperationalError, InterfaceError: it stays away.
    """
    ends_at = time.monotonic() + _PATIENCE_S
    while True:
        try:
            return question()
        except (OperationalError, InterfaceError):
            connection.close()
            if time.monotonic() > ends_at:
                raise
            time.sleep(0.2)


def frames_of(camera_ids: Sequence[UUID]) -> "QuerySet[Frame]":
    return Frame.objects.filter(camera_id__in=list(camera_ids))


def has_accepted(camera_ids: Sequence[UUID], count: int) -> bool:
    """Whether so many frames were accepted."""
    return frames_of(camera_ids).count() >= count


def has_done(camera_ids: Sequence[UUID], *, accepted_after_s: float, count: int) -> bool:
    """Whether so many frames are done that were accepted later than this (seconds since 1970)."""
    after = datetime.fromtimestamp(accepted_after_s, UTC)
    return frames_of(camera_ids).filter(accepted_at__gt=after, state=FrameState.DONE).count() >= count


def has_done_all(camera_ids: Sequence[UUID], *, up_to_id: int | None = None) -> bool:
    """Whether no frame waits; up_to_id: only of those that were accepted so early."""
    rows = frames_of(camera_ids).filter(state=FrameState.WAITING)
    return not (rows if up_to_id is None else rows.filter(id__lte=up_to_id)).exists()


def newest_id(camera_ids: Sequence[UUID]) -> int:
    """The id of the frame that was accepted last; 0: none was."""
    return frames_of(camera_ids).order_by("-id").values_list("id", flat=True).first() or 0


def every_nth_id(camera_ids: Sequence[UUID], *, after_id: int, nth: int) -> list[int]:
    """Ids that `nth` divides, of frames accepted since."""
    rows = frames_of(camera_ids).filter(id__gt=after_id).order_by("id").values_list("id", flat=True)
    return [key for key in rows if key % nth == 0]


@dataclass(frozen=True, slots=True)
class Course:
    """When frames were accepted and when they were ended, seconds since 1970, each ascending."""

    pairs: tuple[tuple[float, float], ...]
    """(accepted, ended) of every ended frame."""
    accepted: tuple[float, ...]
    ended: tuple[float, ...]

    def waiting_at(self, time_s: float) -> int:
        return sum(each <= time_s for each in self.accepted) - sum(each <= time_s for each in self.ended)

    def rate(self, since_s: float, until_s: float) -> float:
        """Frames ended a second."""
        return sum(since_s < each <= until_s for each in self.ended) / max(1e-6, until_s - since_s)


def course(camera_ids: Sequence[UUID]) -> Course:
    """How it went, out of the ledger."""
    rows = list(frames_of(camera_ids).values_list("accepted_at", "finished_at"))
    pairs = [(_seconds(accepted), _seconds(ended)) for accepted, ended in rows if ended is not None]
    return Course(
        pairs=tuple(pairs),
        accepted=tuple(sorted(_seconds(accepted) for accepted, _ in rows)),
        ended=tuple(sorted(ended for _, ended in pairs)),
    )


def _seconds(time: datetime) -> float:
    return time.timestamp()
