"""Writes of jobs. An item is claimed by a conditional update, so that it is done once however often it is delivered."""

import logging
import uuid
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import Any, ClassVar

from django.conf import settings
from django.db import transaction
from django.db.models import Case, F, IntegerField, Q, QuerySet, When
from django.utils import timezone

from portrait.core.database import release_connection
from portrait.core.errors import ConflictError, PortraitError
from portrait.core.files import atomic_with_files, delete_on_commit, stored, write_file
from portrait.jobs import selectors
from portrait.jobs.models import ItemState, Job, JobItem
from portrait.jobs.registry import handler_of

logger = logging.getLogger(__name__)

MAX_OPEN_ITEMS = 10_000


class LeaseLostError(Exception):
    """The item is another worker's, or was erased; what this worker found is thrown away."""


class QueueFullError(PortraitError):
    """A collection has more work waiting than it may."""

    code: ClassVar[str] = "queue_full"
    status: ClassVar[int] = 429


def create_job(
    *,
    kind: str,
    queue: str,
    collection_id: uuid.UUID | None,
    parameters: dict[str, Any],
    uploads: Sequence[bytes] = (),
    items: int = 0,
    parked: bool = False,
    subject_id: uuid.UUID | None = None,
    api_key_id: uuid.UUID | None = None,
) -> Job:
    """Store a job with one item an upload; the caller enqueues them after the commit (`tasks.enqueue_job`).

    The files are written first: an accepted item always has its bytes. items: so many that have no upload instead;
    what each is about stands in the parameters. parked: nobody enqueues them, they wait for `tasks.sweep`.
    subject_id: whom the job is about, for `erase_jobs`.

    Raises:
        QueueFullError: the collection has too much work waiting already.
    """
    _require_room(collection_id, queue, len(uploads) + items)
    paused_until = timezone.now() if parked else None
    with atomic_with_files():
        job = Job.objects.create(
            kind=kind,
            queue=queue,
            collection_id=collection_id,
            subject_id=subject_id,
            parameters=parameters,
            api_key_id=api_key_id,
        )
        for index, data in enumerate(uploads):
            item = JobItem(job=job, index=index, paused_until=paused_until)
            write_file(item.upload, f"{job.id}-{index}", data)
            item.save()
        first = len(uploads)
        JobItem.objects.bulk_create(
            JobItem(job=job, index=first + index, paused_until=paused_until) for index in range(items)
        )
    return job


def _require_room(collection_id: uuid.UUID | None, queue: str, count: int) -> None:
    waiting = selectors.open_items(collection_id, queue)
    if waiting + count > MAX_OPEN_ITEMS:
        raise QueueFullError(
            f"The collection has {waiting} pictures in the queue and {count} more would exceed the limit of "
            f"{MAX_OPEN_ITEMS}; send them again when some are done (GET /api/v1/jobs)."
        )


def claim(*, item_id: int) -> JobItem | None:
    """Take an item for this worker; None when it is done, cancelled, paused or in another worker's hands.

    An item whose lease ran out is taken over, and its `crashes` count that: a worker vanished with it.
    """
    now, lease = timezone.now(), uuid.uuid4()
    free = Q(state=ItemState.WAITING, paused_until=None) | Q(state=ItemState.RUNNING, leased_until__lt=now)
    # No join here: PostgreSQL would check only the joined ids again after waiting for another claim.
    taken = JobItem.objects.filter(free, id=item_id).update(
        state=ItemState.RUNNING,
        lease=lease,
        leased_until=now + timedelta(seconds=settings.PORTRAIT.job_lease_s),
        attempts=F("attempts") + 1,
        crashes=Case(
            When(state=ItemState.RUNNING, then=F("crashes") + 1), default=F("crashes"), output_field=IntegerField()
        ),
    )
    return JobItem.objects.select_related("job").filter(id=item_id, lease=lease).first() if taken else None


def process(*, item: JobItem) -> None:
    """Do a claimed item: the effect and the result are committed together, or neither is.

    Raises:
        LeaseLostError: the item went to another worker meanwhile, or was erased.
        Exception: whatever the handler raised; the caller decides about a retry.
    """
    handler = handler_of(item.job.kind)
    release_connection()
    prepared = handler.prepare(item)
    with atomic_with_files():
        # Whom the job is about is locked before the item, as erasure does it: otherwise they could wait for each
        # other. Without the lease all of it is rolled back, and the files go.
        result = handler.store(item, prepared)
        _finish(item, state=ItemState.DONE, result=result)


def fail(
    *,
    item: JobItem,
    code: str,
    message: str,
    details: dict[str, Any] | None = None,
    keep_upload: bool = False,
    failed: bool = False,
) -> None:
    """End a claimed item with the reason. keep_upload: the picture is not to blame, it may be retried by hand; where
    it is not an upload, the result says so. failed: the try counts among its `failures`.

    Raises:
        LeaseLostError: the item went to another worker meanwhile, or was erased.
    """
    told = (details or {}) | ({"retryable": True} if keep_upload and not item.upload else {})
    ending = {"error_code": code, "error_message": message, "result": told or None}
    with transaction.atomic():
        _finish(item, keep_upload, state=ItemState.FAILED, failures=F("failures") + int(failed), **ending)


