"""Celery's side of jobs: ids in, one service called; the only place that retries."""

import logging
from datetime import timedelta

from celery import shared_task
from django.conf import settings
from kombu.exceptions import OperationalError as BrokerError

from inference.errors import InferenceError
from portrait.core.errors import PortraitError
from portrait.jobs import selectors, services
from portrait.jobs.models import Job, JobItem

logger = logging.getLogger(__name__)

SWEEP_BATCH = 500

KEEP_JOBS = timedelta(days=30)


def enqueue(*, queue: str, item_ids: list[int]) -> None:
    """Give items to the broker. Without a broker they wait in the ledger until `sweep` finds them."""
    try:
        for item_id in item_ids:
            run_item.apply_async(args=(item_id,), queue=queue)
    except (BrokerError, ConnectionError) as error:
        logger.warning("the broker does not answer, %d items wait in the ledger: %s", len(item_ids), error)


def enqueue_job(job: Job) -> None:
    """Give all waiting items of a job to the broker; to be called after the commit."""
    enqueue(queue=job.queue, item_ids=list(job.items.order_by("index").values_list("id", flat=True)))


@shared_task
def run_item(item_id: int) -> None:
    """Do one item, once: a second delivery finds it taken."""
    item = services.claim(item_id=item_id)
    if item is None:
        return
    try:
        services.process(item=item)
    except services.LeaseLostError:
        logger.info("item %s went to another worker", item)
    except PortraitError as error:
        services.fail(item=item, code=error.code, message=error.message, details=error.details)
    except InferenceError as error:
        if error.retryable:
            _again(item, error.code, str(error))
        else:
            services.fail(item=item, code=error.code, message=str(error))
    except Exception as error:
        logger.exception("item %s failed", item)
        _again(item, "internal_error", f"{type(error).__name__}: see the worker's log")


def _again(item: JobItem, code: str, message: str) -> None:
    """Another try after a growing pause, or the end after the last one."""
    if item.attempts >= services.MAX_ATTEMPTS:
        services.fail(item=item, code=code, message=f"{message} (given up after {item.attempts} tries)")
        return
    services.give_back(item=item)
    pause_s = min(2**item.attempts, 30)
    try:
        run_item.apply_async(args=(item.id,), queue=item.job.queue, countdown=pause_s)
    except (BrokerError, ConnectionError):
        logger.warning("the broker does not answer, item %s waits in the ledger", item)


@shared_task
def sweep() -> None:
    """Give again to the broker what nobody works on: after a killed worker or an emptied Redis."""
    lost = list(selectors.lost_items(waiting_for=timedelta(seconds=settings.PORTRAIT.job_lease_s))[:SWEEP_BATCH])
    services.mark_enqueued(item_ids=[item.id for item in lost])
    for item in lost:
        enqueue(queue=item.job.queue, item_ids=[item.id])


@shared_task
def purge() -> None:
    """Remove jobs that ended long ago; their reports are not kept for ever."""
    for job in selectors.finished_before(KEEP_JOBS)[:SWEEP_BATCH]:
        services.delete_job(job=job)
