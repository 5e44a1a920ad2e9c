"""What a reader writes into its camera's `CaptureStatus`: how it goes, and how far it came."""

import logging
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime

from django.db.models import F
from django.db.models.functions import Greatest
from django.utils import timezone

from portrait.cameras.models import Camera, CaptureStatus
from portrait.core.errors import NotFoundError

logger = logging.getLogger(__name__)

EVERY_S = 1.0
State = CaptureStatus.State


@dataclass(frozen=True, slots=True)
class Progress:
    """Where to go on: the next frame to look at, the sequence of the next one that is taken."""

    position: int
    sequence: int
    epoch: datetime
    ended: bool = False


@dataclass(frozen=True, slots=True)
class _Loss:
    first: int
    last: int
    count: int
    since: datetime
    reason: str

    def __str__(self) -> str:
        which = f"sequence {self.first}" if self.first == self.last else f"sequences {self.first} to {self.last}"
        frames = "1 frame was" if self.count == 1 else f"{self.count} frames were"
        return f"{frames} not taken since {self.since:%Y-%m-%d %H:%M:%S} UTC ({which}): {self.reason}"


@dataclass(frozen=True, slots=True)
class _Problem:
    state: "State"
    cause: str
    message: str


class Report:
    """The state of one camera's reader. The reading thread and the storing one tell it, the latter writes it."""

    def __init__(self, camera: Camera) -> None:
        self._camera = camera
        self._lock = threading.Lock()
        self._state, self._message = State.CONNECTING, ""
        self._problem: _Problem | None = None
        self._loss: _Loss | None = None
        self._loss_told_s = -1e9
        self._written: tuple[str, str] | None = None
        self._written_s = -1e9
        self._restarts = 0
        self._fields: dict[str, object] = {}
        self._captured = self._not_taken = 0
        self._position = self._next_sequence = 0
        self._alive_at = timezone.now()

    # --- told by the reading thread -------------------------------------------------------------------

    def alive(self) -> None:
        """The reading goes on, even if there is nothing to read."""
        self._alive_at = timezone.now()

    def source(self, state: "State", message: str = "") -> None:
        """How the source is. A change is written into the log as well."""
        with self._lock:
            changed = (self._state, self._message) != (state, message)
            self._state, self._message = state, message
        self.alive()
        if changed:
            level = logging.WARNING if state in (State.RETRYING, State.FAILED) else logging.INFO
            logger.log(level, "camera %s: %s %s", self._camera.name, state.value, message)

    def connected_anew(self) -> None:
        with self._lock:
            self._restarts += 1

    def lost(self, *, sequence: int, reason: str = "") -> None:
        """A frame was captured and will not be stored: loudly, but not a line a frame."""
        with self._lock:
            reason = (self._problem.cause if self._problem else reason) or "they came faster than they could be stored"
            self._loss = _and_one_more(self._loss, sequence, reason)
            self._captured += 1
            self._not_taken += 1
            self._next_sequence = max(self._next_sequence, sequence + 1)
            tell = time.monotonic() - self._loss_told_s > 10
            if tell:
                self._loss_told_s = time.monotonic()
            loss = self._loss
        if tell:
            logger.warning("camera %s: %s", self._camera.name, loss)

    # --- told by the storing thread ---------------------------------------------------------------------

    def blocked(self, state: "State", *, cause: str, message: str) -> None:
        """Frames cannot be stored. cause: in short, and the same for all of them."""
        with self._lock:
            before, self._problem = self._problem, _Problem(state, cause, message)
            if before is None:
                self._loss, self._loss_told_s = None, -1e9
        if before is None or before.cause != cause:
            logger.warning("camera %s: %s: %s", self._camera.name, state.value, message)

    def unblocked(self) -> None:
        """Frames are stored."""
        with self._lock:
            before, self._problem = self._problem, None
            loss = self._loss
        if before:
            logger.warning("camera %s: frames are stored again. %s", self._camera.name, loss or "None was lost.")

    def stopped(self) -> None:
        """The reader ends because it was asked to."""
        with self._lock:
            self._problem = None
            loss = self._loss
        if loss:
            logger.warning("camera %s: %s", self._camera.name, loss)
        self.source(State.IDLE, f"The reader was stopped. {loss or ''}".strip())

    def looked(self, *, position: int, next_sequence: int) -> None:
        """The source was read so far, and all of that is stored (or lost)."""
        with self._lock:
            self._position = position
            self._next_sequence = max(self._next_sequence, next_sequence)

    def accepted(self, *, captured_at: datetime, lag_s: float | None) -> None:
        """A frame is stored."""
        with self._lock:
            self._captured += 1
            self._fields |= {"last_frame_at": captured_at, "lag_s": lag_s}

    # --- written ------------------------------------------------------------------------------------

    def begin(self, *, fingerprint: str, epoch: datetime) -> Progress:
        """Find out where to go on, and note it. epoch: of a source that is read from its beginning."""
        camera_id = self._camera.pk
        sequence = Camera.objects.filter(id=camera_id).values_list("next_sequence", flat=True).first()
        if sequence is None:
            raise NotFoundError("The camera was deleted.")
        status, _ = CaptureStatus.objects.get_or_create(camera_id=camera_id)
        self._captured, self._not_taken = status.captured, status.not_taken
        if fingerprint == status.fingerprint and not fingerprint.startswith("live:"):
            progress = Progress(
                status.position, status.base_sequence, status.epoch or epoch, status.state == State.ENDED
            )
        else:
            if fingerprint == status.fingerprint:  # stored by a reader that died before it could count them
                self._captured += max(0, sequence - status.base_sequence)
            progress = Progress(0, sequence, epoch)
        if progress.ended:
            return progress
        self._position, self._next_sequence = progress.position, progress.sequence
        self._fields |= {"fingerprint": fingerprint, "epoch": progress.epoch}
        self.flush(at_once=True)
        return progress

    def fail(self, message: str) -> None:
        """The source cannot be read. How far it was read before stays: it may come back."""
        self.source(State.FAILED, message)
        values = {"state": State.FAILED, "message": message, "heartbeat_at": timezone.now()}
        statuses = CaptureStatus.objects.filter(camera_id=self._camera.pk)
        if not statuses.filter(state=State.FAILED).update(**values) and Camera.objects.filter(pk=self._camera.pk):
            statuses.update_or_create(camera_id=self._camera.pk, defaults=values | {"since": timezone.now()})

    def flush(self, *, at_once: bool = False) -> None:
        """Write it, at most once a second; what the database does not take now is written the next time.

        Raises:
            NotFoundError: the camera was deleted.
            django.db.OperationalError, InterfaceError: the database is away.
        """
        if not at_once and time.monotonic() - self._written_s < EVERY_S:
            return
        with self._lock:
            self._written_s = time.monotonic()
            state, message = self._shown()
            restarts, lost = self._restarts, self._not_taken
            values = self._fields | {
                "heartbeat_at": self._alive_at,
                "captured": self._captured,
                "not_taken": self._not_taken,
                "position": self._position,
                "base_sequence": self._next_sequence,
            }
            next_sequence = self._next_sequence
        if (state, message) != self._written:
            changed = self._written is None or self._written[0] != state
            values |= {"state": state, "message": message} | ({"since": timezone.now()} if changed else {})
        if restarts:
            values["restarts"] = F("restarts") + restarts
        if lost:  # the gap stays, whatever comes: no later frame gets these sequences
            Camera.objects.filter(id=self._camera.pk).update(next_sequence=Greatest(F("next_sequence"), next_sequence))
        if not CaptureStatus.objects.filter(camera_id=self._camera.pk).update(**values):
            raise NotFoundError("The camera was deleted.")
        with self._lock:
            self._written = (state, message)
            self._restarts -= restarts
            self._fields = {}

    def _shown(self) -> tuple[str, str]:
        if self._problem:
            loss = f" {self._loss}." if self._loss else ""
            return self._problem.state, f"{self._problem.message}{loss}"
        if self._state == State.RUNNING and self._loss and not self._message:
            return self._state, f"{self._loss}."
        return self._state, self._message


def _and_one_more(before: _Loss | None, sequence: int, reason: str) -> _Loss:
    if before is None or before.reason != reason:
        return _Loss(sequence, sequence, 1, timezone.now(), reason)
    first, last = min(before.first, sequence), max(before.last, sequence)
    return _Loss(first, last, before.count + 1, before.since, reason)


def live_fingerprint(source_digest: str) -> str:
    """Of what is not read again: only tells one source from another."""
    return f"live:{source_digest}"


def clock(seconds: float) -> datetime:
    """Seconds since 1970 as a time."""
    return datetime.fromtimestamp(seconds, UTC)
