"""The reader of one camera, in a process of its own: a thread reads the source, this one stores what it read."""

import hashlib
import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum
from typing import Any, TypeVar

from django.conf import settings
from django.db import InterfaceError, OperationalError, connection
from django.utils import timezone

from portrait.cameras import addresses
from portrait.cameras.addresses import SourceError, SourceKind
from portrait.cameras.capture.folder import Journal, PictureFolder, journal_path
from portrait.cameras.capture.reading import (
    Crashed,
    Ended,
    Event,
    FileReading,
    FolderReading,
    LiveReading,
    Missed,
    Reading,
    Taken,
)
from portrait.cameras.capture.sampling import Backoff
from portrait.cameras.capture.sources import LiveSource, UnreadableError, VideoFile, fingerprint, restrict_ffmpeg
from portrait.cameras.capture.status import Progress, Report, State, live_fingerprint
from portrait.cameras.disk import StorageFullError
from portrait.cameras.incoming import IncomingFrame
from portrait.cameras.models import Camera, Frame
from portrait.cameras.services.accept import (
    Accepted,
    CameraDisabledError,
    Outcome,
    SequenceTakenError,
    accept_frame,
    accept_frames,
)
from portrait.core.errors import NotFoundError

logger = logging.getLogger(__name__)

DatabaseDown = (OperationalError, InterfaceError)
BATCH = 8
_GATHER_S = 0.2
_TURN_S = 0.5
_RETRY_LIMIT_S = 3.0
T = TypeVar("T")


class Exit(IntEnum):
    """How a reader's process ends, for its supervisor."""

    DONE = 0
    """The file was read to its end."""
    UNREADABLE = 3
    GONE = 4
    """The camera was deleted or switched off."""
    LOCKED = 5
    """Another process reads this camera."""
    STOPPED = 6
    """It was asked to stop."""


@dataclass(frozen=True, slots=True)
class Options:
    """How to read. start: when a file's first frame was taken; None: so that its last one was taken just now."""

    realtime: bool = False
    once: bool = False
    start: datetime | None = None


