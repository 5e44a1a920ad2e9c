"""Reads of jobs: progress, and which items were lost."""

import uuid
from dataclasses import dataclass
from datetime import timedelta

from django.db.models import Count, Q, QuerySet
from django.utils import timezone

from portrait.jobs.models import FINAL_STATES, ItemState, Job, JobItem


@dataclass(frozen=True, slots=True)
class Progress:
    """How many items of a job are in which state."""

    total: int
    waiting: int
    running: int
    done: int
    failed: int
    cancelled: int

    @property
    def finished(self) -> bool:
        return self.waiting + self.running == 0

    @property
    def state(self) -> str:
        """waiting, running, done, failed (every item failed) or cancelled."""
        if not self.finished:
            return "running" if self.running or self.done or self.failed else "waiting"
        if self.cancelled:
            return "cancelled"
        return "failed" if self.total and self.failed == self.total else "done"


def with_counts(jobs: "QuerySet[Job]") -> "QuerySet[Job]":
    """Annotate the counts that `progress_of` reads: one query however many jobs."""
    counts = {f"count_{state}": Count("items", filter=Q(items__state=state)) for state in ItemState.values}
    return jobs.annotate(**counts)


def progress_of(job: Job) -> Progress:
    """The progress of a job that came out of `with_counts`."""
    counts = {state: int(getattr(job, f"count_{state}")) for state in ItemState.values}
    return Progress(total=sum(counts.values()), **counts)


def lost_items(*, waiting_for: timedelta) -> "QuerySet[JobItem]":
    """Items nobody works on: enqueued too long ago and not begun, or with a lease that ran out."""
    now = timezone.now()
    return JobItem.objects.filter(
        Q(state=ItemState.WAITING, enqueued_at__lt=now - waiting_for) | Q(state=ItemState.RUNNING, leased_until__lt=now)
    ).select_related("job")


def finished_before(age: timedelta) -> "QuerySet[Job]":
    """Jobs that ended longer ago than `age`."""
    return Job.objects.filter(finished_at__lt=timezone.now() - age)


def has_open_items(job_id: uuid.UUID) -> bool:
    return JobItem.objects.filter(job_id=job_id).exclude(state__in=FINAL_STATES).exists()
