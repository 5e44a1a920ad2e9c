"""Failed frames, done again because somebody asks for it."""

from dataclasses import dataclass

from django.db.models import QuerySet

from portrait.cameras import queue
from portrait.cameras.models import Frame, FrameState
from portrait.cameras.services import ledger

AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Reopened:
    """How many frames wait again, and how many cannot, as their picture is gone."""

    waiting: int
    without_picture: int


def reopen(*, frames: "QuerySet[Frame]") -> Reopened:
    """Let those of these frames wait again that failed, some a transaction, and tell the broker."""
    failed = frames.filter(state=FrameState.FAILED).order_by("id")
    without = failed.filter(picture="").count()
    opened, after = 0, 0
    while ids := list(failed.filter(id__gt=after).exclude(picture="").values_list("id", flat=True)[:AT_ONCE]):
        again = ledger.retry(frames=Frame.objects.filter(id__in=ids))
        queue.enqueue(again)
        opened, after = opened + len(again), ids[-1]
    return Reopened(opened, without)
