"""Re-indexing gives way to whoever waits for an answer: cameras' frames, enrolments, recognitions.

All of these use the detector, or another network than an embedder; re-indexing uses embedders alone. So the inference
server's own counts tell whether anybody else is at work, in whichever process, and nobody has to report it.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from portrait.core.pipelines import embedder_specs, inference_client

QUIET_S = 1.0
"""So long after somebody else's last inference there is quiet again."""
LOOK_EVERY_S = 0.1
LONGEST_WAIT_S = 1.0
"""So long a step waits for quiet: where there never is any, re-indexing goes on slowly."""
STEP, STEP_WHEN_BUSY = 32, 4
"""Faces in one step: a live request waits behind one at most."""


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


def give_way(watcher: Watcher = _watcher) -> int:
    """Wait for quiet, within limits; answers how many faces may be done before this is asked again."""
    end = time.monotonic() + LONGEST_WAIT_S
    while watcher.busy():
        if time.monotonic() >= end:
            return STEP_WHEN_BUSY
        time.sleep(LOOK_EVERY_S)
    return STEP
