"""Acceptance: the picture is in the store, then its row is committed, then the frame is accepted; never before."""

import errno
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Greatest

from inference.errors import ImageError
from portrait.cameras import disk, queue
from portrait.cameras.incoming import IncomingFrame, ReadyFrame, make_ready
from portrait.cameras.models import Camera, Frame
from portrait.core.errors import ConflictError, NotFoundError, PortraitError
from portrait.core.files import atomic_with_files, write_file

logger = logging.getLogger(__name__)


class SequenceTakenError(ConflictError):
    """Another picture has this sequence."""

    code: ClassVar[str] = "sequence_taken"


class CameraDisabledError(ConflictError):
    """The camera was switched off."""

    code: ClassVar[str] = "camera_disabled"


@dataclass(frozen=True, slots=True)
class Accepted:
    """A frame of the ledger. created False: it was there already, from an earlier delivery."""

    frame: Frame
    created: bool


Outcome = Accepted | PortraitError | ImageError


def accept_frame(*, camera: Camera, incoming: IncomingFrame) -> Accepted:
    """Accept one frame; sending the same again with its sequence changes nothing.

    Raises:
        ImageError, CaptureTimeError, SequenceTakenError: this frame cannot be taken.
        CameraDisabledError, StorageFullError, StorageUnavailableError, NotFoundError: none can.
    """
    outcome = accept_frames(camera=camera, incoming=[incoming])[0]
    if not isinstance(outcome, Accepted):
        raise outcome
    return outcome


def accept_frames(*, camera: Camera, incoming: Sequence[IncomingFrame]) -> list[Outcome]:
    """Accept frames in one transaction; one that cannot be taken becomes its error and stops no other.

    Raises:
        CameraDisabledError, StorageFullError, StorageUnavailableError, NotFoundError: none can be taken.
    """
    if not camera.enabled:
        raise CameraDisabledError(f"The camera {camera.name!r} is switched off: set 'enabled' to take frames again.")
    outcomes: dict[int, Outcome] = {}
    ready: dict[int, ReadyFrame] = {}
    for index, each in enumerate(incoming):
        try:
            ready[index] = make_ready(each)
        except (PortraitError, ImageError) as error:
            outcomes[index] = error
    if ready:
        disk.require_room(sum(len(frame.jpeg) for frame in ready.values()))
        outcomes |= _store(camera, ready)
    return [outcomes[index] for index in range(len(incoming))]


def _store(camera: Camera, ready: dict[int, ReadyFrame]) -> dict[int, Outcome]:
    known = _known(camera, ready)
    fresh = {index: frame for index, frame in ready.items() if frame.sequence not in known}
    try:
        with atomic_with_files():
            rows = {index: _with_file(camera, frame) for index, frame in fresh.items()}
            first = _count(camera, fresh)  # from here on other deliveries of this camera wait
            known |= _known(camera, fresh)
            outcomes: dict[int, Outcome] = {}
            for index, frame in ready.items():
                if frame.sequence is not None and frame.sequence in known:
                    outcomes[index] = _again(known[frame.sequence], frame)
                    continue
                row = rows[index]
                if frame.sequence is None:
                    row.sequence, first = first, first + 1
                known[row.sequence] = row
                outcomes[index] = Accepted(row, created=True)
            accepted = [outcome for outcome in outcomes.values() if isinstance(outcome, Accepted)]
            created = [outcome.frame for outcome in accepted if outcome.created]
            _drop_files([row for row in rows.values() if row not in created])
            Frame.objects.bulk_create(created)
            if created:
                Camera.objects.filter(id=camera.id).update(accepted=F("accepted") + len(created))
            transaction.on_commit(partial(queue.enqueue, [row.pk for row in created]), robust=True)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise disk.StorageFullError("The disk for frames is full. Nothing was stored.") from error
        logger.exception("the frame store does not take frames")
        raise disk.StorageUnavailableError("The store for frames does not answer; try again shortly.") from error
    return outcomes


def _known(camera: Camera, ready: dict[int, ReadyFrame]) -> dict[int | None, Frame]:
    asked = [frame.sequence for frame in ready.values() if frame.sequence is not None]
    if not asked:
        return {}
    return {frame.sequence: frame for frame in Frame.objects.filter(camera=camera, sequence__in=asked)}


def _with_file(camera: Camera, ready: ReadyFrame) -> Frame:
    frame = Frame(
        camera=camera,
        captured_at=ready.captured_at,
        sha256=ready.sha256,
        size_bytes=len(ready.jpeg),
        width=ready.width,
        height=ready.height,
        metadata=ready.metadata,
    )
    if ready.sequence is not None:
        frame.sequence = ready.sequence
    write_file(frame.picture, "frame.jpg", ready.jpeg)
    return frame


def _count(camera: Camera, fresh: dict[int, ReadyFrame]) -> int:
    """Take as many sequences as are needed; answers the first."""
    given = [frame.sequence for frame in fresh.values() if frame.sequence is not None]
    needed = len(fresh) - len(given)
    above = max(given, default=-1) + 1
    found = Camera.objects.filter(id=camera.id).update(next_sequence=Greatest(F("next_sequence"), above) + needed)
    if not found:
        raise NotFoundError("The camera was deleted meanwhile.")
    after = Camera.objects.values_list("next_sequence", flat=True).get(id=camera.id)
    return after - needed


def _again(known: Frame, ready: ReadyFrame) -> Outcome:
    if known.sha256 == ready.sha256:
        return Accepted(known, created=False)
    return SequenceTakenError(
        f"The camera has another picture with the sequence {ready.sequence} already: count on, or send no 'sequence'.",
        field="sequence",
        details={"frame": known.pk},
    )


def _drop_files(rows: Sequence[Frame]) -> None:
    for row in rows:
        row.picture.delete(save=False)
