"""Fixtures for tests that start servers, or whole sites, of their own."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from portrait.embedded import leftovers
from portrait.env import BASE_DIR

MANAGE = [sys.executable, str(BASE_DIR / "manage.py")]
PATIENCE_S = 180.0
_EXTERNAL = ("DATABASE_URL", "REDIS_URL", "TRITON_URL")


@pytest.fixture(autouse=True)
def _servers() -> None:
    if os.environ.get("PORTRAIT_TEST_NO_SERVERS"):
        pytest.skip("PORTRAIT_TEST_NO_SERVERS is set")


def wait_for(condition: Callable[[], object], what: str) -> None:
    """Wait for something that must happen; how long it takes is not asserted."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, f"{what} did not happen"
        time.sleep(0.1)


class Installation:
    """A PORTRAIT_VAR of its own, the command line on it, and what runs on it."""

    def __init__(self, var: Path) -> None:
        self.var = var
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])

    @property
    def environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if key not in _EXTERNAL}
        return {**kept, "PORTRAIT_VAR": str(self.var), "PORTRAIT_PORT": str(self.port)}

    def manage(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*MANAGE, *arguments],
            env={**self.environment, **variables},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def start(self, *arguments: str, **variables: str) -> "subprocess.Popen[str]":
        with (self.var / "terminal").open("w") as terminal:
            return subprocess.Popen(
                [*MANAGE, *arguments],
                env={**self.environment, **variables},
                stdout=terminal,
                stderr=terminal,
                text=True,
            )

    def terminal(self) -> str:
        return (self.var / "terminal").read_text()

    def processes(self) -> list[int]:
        """Every process that was started for this installation and lives."""
        found = [pid for group in ("services", "site") for pid in self.group(group)]
        database = leftovers.postmaster(self.var / "postgres")
        return found + ([database] if database else [])

    def group(self, name: str) -> list[int]:
        return leftovers.marked_processes(leftovers.marker_value(self.var, name))

    def pid(self, program: str) -> int:
        """The process id of a back end."""
        for line in self.manage("services", "status").stdout.splitlines():
            if line.startswith(program):
                return int(line.split()[2])
        raise AssertionError(f"{program} does not run")


@pytest.fixture
def installation() -> Iterator[Installation]:
    """A fresh installation, with nothing running; nothing is left of it afterwards, whatever the test did."""
    var = Path(tempfile.mkdtemp(prefix="portrait-live-"))
    made = Installation(var)
    yield made
    for pid in made.processes():
        os.kill(pid, signal.SIGINT if pid == leftovers.postmaster(made.var / "postgres") else signal.SIGTERM)
    wait_for(lambda: not made.processes(), "the end of the test's processes")
    shutil.rmtree(var)
