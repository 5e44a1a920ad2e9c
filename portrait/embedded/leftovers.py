"""Processes of an earlier run that lost their supervisor.

The kernel stops the children of a supervisor that dies (`machine.tied_to_parent`), but they need a moment, and
a hung child may stay. Every child carries a marker in its environment. Whoever holds a
group's lock knows that no supervisor of it lives, so that each marked process found then is such a leftover.
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from portrait.embedded.errors import EmbeddedError

MARKER = "PORTRAIT_EMBEDDED_GROUP"


def marker_value(var: Path, group: str) -> str:
    return f"{group}:{var}"


def marked_processes(value: str) -> list[int]:
    """Ids of the living processes that carry the marker. (PostgreSQL overwrites its environment: see `postmaster`.)"""
    wanted = f"{MARKER}={value}".encode()
    return [pid for pid in _all_processes() if pid != os.getpid() and wanted in _environment(pid)]


def postmaster(data: Path) -> int | None:
    """The id of the PostgreSQL server that has `data` open, if there is one."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        pid = int((data / "postmaster.pid").read_text().splitlines()[0])
        if _alive(pid) and Path(f"/proc/{pid}/cwd").resolve() == data.resolve():
            return pid
    return None


def stop_leftovers(
    var: Path, group: str, data: Path | None, say: Callable[[str], None], *, patience_s: float = 15.0
) -> None:
    """Stop what an earlier run left behind: politely, after `patience_s` (but never PostgreSQL) by force.

    Raises:
        EmbeddedError: something does not stop.
    """
    value = marker_value(var, group)
    if not marked_processes(value) and not (data and postmaster(data)):
        return
    say(f"Stopping what an earlier run left in {var}.")
    for number in (signal.SIGTERM, signal.SIGCONT):
        _signal_all(marked_processes(value), number)
    database = postmaster(data) if data else None
    if database:
        _signal_all([database], signal.SIGINT)
    if _wait_gone(lambda: bool(marked_processes(value)), patience_s):
        _signal_all(marked_processes(value), signal.SIGKILL)
    if _wait_gone(lambda: bool(marked_processes(value) or (data and postmaster(data))), 60):
        raise EmbeddedError(
            f"Processes of an earlier run still use {var} (ids {marked_processes(value)}, PostgreSQL {database}): "
            "stop them, then start again."
        )


def _all_processes() -> Iterator[int]:
    return (int(entry) for entry in os.listdir("/proc") if entry.isdigit())


def _environment(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:  # gone, or another user's
        return []


def _alive(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def _signal_all(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _wait_gone(any_left: Callable[[], bool], timeout_s: float) -> bool:
    """Whether something is left after at most `timeout_s`."""
    end = time.monotonic() + timeout_s
    while any_left():
        if time.monotonic() > end:
            return True
        time.sleep(0.1)
    return False
