"""Celery's side of sightings: ids in, one service called. What ends badly waits in the ledger."""

import logging

from celery import shared_task

from inference.errors import ServerBusyError
from portrait.sightings.services import processing, strangers
from portrait.sightings.services.processing import DatabaseDown

logger = logging.getLogger(__name__)


@shared_task
def process_frames(frame_ids: list[int]) -> None:
    """Process frames, once each: a second delivery finds them taken or done."""
    try:
        processing.process(frame_ids=frame_ids)
    except DatabaseDown as error:
        logger.error("the database does not answer, frames %s wait for `sweep`: %s", frame_ids, error)  # noqa: TRY400  (an outage, not a fault: the trace says nothing)
    except ServerBusyError:
        logger.info("this worker is full, frames %s wait for `sweep`", frame_ids)


@shared_task
def register_strangers() -> None:
    """Register strangers whose worker died before it could."""
    strangers.register_due()


@shared_task
def expire() -> None:
    """Remove what the cameras' rules keep no longer; and bring on edits whose past was left half done."""
    from portrait.sightings.services import history, retention

    retention.expire_due()
    history.resume()
