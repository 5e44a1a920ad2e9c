"""Memory of the site's processes while they work."""

import statistics
import threading
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmarks._frames_site import Bench

EVERY_S = 2.0


def pss_mb(pid: int) -> float:
    """MB of a process and all below it: what they have alone, and their share of what they have together."""
    total = 0.0
    try:
        for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
            text = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
            total += next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")) / 1024
    except (psutil.Error, OSError, StopIteration):  # a process ended meanwhile
        pass
    return total


@dataclass(slots=True)
class Sampler:
    """Looks at every program now and then, until the block ends."""

    bench: Bench
    samples: dict[str, list[float]] = field(default_factory=dict)
    pids: dict[str, set[int]] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> "Sampler":
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(EVERY_S):
            for name, pid in self.bench.pids().items():
                self.pids.setdefault(name, set()).add(pid)
                self.samples.setdefault(name, []).append(pss_mb(pid))

    def table(self) -> dict[str, dict[str, float | int]]:
        """By program, MB: medians of the first and the last third, their ratio, the most; and restarts."""
        found = {}
        for name, values in self.samples.items():
            third = max(1, len(values) // 3)
            first, last = statistics.median(values[:third]), statistics.median(values[-third:])
            found[name] = {
                "first_third_mb": round(first, 1),
                "last_third_mb": round(last, 1),
                "ratio": round(last / first, 2) if first else 0.0,
                "peak_mb": round(max(values), 1),
                "restarts": len(self.pids[name]) - 1,
            }
        return found
