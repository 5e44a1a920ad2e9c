"""Reads of jobs: progress, and which items were lost."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db.models import Count, Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from portrait.jobs.models import OPEN_STATES, ItemState, Job, JobItem

# Failed through no fault of the picture: its upload was kept; or it has none, and its ending says so.
RETRYABLE = Q(state=ItemState.FAILED) & (~Q(upload="") | Q(result__retryable=True))


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
    def ended(self) -> int:
        return self.done + self.failed + self.cancelled

    @property
    def done_percent(self) -> int:
        return 100 * self.done // self.total if self.total else 0

    @property
    def failed_percent(self) -> int:
        return 100 * self.failed // self.total if self.total else 0

    @property
    def state(self) -> str:
        """waiting, running, done, failed (every item failed) or cancelled."""
        if not self.finished:
            return "running" if self.running or self.done or self.failed else "waiting"
        if self.cancelled:
            return "cancelled"
        return "failed" if self.total and self.failed == self.total else "done"


def with_counts(jobs: "QuerySet[Job]") -> "QuerySet[Job]":
    """Annotate the counts that `progress_of` and `retryable_of` read: one query however many jobs."""
    counts = {f"count_{state}": Count("items", filter=Q(items__state=state)) for state in ItemState.values}
    retryable = Q(items__state=ItemState.FAILED) & (~Q(items__upload="") | Q(items__result__retryable=True))
    return jobs.annotate(**counts, count_retryable=Count("items", filter=retryable))


def attach_counts(jobs: Sequence[Job]) -> None:
    """The counts of `with_counts` for the jobs of a page: one query that reads their items only."""
    states = {f"count_{state}": Count("pk", filter=Q(state=state)) for state in ItemState.values}
    by_job = JobItem.objects.filter(job__in=[job.pk for job in jobs]).order_by().values("job")
    rows = by_job.annotate(**states, count_retryable=Count("pk", filter=RETRYABLE))
    found: dict[UUID, dict[str, Any]] = {row["job"]: dict(row) for row in rows}
    for job in jobs:
        for name in (*states, "count_retryable"):
            setattr(job, name, found.get(job.pk, {}).get(name, 0))


def progress_of(job: Job) -> Progress:
    """The progress of a job that came out of `with_counts`."""
    counts = {state: int(getattr(job, f"count_{state}")) for state in ItemState.values}
    return Progress(total=sum(counts.values()), **counts)


def retryable_of(job: Job) -> int:
    """How many items of a job that came out of `with_counts` can be retried."""
    return int(getattr(job, "count_retryable"))  # noqa: B009  (an annotation: mypy knows no such field)


def unclosed_jobs() -> "QuerySet[Job]":
    """Jobs whose last item ended and whose end nobody noted: the worker died between the two."""
    return Job.objects.filter(~Exists(_open_items_of_job()), finished_at=None)


def without_open_items(job_id: UUID) -> "QuerySet[Job]":
    """The job, if all its items ended."""
    return Job.objects.filter(~Exists(_open_items_of_job()), id=job_id)


def _open_items_of_job() -> "QuerySet[JobItem]":
    return JobItem.objects.filter(job=OuterRef("pk"), state__in=OPEN_STATES)


def open_items(collection_id: UUID | None, queue: str) -> int:
    """How many items of a collection are yet to be done in a queue: none fills another's."""
    return JobItem.objects.filter(job__collection_id=collection_id, job__queue=queue, state__in=OPEN_STATES).count()


def queues_with_open_items() -> list[str]:
    return list(
        Job.objects.filter(Exists(_open_items_of_job())).order_by("queue").values_list("queue", flat=True).distinct()
    )


def in_brokers_hands(queue: str) -> "QuerySet[JobItem]":
    """Items that wait and were given to the broker."""
    return JobItem.objects.filter(job__queue=queue, state=ItemState.WAITING, paused_until=None)


def ripe_items(queue: str) -> "QuerySet[JobItem]":
    """Items whose pause is over, the longest waiting first."""
    ripe = JobItem.objects.filter(job__queue=queue, state=ItemState.WAITING, paused_until__lte=timezone.now())
    return ripe.order_by("paused_until", "id")


def abandoned_items(queue: str, *, given_before: datetime) -> "QuerySet[JobItem]":
    """Items whose worker vanished with them."""
    return JobItem.objects.filter(
        job__queue=queue, state=ItemState.RUNNING, leased_until__lt=timezone.now(), enqueued_at__lt=given_before
    ).order_by("enqueued_at", "id")


def finished_before(age: timedelta) -> "QuerySet[Job]":
    """Jobs that ended longer ago than `age`."""
    return Job.objects.filter(finished_at__lt=timezone.now() - age)


def uploads_in_use(names: Iterable[str]) -> set[str]:
    """Which of these files an item names."""
    return set(JobItem.objects.filter(upload__in=list(names)).values_list("upload", flat=True))
