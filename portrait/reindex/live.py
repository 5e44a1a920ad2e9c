"""Re-indexing gives way to whoever waits for an answer: cameras' frames, enrolments, recognitions.

All of these use the detector, or another network than an embedder; re-indexing uses embedders alone. So the inference
server's own counts tell whether anybody else is at work, in whichever process, and nobody has to report it.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from portrait.core.pipelines import embedder_specs, inference_client

QUIET_S = 3.0
"""So long after somebody else's last inference there is quiet again."""
LOOK_EVERY_S = 0.1
AT_ONCE = 2
"""Steps that a process does side by side: one reads and decodes while the network looks at the other's faces."""
STEP, STEP_WHEN_BUSY = 32, 8
"""Faces in one step: a live request waits behind one at most."""
REST, LONGEST_REST_S = 4.0, 5.0
"""While others are at work there is one step at a time, and so many times its duration of rest after it: a fifth of one
core, so that it goes on where there never is quiet."""


@dataclass(slots=True)
class Watcher:
    """Tells whether other networks than embedders were used a moment ago. Safe to share between threads."""

    served: Callable[[], dict[str, int]]
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _counts: dict[str, int] = field(default_factory=dict)
    _looked_at: float = 0.0
    _busy_until: float = 0.0

    def busy(self) -> bool:
        with self._lock:
            now = time.monotonic()
            if now - self._looked_at >= LOOK_EVERY_S:
                ours = embedder_specs()
                counts = {name: count for name, count in self.served().items() if name not in ours}
                if self._counts and counts != self._counts:
                    self._busy_until = now + QUIET_S
                self._counts, self._looked_at = counts, now
            return now < self._busy_until


_watcher = Watcher(lambda: inference_client().served())


_steps, _busy_step = threading.BoundedSemaphore(AT_ONCE), threading.Lock()


@contextmanager
def turn(watcher: Watcher = _watcher) -> Iterator[int]:
    """One step: so many faces at most. Waits for its turn, and rests after it while others are at work."""
    with _steps:
        if not watcher.busy():
            yield STEP
            return
        with _busy_step:
            begin = time.monotonic()
            yield STEP_WHEN_BUSY
            if watcher.busy():
                time.sleep(min(LONGEST_REST_S, REST * (time.monotonic() - begin)))
