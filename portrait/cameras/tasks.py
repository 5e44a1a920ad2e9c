"""Celery's side of the ledger: what the broker lost is told to it again."""

from datetime import datetime, timedelta

from celery import shared_task
from django.conf import settings
from django.utils import timezone

from portrait.cameras import queue, selectors
from portrait.cameras.services import ledger

SWEEP_BATCH = 4000


@shared_task
def sweep() -> None:
    """Tell the broker of frames that wait for nothing any more, and again of what it lost."""
    given_before = timezone.now() - timedelta(seconds=settings.PORTRAIT.job_lease_s)
    abandoned = selectors.abandoned(given_before=given_before)
    found = list(abandoned.values_list("id", "crashes")[:SWEEP_BATCH])
    # One at a time once more than one worker vanished with it: a frame that kills workers would otherwise take
    # those along, each time, that are with it.
    killers = [key for key, crashes in found if crashes >= 2]
    due = [key for key, crashes in found if crashes < 2] + killers[:1]
    queue.enqueue(ledger.take_for_enqueueing(abandoned.filter(id__in=due)), a_message=1)
    queue.enqueue(ledger.take_for_enqueueing(selectors.ripe()[:SWEEP_BATCH]))
    queue.enqueue(_lost(given_before))


def _lost(given_before: datetime) -> list[int]:
    """What the broker was told of and cannot know any more, each at most once within a lease's time. A message
    names one to eight frames: as long as all may still be named, nothing is lost for sure."""
    in_hand = selectors.in_brokers_hands()
    missing = min(in_hand.count() - queue.length() * queue.IDS_A_MESSAGE, SWEEP_BATCH)
    if missing <= 0:
        return []
    return ledger.take_for_enqueueing(in_hand.filter(enqueued_at__lt=given_before).order_by("id")[:missing])
