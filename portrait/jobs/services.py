"""Writes of jobs. An item is claimed by a conditional update, so that it is done once however often it is delivered."""

import logging
import uuid
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.files.base import ContentFile
from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone

from portrait.jobs.models import FINAL_STATES, ItemState, Job, JobItem
from portrait.jobs.registry import handler_of
from portrait.jobs.selectors import has_open_items

logger = logging.getLogger(__name__)

MAX_ATTEMPTS = 8


class LeaseLostError(Exception):
    """Another worker took the item over; what this one found is thrown away."""


def create_job(
    *,
    kind: str,
    queue: str,
    uploads: Iterable[bytes],
    collection_id: uuid.UUID | None,
    parameters: dict[str, Any],
    api_key_id: uuid.UUID | None = None,
) -> Job:
    """Store a job with one item an upload; the caller enqueues them after the commit (`tasks.enqueue`).

    The files are written first: an accepted item always has its bytes.
    """
    with transaction.atomic():
        job = Job.objects.create(
            kind=kind, queue=queue, collection_id=collection_id, parameters=parameters, api_key_id=api_key_id
        )
        for index, data in enumerate(uploads):
            item = JobItem(job=job, index=index)
            item.upload.save(f"{job.id}-{index}", ContentFile(data), save=False)
            item.save()
    return job


def claim(*, item_id: int) -> JobItem | None:
    """Take an item for this worker; None when it is done, cancelled or in another worker's hands."""
    now, lease = timezone.now(), uuid.uuid4()
    free = Q(state=ItemState.WAITING) | Q(state=ItemState.RUNNING, leased_until__lt=now)
    # No join here: PostgreSQL would check only the joined ids again after waiting for another claim.
    taken = JobItem.objects.filter(free, id=item_id).update(
        state=ItemState.RUNNING,
        lease=lease,
        leased_until=now + timedelta(seconds=settings.PORTRAIT.job_lease_s),
        attempts=F("attempts") + 1,
    )
    return JobItem.objects.select_related("job").get(id=item_id) if taken else None


def process(*, item: JobItem) -> None:
    """Do a claimed item: the effect and the result are committed together, or neither is.

    Raises:
        LeaseLostError: the item went to another worker meanwhile.
        Exception: whatever the handler raised; the caller decides about a retry.
    """
    handler = handler_of(item.job.kind)
    prepared = handler.prepare(item)
    with transaction.atomic():
        _finish(item, state=ItemState.DONE)  # first: without the lease nothing is stored
        JobItem.objects.filter(id=item.id).update(result=handler.store(item, prepared))


def fail(*, item: JobItem, code: str, message: str, details: dict[str, Any] | None = None) -> None:
    """End a claimed item with the reason."""
    with transaction.atomic():
        _finish(item, state=ItemState.FAILED, error_code=code, error_message=message, result=details)


def _finish(item: JobItem, **values: Any) -> None:
    ended = JobItem.objects.filter(id=item.id, state=ItemState.RUNNING, lease=item.lease).update(
        lease=None, leased_until=None, finished_at=timezone.now(), upload="", **values
    )
    if not ended:
        raise LeaseLostError(str(item))
    _delete_uploads_on_commit([item])
    transaction.on_commit(lambda: close_if_finished(job_id=item.job_id))


def give_back(*, item: JobItem) -> None:
    """Let a claimed item wait again, after a failure that a later try may mend."""
    JobItem.objects.filter(id=item.id, state=ItemState.RUNNING, lease=item.lease).update(
        state=ItemState.WAITING, lease=None, leased_until=None, enqueued_at=timezone.now()
    )


def cancel(*, job: Job) -> None:
    """Stop what has not begun; an item that is being worked on ends as it ends."""
    with transaction.atomic():
        Job.objects.filter(id=job.id, cancelled_at=None, finished_at=None).update(cancelled_at=timezone.now())
        waiting = list(job.items.filter(state=ItemState.WAITING))
        job.items.filter(id__in=[item.id for item in waiting], state=ItemState.WAITING).update(
            state=ItemState.CANCELLED, finished_at=timezone.now(), upload=""
        )
        _delete_uploads_on_commit(waiting)
        transaction.on_commit(lambda: close_if_finished(job_id=job.id))


def close_if_finished(*, job_id: uuid.UUID) -> None:
    """Note the end of a job whose last item ended; safe to call at any time, by anyone."""
    if not has_open_items(job_id):
        Job.objects.filter(id=job_id, finished_at=None).update(finished_at=timezone.now())


def mark_enqueued(*, item_ids: list[int]) -> None:
    """Remember when the items were last given to the broker."""
    JobItem.objects.filter(id__in=item_ids).exclude(state__in=FINAL_STATES).update(enqueued_at=timezone.now())


def delete_job(*, job: Job) -> None:
    """Remove a job, its items and what is left of its uploads."""
    with transaction.atomic():
        _delete_uploads_on_commit(list(job.items.exclude(upload="")))
        job.delete()


def _delete_uploads_on_commit(items: list[JobItem]) -> None:
    files = [(item.upload.storage, str(item.upload.name)) for item in items if item.upload]

    def delete() -> None:
        for storage, name in files:
            storage.delete(name)

    transaction.on_commit(delete)
