"""Which of a source's frames are taken, and when: pure but for the waiting."""

import random
import threading
import time
from collections.abc import Callable

_GRAIN = 1e-3
"""Times in containers are rounded to milliseconds: a frame that is early by less is in time."""


class Sampler:
    """Takes so many frames a second by their own time; fps None: every frame."""

    def __init__(self, fps: float | None) -> None:
        self._period_s = 1 / fps if fps else 0.0
        self._due_s: float | None = None
        self._last_s = 0.0

    def due(self, time_s: float) -> bool:
        """Whether the frame of this time is taken. To be asked of each frame, in order."""
        if not self._period_s:
            return True
        if self._due_s is None or time_s < self._last_s - self._period_s:
            self._due_s = time_s  # the first one, or the clock was set back
        self._last_s = time_s
        if time_s < self._due_s - _GRAIN:
            return False
        # Onward on the same grid, so that 10 of 25 frames are 10; after a hole from here on, not all that was missed.
        behind = int((time_s + _GRAIN - self._due_s) / self._period_s)
        self._due_s += (behind + 1) * self._period_s
        return True


class Backoff:
    """Pauses between tries: each twice as long as the last, up to a limit, and each a little random, so that many
    cameras behind one switch do not come back at the same moment."""

    def __init__(self, first_s: float = 0.5, limit_s: float = 30.0) -> None:
        self._first_s, self._limit_s = first_s, limit_s
        self._next_s = first_s

    def pause_s(self) -> float:
        """The next pause."""
        pause = self._next_s * random.uniform(0.5, 1.0)  # noqa: S311  (no secret)
        self._next_s = min(self._next_s * 2, self._limit_s)
        return pause

    def worked(self, for_s: float) -> None:
        """It worked for so long: longer than the next pause, and the pauses begin anew."""
        if for_s > self._next_s:
            self._next_s = self._first_s


class Pace:
    """Lets frames through at the speed of their own time."""

    def __init__(self, stop: threading.Event, alive: Callable[[], None]) -> None:
        self._stop, self._alive = stop, alive
        self._zero: float | None = None

    def wait(self, time_s: float) -> float:
        """Wait until this frame's moment; answers by how many seconds it is late."""
        if self._zero is None:
            self._zero = time.monotonic() - time_s
        while (early := self._zero + time_s - time.monotonic()) > 0 and not self._stop.is_set():
            self._alive()
            self._stop.wait(min(early, 0.5))
        return max(0.0, -early)