class CameraReader:
    """Reads a camera until its source ends, or until `stop` is set."""

    def __init__(self, camera: Camera, options: Options, stop: threading.Event, reason: Callable[[], str]) -> None:
        self._camera, self._options, self._stop, self._reason = camera, options, stop, reason
        self._report = Report(camera)
        self._pending: list[Taken] = []
        self._offset = 0  # between the sequences that the reading thread counts and those that the ledger gave
        self._highest = -1

    def run(self) -> Exit:
        """Raises what nobody thought of; the supervisor then starts the reader again."""
        try:
            reading = patiently(self._begin, self._stop)
            if reading is None:
                return Exit.STOPPED if self._stop.is_set() else Exit.DONE
            reading.start()
            return self._store_all(reading)
        except (SourceError, UnreadableError) as error:
            self._fail(str(error))
            return Exit.UNREADABLE
        except (NotFoundError, CameraDisabledError):
            return Exit.GONE

    # --- beginning ----------------------------------------------------------------------------------

    def _begin(self) -> Reading | None:
        """The reading, where it was left; None for a file that was read to its end before."""
        source = self._camera.source
        addresses.check_source(source)
        kind = addresses.kind_of(source)
        restrict_ffmpeg(kind)
        if kind is not SourceKind.PATH:
            digest = hashlib.sha256(source.encode()).hexdigest()
            progress = self._report.begin(fingerprint=live_fingerprint(digest), epoch=timezone.now())
            return LiveReading(LiveSource(source, self._reason), **self._common(progress))
        path = addresses.resolve_path(source)
        return self._begin_folder() if path.is_dir() else self._begin_file()

    def _begin_file(self) -> Reading | None:
        path, options = addresses.resolve_path(self._camera.source), self._options
        print_, file = fingerprint(path), VideoFile(path, self._reason)
        now = timezone.now()
        epoch = now if options.realtime else now - timedelta(seconds=file.duration_s)
        progress = self._report.begin(fingerprint=print_, epoch=options.start or epoch)
        if progress.ended:
            logger.info("camera %s: the file was read to its end before, and is not read again", self._camera.name)
            return None
        return FileReading(file, realtime=options.realtime, **self._common(progress))

    def _begin_folder(self) -> Reading:
        path, options = addresses.resolve_path(self._camera.source), self._options
        journal = Journal(journal_path(settings.PORTRAIT.var, self._camera.pk), path)
        folder = PictureFolder(path, journal, once=options.once)
        progress = self._report.begin(fingerprint=folder.fingerprint, epoch=options.start or timezone.now())
        spaced = options.realtime or options.start is not None
        return FolderReading(
            folder,
            once=options.once,
            realtime=options.realtime,
            spacing_s=1 / (self._camera.fps or 1.0) if spaced else None,
            **self._common(progress),
        )

    def _common(self, progress: Progress) -> dict[str, Any]:
        return {"fps": self._camera.fps, "progress": progress, "report": self._report, "stop": self._stop}

    # --- storing ------------------------------------------------------------------------------------

    def _store_all(self, reading: Reading) -> Exit:
        while not self._stop.is_set():
            self._pending, last = self._gather(reading)
            self._store(self._pending)
            if isinstance(last, Crashed):
                raise last.error
            if isinstance(last, Missed):
                sequence = last.sequence + self._offset
                self._report.lost(sequence=sequence, reason=last.reason)
                self._report.looked(position=last.position, next_sequence=sequence + 1)
            if isinstance(last, Ended):
                self._end(last)
                return Exit.DONE
            self._flush()
        self._leave(reading)
        return Exit.STOPPED

    def _gather(self, reading: Reading) -> tuple[list[Taken], Event | None]:
        """What is there to store: of a live source at once, of a file some frames together. The last: no frame."""
        batch: list[Taken] = []
        wait_s, live = _TURN_S, isinstance(reading, LiveReading)
        while len(batch) < BATCH:
            try:
                event = reading.events.get(timeout=wait_s) if wait_s else reading.events.get_nowait()
            except queue.Empty:
                break
            if not isinstance(event, Taken):
                return batch, event
            batch.append(event)
            wait_s = 0 if live or event.read_at is not None else _GATHER_S
        return batch, None

    def _store(self, batch: list[Taken], *, tries: int | None = None) -> None:
        """Store frames, however long that takes; what is left over when it is asked to stop stays in `batch`."""
        backoff = Backoff(0.25, _RETRY_LIMIT_S)
        while batch:
            try:
                self._accept(batch)
            except StorageFullError as error:
                self._report.blocked(State.PAUSED, cause="the disk is nearly full", message=error.message)
            except (NotFoundError, CameraDisabledError):
                raise
            except DatabaseDown:
                cause = "PostgreSQL does not answer"
                self._report.blocked(State.RETRYING, cause=cause, message=f"{cause}.")
                connection.close()
            except Exception as error:  # the frame store, say: frames wait as long as they can
                logger.exception("camera %s: frames cannot be stored", self._camera.name)
                cause = f"frames cannot be stored ({type(error).__name__})"
                self._report.blocked(State.RETRYING, cause=cause, message=f"{cause}.")
            else:
                self._report.unblocked()
                return
            self._flush()
            if tries is None:
                if self._stop.wait(backoff.pause_s()):
                    return
            elif tries <= 1:
                return
            else:
                tries -= 1
                time.sleep(backoff.pause_s())

    def _accept(self, batch: list[Taken]) -> None:
        incoming = [
            IncomingFrame(
                data=frame.data,
                captured_at=frame.captured_at,
                sequence=frame.sequence + self._offset,
                metadata=frame.metadata,
            )
            for frame in batch
        ]
        for outcome in accept_frames(camera=self._camera, incoming=incoming):
            self._highest = max(self._highest, self._settle(batch[0], outcome))
            last = batch.pop(0)
        self._offset = self._highest - last.sequence

    def _settle(self, frame: Taken, outcome: Outcome) -> int:
        """Note what became of a frame; answers its sequence."""
        sequence = frame.sequence + self._offset
        if isinstance(outcome, SequenceTakenError) and not self._is_same(frame, outcome):
            # Frames were pushed to this camera as well: the ledger counts, and we go on above that.
            given = accept_frame(
                camera=self._camera,
                incoming=IncomingFrame(frame.data, captured_at=frame.captured_at, metadata=frame.metadata),
            )
            sequence = given.frame.sequence
        elif not isinstance(outcome, Accepted | SequenceTakenError):
            self._report.lost(sequence=sequence, reason=str(outcome))
            self._report.looked(position=frame.position, next_sequence=sequence + 1)
            return sequence
        lag_s = None if frame.read_at is None else max(0.0, time.time() - frame.read_at)
        self._report.accepted(captured_at=frame.captured_at, lag_s=lag_s)
        self._report.looked(position=frame.position, next_sequence=sequence + 1)
        return sequence

    def _is_same(self, frame: Taken, refusal: SequenceTakenError) -> bool:
        """A file's frame that was stored before a restart, whose picture is made otherwise since an upgrade."""
        known = Frame.objects.filter(pk=refusal.details["frame"]).first()
        return known is not None and known.captured_at == frame.captured_at

    # --- ending -------------------------------------------------------------------------------------

    def _end(self, ended: Ended) -> None:
        self._report.looked(position=ended.position, next_sequence=0)
        self._report.source(State.ENDED, ended.message)
        patiently(lambda: self._report.flush(at_once=True), self._stop)

    def _leave(self, reading: Reading) -> None:
        """Asked to stop: a file goes on later where it was; of a live source, what was read is stored or told."""
        if isinstance(reading, LiveReading):
            reading.join(1.0)
            rest = self._pending + [event for event in reading.events.rest() if isinstance(event, Taken)]
            self._store(rest, tries=4)
            for frame in rest:
                self._report.lost(sequence=frame.sequence + self._offset, reason="the reader was stopped")
        self._report.stopped()
        try:
            self._report.flush(at_once=True)
        except (*DatabaseDown, NotFoundError):
            logger.warning("camera %s: where it stopped could not be written", self._camera.name)

    def _fail(self, message: str) -> None:
        try:
            self._report.fail(addresses.masked(message))
        except DatabaseDown:
            logger.warning("camera %s: that it cannot be read could not be written", self._camera.name)

    def _flush(self) -> None:
        try:
            self._report.flush()
        except DatabaseDown:
            connection.close()


def patiently(action: Callable[[], T], stop: threading.Event) -> T | None:
    """Do it when PostgreSQL answers, however long that takes; None if it is asked to stop before."""
    backoff = Backoff(0.25, _RETRY_LIMIT_S)
    while not stop.is_set():
        try:
            return action()
        except DatabaseDown:
            logger.warning("PostgreSQL does not answer: waiting")
            connection.close()
            stop.wait(backoff.pause_s())
    return None
