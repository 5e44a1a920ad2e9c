"""Celery's side of jobs: ids in, one service called; the only place that retries."""

import logging
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from celery import current_app, shared_task
from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.utils import timezone
from kombu.exceptions import OperationalError as BrokerError

from inference.errors import ImageError, InferenceError
from portrait.audit.services import AuditUnavailableError
from portrait.core.errors import PortraitError
from portrait.jobs import removal, selectors, services, uploads
from portrait.jobs.models import Job, JobItem

logger = logging.getLogger(__name__)

MAX_CRASHES = 3
MAX_FAILURES = 5
LONGEST_PAUSE_S = 30
GIVE_UP_AFTER = timedelta(hours=24)
KEEP_JOBS = timedelta(days=30)

SWEEP_BATCH = 2000

DatabaseDown = (OperationalError, InterfaceError)
NoBroker = (BrokerError, ConnectionError)


def enqueue(*, queue: str, item_ids: Sequence[int]) -> None:
    """Give items to the broker. Without a broker they wait in the ledger until `sweep` finds them."""
    for sent, item_id in enumerate(item_ids):
        try:
            run_item.apply_async(args=(item_id,), queue=queue)
        except NoBroker as error:
            logger.warning("the broker does not answer, %d items wait in the ledger: %s", len(item_ids) - sent, error)
            services.park(item_ids=item_ids[sent:])
            return


def enqueue_job(job: Job) -> None:
    """Give all items of a new job to the broker; to be called after the commit."""
    enqueue(queue=job.queue, item_ids=list(job.items.order_by("index").values_list("id", flat=True)))


def retry_job(job: Job) -> None:
    """Do again the items that failed through no fault of their picture.

    Raises:
        ConflictError: there is no such item.
        QueueFullError: the collection has too much work waiting already.
    """
    enqueue(queue=job.queue, item_ids=services.retry(job=job))


@shared_task
def run_item(item_id: int) -> None:
    """Do one item, once: a second delivery finds it taken."""
    try:
        item = services.claim(item_id=item_id)
        if item is None:
            return
        if item.crashes >= MAX_CRASHES:
            _give_up(
                item, "worker_lost", f"{item.crashes} workers vanished, or took too long, while they had this item"
            )
        else:
            _do(item)
    except services.LeaseLostError:
        logger.info("item %s went to another worker, or was erased", item_id)
    except DatabaseDown as error:
        logger.error("the database does not answer, item %s waits for `sweep`: %s", item_id, error)  # noqa: TRY400  (an outage, not a fault: the trace says nothing)


def _do(item: JobItem) -> None:
    """Process a claimed item, and decide what becomes of it if that does not go well."""
    try:
        services.process(item=item)
    except services.LeaseLostError:
        raise
    except AuditUnavailableError as error:
        _wait(item, error.code, error.message)
    except PortraitError as error:
        services.fail(item=item, code=error.code, message=error.message, details=error.details)
    except ImageError as error:
        services.fail(item=item, code=error.code, message=str(error))
    except InferenceError as error:
        if error.retryable:
            _wait(item, error.code, str(error))
        else:
            _give_up(item, error.code, str(error))
    except DatabaseDown as error:
        _wait(item, "database_unavailable", str(error))
    except Exception as error:
        _after_failure(item, error)


def _wait(item: JobItem, code: str, message: str) -> None:
    """A server that the work needs is away: wait for it as long as it takes, within a day."""
    if timezone.now() - item.accepted_at > GIVE_UP_AFTER:
        _give_up(item, code, f"{message} (given up after {item.attempts} tries in a day)")
        return
    logger.warning("item %s waits: %s", item, message)
    services.give_back(item=item, pause_s=pause_s(item.attempts), failed=False)


def _after_failure(item: JobItem, error: Exception) -> None:
    """Nobody foresaw this error: a few more tries."""
    failures = item.failures + 1
    if failures < MAX_FAILURES:
        services.give_back(item=item, pause_s=pause_s(failures), failed=True)
    else:
        message = f"{type(error).__name__}: see the worker's log (given up after {failures} failures)"
        _give_up(item, "internal_error", message, failed=True)
    logger.error("item %s failed", item, exc_info=error)  # here: what was erased meanwhile may fail without a word


def _give_up(item: JobItem, code: str, message: str, *, failed: bool = False) -> None:
    """The picture is not to blame: it is kept, and can be retried by hand."""
    services.fail(item=item, code=code, message=message, keep_upload=True, failed=failed)


def pause_s(tries: int) -> float:
    """How long an item waits after so many tries."""
    return float(min(2 ** min(tries, 10), LONGEST_PAUSE_S))


@shared_task
def sweep() -> None:
    """Give to the broker what waits for nothing any more, and again what it lost; close jobs that ended unnoticed."""
    for job_id in selectors.unclosed_jobs().values_list("id", flat=True)[:SWEEP_BATCH]:
        services.close_if_finished(job_id=job_id)
    for queue in selectors.queues_with_open_items():
        enqueue(queue=queue, item_ids=_due_items(queue))


def _due_items(queue: str) -> list[int]:
    """What the broker has to be given; each item at most once within a lease's time."""
    given_before = timezone.now() - timedelta(seconds=settings.PORTRAIT.job_lease_s)
    abandoned = selectors.abandoned_items(queue, given_before=given_before)
    in_hand = selectors.in_brokers_hands(queue)
    missing = min(in_hand.count() - queue_length(queue), SWEEP_BATCH)
    due = services.take_for_enqueueing(abandoned.filter(crashes=0)[:SWEEP_BATCH])
    # One at a time, once more than one worker vanished: otherwise the item that kills workers would take all that
    # are with it along, each time.
    due += services.take_for_enqueueing(abandoned.filter(crashes__gt=0)[:1])
    if missing > 0:  # the oldest: the broker hands out in order, so these would have been first
        lost = in_hand.filter(enqueued_at__lt=given_before).order_by("enqueued_at", "id")
        due += services.take_for_enqueueing(lost[:missing])
    return due + services.take_for_enqueueing(selectors.ripe_items(queue)[:SWEEP_BATCH])


def queue_length(queue: str) -> int:
    """How many messages lie in a queue of the broker; 0 if it has no such queue."""
    with current_app.connection_for_read() as connection:
        try:
            channel: Any = connection.default_channel
            return int(channel.queue_declare(queue, passive=True).message_count)
        except connection.channel_errors:
            return 0


@shared_task
def purge() -> None:
    """Remove jobs that ended long ago, their reports are not kept for ever; and uploads that belong to no item."""
    removal.delete_ended(jobs=selectors.finished_before(KEEP_JOBS))
    uploads.remove_orphaned()
