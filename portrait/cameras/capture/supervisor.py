"""The parent of the readers: one process a camera, kept running, and following what the database says."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from django.db import connection
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from portrait.cameras import addresses
from portrait.cameras.addresses import SourceError, SourceKind
from portrait.cameras.capture.reader import DatabaseDown, Exit, Options
from portrait.cameras.capture.sampling import Backoff
from portrait.cameras.models import Camera, CaptureStatus
from portrait.embedded.machine import tied_to_parent
from portrait.env import BASE_DIR

logger = logging.getLogger(__name__)

HANG_S = 60.0
"""A reader that does not say for so long that it lives is killed; FFmpeg's own time limits are far below."""
_TURN_S = 0.25
_FOLLOW_S = 2.0
_STOP_S = 20.0
_UNREADABLE_PAUSE_S = 30.0
_LOCKED_PAUSE_S = 2.0
_SETTLED_NS = 2_000_000_000
Stamp = tuple[int, int, int]


@dataclass(slots=True)
class Child:
    """A camera and the process that reads it."""

    camera: Camera
    process: "subprocess.Popen[bytes] | None" = None
    started: datetime = field(default_factory=timezone.now)
    begun_s: float = 0.0
    start_at_s: float = 0.0
    backoff: Backoff = field(default_factory=Backoff)
    result: Exit | None = None
    """How its last process ended, if it ended by itself."""
    stamp: "Stamp | None" = None
    """What the source's file looked like when that one was started."""

    @property
    def label(self) -> str:
        return f"{self.camera.collection.name}/{self.camera.name}"

    def is_due(self, *, once: bool) -> bool:
        """Whether a process may be started now."""
        stamp = _stamp(self.camera.source)
        if not once and stamp and time.time_ns() - stamp[0] < _SETTLED_NS:
            return False  # the file may still be written
        if self.result is Exit.DONE:
            return stamp != self.stamp  # another file lies at its place
        return time.monotonic() >= self.start_at_s or (self.result is Exit.UNREADABLE and stamp != self.stamp)

    def is_same(self, camera: Camera) -> bool:
        return (camera.source, camera.fps) == (self.camera.source, self.camera.fps)


