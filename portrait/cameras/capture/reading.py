"""The reading half of a camera's reader: a thread that turns a source into frames for the storing half.

It is a thread of its own so that a live source is read on while PostgreSQL or the disk is slow: what is not read in
time, FFmpeg's buffers would hand out late, or lose in silence.
"""

import queue
import threading
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from portrait.cameras.capture.folder import PictureFolder
from portrait.cameras.capture.sampling import Backoff, Pace, Sampler
from portrait.cameras.capture.sources import LiveSource, Look, UnreadableError, VideoFile
from portrait.cameras.capture.status import Progress, Report, State, clock
from portrait.cameras.incoming import FUTURE

LIVE_BUFFER = 256
LIVE_BUFFER_BYTES = 64 << 20
"""Frames of a live source that are kept in memory while they cannot be stored, and their bytes."""
FILE_BUFFER = 16
_FOLDER_PAUSE_S = 1.0
_TURN_S = 0.5


@dataclass(frozen=True, slots=True)
class Taken:
    """A frame to be stored. position: of the next one. read_at: seconds since 1970; None: its delay says nothing."""

    position: int
    sequence: int
    captured_at: datetime
    data: bytes = field(repr=False)
    read_at: float | None
    metadata: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Missed:
    """A frame that could not be taken out of its source."""

    position: int
    sequence: int
    reason: str


@dataclass(frozen=True, slots=True)
class Ended:
    """Nothing more comes."""

    position: int
    message: str


@dataclass(frozen=True, slots=True)
class Crashed:
    """The reading thread met an error that nobody thought of."""

    error: Exception


Event = Taken | Missed | Ended | Crashed


class Events(queue.Queue[Event]):
    """Between the two threads. `size_bytes` is what its frames take."""

    def _init(self, maxsize: int) -> None:
        super()._init(maxsize)
        self.size_bytes = 0

    def _put(self, item: Event) -> None:
        super()._put(item)
        self.size_bytes += len(item.data) if isinstance(item, Taken) else 0

    def _get(self) -> Event:
        item = super()._get()
        self.size_bytes -= len(item.data) if isinstance(item, Taken) else 0
        return item

    def rest(self) -> list[Event]:
        """What nobody took."""
        found = []
        while not self.empty():
            found.append(self.get_nowait())
        return found


