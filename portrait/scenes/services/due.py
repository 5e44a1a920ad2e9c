"""Which of a camera's frames are described: of each stretch of `every_s` seconds of capture time the first that was
processed. So it is the same however the frames come, and one at most."""

import logging
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from django.db.models import F

from portrait.cameras.models import Camera, Frame, FrameState
from portrait.jobs.models import OPEN_STATES, JobItem
from portrait.jobs.services import QueueFullError, create_job
from portrait.scenes.models import CameraScenes

logger = logging.getLogger(__name__)

DESCRIBE_FRAMES = "describe_frames"
QUEUE = "scenes"
MOST_WAITING = 1000
"""Frames of a collection that wait to be described; beyond that, due ones are left out, and counted."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def bucket(at: datetime, every_s: float) -> int:
    """The number of the stretch of time that `at` lies in, counted from 1970 on."""
    return int((at - _EPOCH) // timedelta(seconds=every_s))


def describe_due(*, camera: Camera, frames: Sequence[Frame]) -> None:
    """Note a job for those of these frames that are due. Inside the transaction that ends them as done, under their
    camera's lock; `jobs.tasks.sweep` enqueues it, so that the broker is nothing the frames wait for."""
    rule = CameraScenes.objects.filter(camera=camera).first()
    if rule is None or not (rule.caption_model or rule.segment_model):
        return
    due = _due(rule, frames)
    if not due:
        return
    if _waiting(camera) + len(due) > MOST_WAITING or not _noted(rule, camera, due):
        logger.error(
            "%d frames of camera %s are not described: %d wait already, more than the models keep up with",
            len(due),
            camera.pk,
            MOST_WAITING,
        )
        CameraScenes.objects.filter(camera=camera).update(skipped=F("skipped") + len(due))


def _due(rule: CameraScenes, frames: Sequence[Frame]) -> list[Frame]:
    """The earliest of each stretch in which no other frame was processed before."""
    first: dict[int, Frame] = {}
    for frame in sorted(frames, key=lambda each: (each.captured_at, each.pk)):
        first.setdefault(bucket(frame.captured_at, rule.every_s), frame)
    mine = [frame.pk for frame in frames]
    return [frame for number, frame in first.items() if not _is_taken(rule, number, mine)]


def _is_taken(rule: CameraScenes, number: int, mine: Iterable[int]) -> bool:
    begin = _EPOCH + number * timedelta(seconds=rule.every_s)
    others = Frame.objects.filter(
        camera_id=rule.camera_id,
        captured_at__gte=begin,
        captured_at__lt=begin + timedelta(seconds=rule.every_s),
        state__in=[FrameState.DONE, FrameState.EXPIRED],
    )
    return others.exclude(pk__in=mine).exists()


def _waiting(camera: Camera) -> int:
    items = JobItem.objects.filter(
        job__kind=DESCRIBE_FRAMES,
        job__collection_id=camera.collection_id,
        job__parameters__has_key="camera",  # not what `manage.py describe` asked for: that waits as long as it takes
        state__in=OPEN_STATES,
    )
    return items.values("pk")[: MOST_WAITING + 1].count()


def _noted(rule: CameraScenes, camera: Camera, due: Sequence[Frame]) -> bool:
    try:
        create_job(
            kind=DESCRIBE_FRAMES,
            queue=QUEUE,
            collection_id=camera.collection_id,
            items=len(due),
            parked=True,
            parameters={
                "camera": str(camera.pk),
                "subjects": [{"frame": frame.pk} for frame in due],
                "caption_model": rule.caption_model,
                "segment_model": rule.segment_model,
            },
        )
    except QueueFullError:
        return False
    return True