def _finish(item: JobItem, keep_upload: bool = False, /, **values: Any) -> None:
    if not keep_upload:
        values["upload"] = ""
    ended = _owned(item).update(lease=None, leased_until=None, finished_at=timezone.now(), **values)
    if not ended:
        raise LeaseLostError(str(item))
    if not keep_upload:
        delete_on_commit(stored(item.upload))
    # Robust: its failure must not look like a failure of what is committed by then; `sweep` closes the job later.
    transaction.on_commit(partial(close_if_finished, job_id=item.job_id), robust=True)


def _owned(item: JobItem) -> "QuerySet[JobItem]":
    return JobItem.objects.filter(id=item.id, state=ItemState.RUNNING, lease=item.lease)


def give_back(*, item: JobItem, pause_s: float, failed: bool) -> None:
    """Let a claimed item wait again. failed: the try counts among its `failures`.

    Raises:
        LeaseLostError: the item went to another worker meanwhile, or was erased.
    """
    given = _owned(item).update(
        state=ItemState.WAITING,
        lease=None,
        leased_until=None,
        paused_until=timezone.now() + timedelta(seconds=pause_s),
        failures=F("failures") + int(failed),
    )
    if not given:
        raise LeaseLostError(str(item))


def extend_lease(*, item: JobItem, forgive: bool = True) -> None:
    """Keep a claimed item for longer: it takes its time. forgive: it lives, so it is not what made earlier workers
    vanish.

    Raises:
        LeaseLostError: the item went to another worker meanwhile, or was erased.
    """
    until = timezone.now() + timedelta(seconds=settings.PORTRAIT.job_lease_s)
    forgiven = {"crashes": 0} if forgive else {}
    if not _owned(item).update(leased_until=until, **forgiven):
        raise LeaseLostError(str(item))


def cancel(*, job: Job) -> None:
    """Stop what has not begun; an item that is being worked on ends as it ends."""
    with transaction.atomic():
        Job.objects.filter(id=job.id, cancelled_at=None, finished_at=None).update(cancelled_at=timezone.now())
        waiting = list(job.items.select_for_update(of=("self",)).filter(state=ItemState.WAITING).order_by("id"))
        job.items.filter(id__in=[item.id for item in waiting]).update(
            state=ItemState.CANCELLED, finished_at=timezone.now(), upload=""
        )
        delete_on_commit(stored(*(item.upload for item in waiting)))
        transaction.on_commit(partial(close_if_finished, job_id=job.id), robust=True)


def retry(*, job: Job) -> list[int]:
    """Let failed items wait again, those that failed through no fault of their picture; the caller enqueues their ids.

    Raises:
        ConflictError: there is no such item.
        QueueFullError: the collection has too much work waiting already.
    """
    with transaction.atomic():
        failed = job.items.select_for_update(of=("self",)).filter(selectors.RETRYABLE).order_by("id")
        item_ids = [item.id for item in failed.only("id")]
        if not item_ids:
            raise ConflictError(
                "This job has no failed picture that can be retried: only those are kept that failed "
                "through no fault of their own."
            )
        _require_room(job.collection_id, job.queue, len(item_ids))
        now = timezone.now()
        JobItem.objects.filter(id__in=item_ids).update(
            state=ItemState.WAITING,
            attempts=0,
            crashes=0,
            failures=0,
            accepted_at=now,
            enqueued_at=now,
            paused_until=None,
            finished_at=None,
            error_code="",
            error_message="",
            result=None,
        )
        Job.objects.filter(id=job.id).update(finished_at=None, updated_at=now)
    return item_ids


def close_if_finished(*, job_id: uuid.UUID) -> None:
    """Note the end of a job whose last item ended; safe to call at any time, by anyone."""
    # One statement: between a look and a write a retry could open the job again.
    selectors.without_open_items(job_id).filter(finished_at=None).update(finished_at=timezone.now())


def take_for_enqueueing(items: "QuerySet[JobItem]") -> list[int]:
    """Note that the broker is given these items now, and answer their ids; two callers at once never take the same."""
    with transaction.atomic():
        item_ids = [item.id for item in items.select_for_update(skip_locked=True, of=("self",)).only("id")]
        JobItem.objects.filter(id__in=item_ids).update(enqueued_at=timezone.now(), paused_until=None)
    return item_ids


def park(*, item_ids: Sequence[int]) -> None:
    """Note that the broker did not take these items: they wait in the ledger."""
    JobItem.objects.filter(id__in=item_ids, state=ItemState.WAITING).update(paused_until=timezone.now())