class Reading(ABC):
    """Reads in a thread until it ends or `stop` is set; `events` has what was read."""

    buffer = FILE_BUFFER

    def __init__(self, *, fps: float | None, progress: Progress, report: Report, stop: threading.Event) -> None:
        self.events = Events(self.buffer)
        self._report, self._stop = report, stop
        self._sampler = Sampler(fps)
        self._progress = progress
        self._sequence = progress.sequence
        self._thread = threading.Thread(target=self._run, name="reading", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def join(self, timeout_s: float) -> None:
        self._thread.join(timeout_s)

    def _run(self) -> None:
        try:
            self._read()
        except Exception as error:  # told to the storing thread, which ends the process with it
            self._put(Crashed(error))

    @abstractmethod
    def _read(self) -> None: ...

    def _put(self, event: Event) -> None:
        """Hand over, waiting for room: the source waits as well."""
        while not self._stop.is_set():
            self._report.alive()
            try:
                self.events.put(event, timeout=_TURN_S)
            except queue.Full:
                continue
            return

    def _next_sequence(self) -> int:
        self._sequence += 1
        return self._sequence - 1


class LiveReading(Reading):
    """What a live source gives is taken now or never."""

    buffer = LIVE_BUFFER

    def __init__(self, source: LiveSource, **common: Any) -> None:
        super().__init__(**common)
        self._source = source
        self._index = 0

    def _read(self) -> None:
        backoff = Backoff()
        while not self._stop.is_set():
            begun = time.monotonic()
            try:
                for look in self._source.looks():
                    self._report.source(State.RUNNING)
                    self._take(look)
                    if self._stop.is_set():
                        return
            except UnreadableError as error:
                backoff.worked(time.monotonic() - begun)
                pause = backoff.pause_s()
                self._report.source(State.RETRYING, f"{error}; it is tried again and again, with pauses")
                self._wait(pause)
                self._report.connected_anew()

    def _take(self, look: Look) -> None:
        self._index += 1
        if not self._sampler.due(look.time_s):
            return
        data, sequence = look.take(), self._next_sequence()
        if data is None:
            self._report.lost(sequence=sequence, reason="the frame was damaged")
            return
        frame = Taken(self._index, sequence, clock(look.time_s), data, look.time_s, look.metadata)
        if self.events.full() or self.events.size_bytes + len(data) > LIVE_BUFFER_BYTES:
            self._report.lost(sequence=sequence)
        else:  # nobody else puts: it stays as empty as it was found
            self.events.put_nowait(frame)

    def _wait(self, pause_s: float) -> None:
        end = time.monotonic() + pause_s
        while (left := end - time.monotonic()) > 0 and not self._stop.is_set():
            self._report.alive()
            self._stop.wait(min(left, _TURN_S))


class FileReading(Reading):
    """A file waits until each of its frames is stored."""

    def __init__(self, file: VideoFile, *, realtime: bool, **common: Any) -> None:
        super().__init__(**common)
        self._file = file
        self._pace = Pace(self._stop, self._report.alive) if realtime else None

    def _read(self) -> None:
        self._report.source(State.RUNNING)
        index = 0
        for look in self._file.looks():
            if self._stop.is_set():
                return
            self._report.alive()
            index = look.index + 1
            due = self._sampler.due(look.time_s)
            if due and look.index >= self._progress.position:
                self._take(look)
        if not self._stop.is_set():
            self._put(Ended(index, _end_of_file(index, self._file.expected)))

    def _take(self, look: Look) -> None:
        late_s = self._pace.wait(look.time_s) if self._pace else None
        captured_at = self._progress.epoch + timedelta(seconds=look.time_s)
        self._let_come(captured_at)
        sequence, data = self._next_sequence(), look.take()
        if data is None:
            self._put(Missed(look.index + 1, sequence, "the frame is damaged in the file"))
            return
        read_at = None if late_s is None else time.time() - late_s
        self._put(Taken(look.index + 1, sequence, captured_at, data, read_at, look.metadata))

    def _let_come(self, captured_at: datetime) -> None:
        """A frame from the future would be refused: a file that is read faster than it was taken waits."""
        while captured_at > timezone.now() + FUTURE / 2 and not self._stop.is_set():
            self._report.alive()
            self._stop.wait(_TURN_S)


class FolderReading(Reading):
    """Pictures wait in their folder until they are stored, each of them: whoever put them there has chosen.

    `spacing_s`: they are so far apart, from the epoch on; None: a picture was taken when its file was written, which
    copied files share, so that no rate could be taken of it."""

    def __init__(self, folder: PictureFolder, *, once: bool, realtime: bool, spacing_s: float | None, **common: Any):
        super().__init__(**common)
        self._folder, self._once, self._spacing_s = folder, once, spacing_s
        self._pace = Pace(self._stop, self._report.alive) if realtime else None
        self._position = self._progress.position

    def _read(self) -> None:
        while not self._stop.is_set():
            try:
                for look in self._folder.looks(self._position):
                    if self._stop.is_set():
                        return
                    self._report.source(State.RUNNING)
                    self._position = look.index + 1
                    self._take(look)
                self._report.source(State.RUNNING)
            except OSError as error:  # a network drive that is away, say
                if self._once:
                    raise UnreadableError(f"the folder cannot be read: {error.strerror}") from error
                self._report.source(State.RETRYING, f"the folder cannot be read: {error.strerror}")
            else:
                if self._once:
                    self._put(Ended(self._position, f"{self._position} pictures were read"))
                    return
            self._report.alive()
            self._stop.wait(_FOLDER_PAUSE_S)

    def _take(self, look: Look) -> None:
        captured_at, read_at = clock(look.time_s), None
        if self._spacing_s is not None:
            time_s = look.index * self._spacing_s
            captured_at = self._progress.epoch + timedelta(seconds=time_s)
            late_s = self._pace.wait(time_s) if self._pace else None
            read_at = None if late_s is None else time.time() - late_s
        sequence, data = self._next_sequence(), look.take()
        if data is None:
            name = look.metadata.get("file")
            self._put(Missed(look.index + 1, sequence, f"{name} was gone or changed before it was read"))
            return
        self._put(Taken(look.index + 1, sequence, captured_at, data, read_at, look.metadata))


def _end_of_file(read: int, expected: int) -> str:
    if expected and read < expected - 1:
        return f"{read} frames were read; the file's header names {expected}: the rest cannot be decoded"
    return f"{read} frames were read"