class Supervisor:
    """Runs the readers of these cameras (no names: of all that are enabled and have a source)."""

    def __init__(
        self, *, names: Sequence[str], options: Options, stop: threading.Event, hang_s: float = HANG_S
    ) -> None:
        self._names, self._options, self._stop, self._hang_s = names, options, stop, hang_s
        self._children: dict[UUID, Child] = {}
        self._followed_s = -1e9
        self._answers_since: datetime | None = None

    def run(self) -> bool:
        """Until `stop` is set, or with `once` until all ended; answers whether all could be read."""
        try:
            while not self._stop.is_set():
                if time.monotonic() - self._followed_s > _FOLLOW_S:
                    self._followed_s = time.monotonic()
                    self._follow()
                for child in list(self._children.values()):
                    self._look_after(child)
                if self._options.once and self._children and all(map(self._has_ended, self._children.values())):
                    break
                self._stop.wait(_TURN_S)
        finally:
            self._stop_processes(list(self._children.values()))
        return all(child.result is Exit.DONE for child in self._children.values())

    def unreadable(self) -> list[str]:
        """The cameras that could not be read."""
        return [child.label for child in self._children.values() if child.result is not Exit.DONE]

    # --- following the database -----------------------------------------------------------------------

    def _follow(self) -> None:
        try:
            cameras = {camera.pk: camera for camera in find_cameras(self._names)}
            statuses = CaptureStatus.objects.filter(camera__in=cameras)
            beats = dict(statuses.values_list("camera_id", "heartbeat_at"))
        except DatabaseDown:
            if self._answers_since is not None:
                logger.warning("PostgreSQL does not answer: the cameras are read on, changes wait")
            self._answers_since = None
            connection.close()
            return
        if self._answers_since is None:
            self._answers_since = timezone.now()
        connection.close()  # goes back to the pool
        if not (self._options.once and self._children):  # `once` is about the cameras that were there
            self._adopt(cameras)
        for child in self._children.values():
            self._check_beat(child, beats.get(child.camera.pk))

    def _adopt(self, cameras: dict[UUID, Camera]) -> None:
        dropped = [
            child for key, child in self._children.items() if key not in cameras or not child.is_same(cameras[key])
        ]
        self._stop_processes(dropped)
        for child in dropped:
            logger.info("camera %s: was changed or taken away", child.label)
            del self._children[child.camera.pk]
        for key, camera in cameras.items():
            if self._options.once and addresses.kind_of(camera.source) is not SourceKind.PATH:
                continue
            if key in self._children:
                self._children[key].camera = camera
            else:
                self._children[key] = Child(camera)

    def _check_beat(self, child: Child, beat: datetime | None) -> None:
        """While PostgreSQL was away nobody could say that it lives: the time counts from when it was back."""
        if child.process is None or self._answers_since is None:
            return
        heard = max(child.started, self._answers_since, beat or child.started)
        if timezone.now() - heard > timedelta(seconds=self._hang_s):
            logger.error(
                "camera %s: its reader hangs (no sign of life for %.0f s) and is killed", child.label, self._hang_s
            )
            child.process.kill()

    # --- processes --------------------------------------------------------------------------------------

    def _look_after(self, child: Child) -> None:
        if child.process is not None:
            code = child.process.poll()
            if code is not None:
                child.process = None
                self._note_end(child, code)
        elif not self._has_ended(child) and child.is_due(once=self._options.once):
            self._start(child)

    def _has_ended(self, child: Child) -> bool:
        if not self._options.once or child.process is not None:
            return False
        return child.result in (Exit.DONE, Exit.UNREADABLE, Exit.GONE)

    def _start(self, child: Child) -> None:
        options = self._options
        command = [sys.executable, str(BASE_DIR / "manage.py"), "watch_camera", str(child.camera.pk)]
        command += ["--parent", str(os.getpid())]
        command += [f"--{name}" for name in ("realtime", "once") if getattr(options, name)]
        command += ["--start", options.start.isoformat()] if options.start else []
        child.result, child.stamp = None, _stamp(child.camera.source)
        child.started, child.begun_s = timezone.now(), time.monotonic()
        child.process = subprocess.Popen(  # noqa: S603  (our own command)
            [*tied_to_parent("TERM"), "--", *command], stdin=subprocess.DEVNULL, cwd=BASE_DIR
        )

    def _note_end(self, child: Child, code: int) -> None:
        now = time.monotonic()
        if code in set(Exit):
            child.result = Exit(code)
            child.start_at_s = now + (_UNREADABLE_PAUSE_S if child.result is Exit.UNREADABLE else _LOCKED_PAUSE_S)
            return
        child.backoff.worked(now - child.begun_s)
        pause = child.backoff.pause_s()
        child.start_at_s = now + pause
        how = signal.Signals(-code).name if code < 0 else f"exit status {code}"
        logger.error("camera %s: its reader died (%s); another starts in %.1f s", child.label, how, pause)
        _quietly(lambda: _note_restart(child.camera, how))

    def _stop_processes(self, children: list[Child]) -> None:
        running = [(child, child.process) for child in children if child.process is not None]
        for _, process in running:
            process.terminate()
        end = time.monotonic() + _STOP_S
        for child, process in running:
            try:
                process.wait(max(0.1, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                logger.warning("camera %s: its reader does not stop and is killed", child.label)
                process.kill()
                process.wait()
            child.process = None


def find_cameras(names: Sequence[str]) -> "QuerySet[Camera]":
    """Enabled cameras with a source; names: `name` or `collection/name`."""
    cameras = Camera.objects.select_related("collection").filter(enabled=True).exclude(source="")
    return cameras.filter(named(names)) if names else cameras


def named(names: Sequence[str]) -> Q:
    """The condition that a camera has one of these names (`name` or `collection/name`)."""
    wanted = Q(pk__in=[])
    for name in names:
        collection, slash, own = name.rpartition("/")
        wanted |= Q(collection__name=collection, name=own) if slash else Q(name=name)
    return wanted


def _note_restart(camera: Camera, how: str) -> None:
    CaptureStatus.objects.filter(camera=camera).update(
        restarts=F("restarts") + 1,
        state=CaptureStatus.State.RETRYING,
        since=timezone.now(),
        message=f"The reader's process died ({how}) and is started again.",
    )


def _quietly(write: Callable[[], None]) -> None:
    try:
        write()
    except DatabaseDown:
        connection.close()


def _stamp(source: str) -> "Stamp | None":
    """Tells whether a file was replaced since (time, size, inode); None for what is no file now."""
    if addresses.kind_of(source) is not SourceKind.PATH:
        return None
    try:
        path = addresses.resolve_path(source)
        status = path.stat()
    except (SourceError, OSError):
        return None
    if path.is_dir():
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
