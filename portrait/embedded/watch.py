"""Sees the crashes of a group's processes and tells the user at once, with the end of the log."""

import re
import time
from collections import defaultdict, deque
from collections.abc import Callable
from pathlib import Path

from portrait.embedded.errors import EmbeddedError
from portrait.embedded.supervision import UNREACHABLE, Group, Process, tail

_CRASH_LIMIT = 5
_CRASH_WINDOW_S = 60.0


class CrashWatch:
    """Call it often: each call compares the group's processes with those of the last call."""

    def __init__(self, group: Group, say: Callable[[str], None]) -> None:
        self._group = group
        self._say = say
        self._pids: dict[str, int] = {}
        self._crashes: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=_CRASH_LIMIT))

    def __call__(self) -> None:
        """Raises `EmbeddedError` where a process does not come back, or the supervisor itself is gone."""
        try:
            processes = self._group.processes()
        except UNREACHABLE as error:
            if self._group.is_running():
                return  # it is busy, or is just stopping; the next call will tell
            raise EmbeddedError(f"The {self._group.name} were stopped from outside; see {self._group.log}.") from error
        for process in processes:
            self._compare(process)

    def _compare(self, process: Process) -> None:
        before = self._pids.get(process.name, 0)
        if before and process.pid != before and process.state not in {"STOPPING", "STOPPED"}:
            self._report(process)
        self._pids[process.name] = process.pid
        if process.state == "FATAL":
            raise EmbeddedError(self._given_up(process))

    def _report(self, process: Process) -> None:
        crashes = self._crashes[process.name]
        crashes.append(time.monotonic())
        if len(crashes) == _CRASH_LIMIT and crashes[-1] - crashes[0] < _CRASH_WINDOW_S:
            raise EmbeddedError(self._given_up(process))
        if process.state != "FATAL":
            self._say(
                f"{process.name} stopped unexpectedly ({self._cause(process.name)}) and is started again. "
                f"The end of {process.log}:\n{tail(process.log)}"
            )

    def _given_up(self, process: Process) -> str:
        return (
            f"{process.name} does not stay up ({self._cause(process.name)}). "
            f"The end of {process.log}:\n{tail(process.log)}"
        )

    def _cause(self, name: str) -> str:
        return last_exit(self._group.log, name) or "cause unknown"


def last_exit(supervisor_log: Path, name: str) -> str | None:
    """Why the process ended last, in supervisor's words: `terminated by SIGKILL`, `exit status 1`."""
    found = re.findall(
        rf"exited: {re.escape(name)} \((.*?)(?:; (?:not )?expected)?\)$", tail(supervisor_log, 100), re.M
    )
    return found[-1] if found else None
