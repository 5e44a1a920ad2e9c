"""The way of frames' ids to the workers. The broker is only told where to look; the ledger is the truth."""

import logging
from collections.abc import Sequence
from typing import Any

from celery import current_app
from kombu.exceptions import OperationalError as BrokerError

logger = logging.getLogger(__name__)

QUEUE = "frames"
PROCESS = "portrait.sightings.tasks.process_frames"
"""By name: who processes frames is an app above this one."""
IDS_A_MESSAGE = 8

NoBroker = (BrokerError, ConnectionError)


def enqueue(frame_ids: Sequence[int], *, a_message: int = IDS_A_MESSAGE) -> int:
    """Tell the workers of these frames; answers how many were told. Without a broker `sweep` finds them later."""
    for start in range(0, len(frame_ids), a_message):
        try:
            current_app.send_task(PROCESS, args=(list(frame_ids[start : start + a_message]),), queue=QUEUE)
        except NoBroker as error:
            left = len(frame_ids) - start
            logger.warning("the broker does not answer, %d frames wait in the ledger: %s", left, error)
            return start
    return len(frame_ids)


def length() -> int:
    """How many messages lie in the broker's queue; 0 if it has none."""
    with current_app.connection_for_read() as connection:
        try:
            channel: Any = connection.default_channel
            return int(channel.queue_declare(QUEUE, passive=True).message_count)
        except connection.channel_errors:
            return 0
