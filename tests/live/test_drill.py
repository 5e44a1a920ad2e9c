"""`make drill`, in its short form: whatever dies, no frame is lost, done twice or stuck; and nothing stays behind."""

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.conftest import MANAGE, wait_for

TIME_LIMIT_S = 600


def _started_here(folder: Path) -> list[int]:
    """Processes that have to do with a folder: by their environment, or (PostgreSQL overwrites its own) by their
    working directory."""
    found = []
    for pid in (int(entry) for entry in os.listdir("/proc") if entry.isdigit() and int(entry) != os.getpid()):
        with contextlib.suppress(OSError):
            about = Path(f"/proc/{pid}/environ").read_bytes() + os.fsencode(os.readlink(f"/proc/{pid}/cwd"))
            if os.fsencode(folder) in about:
                found.append(pid)
    return found


@pytest.fixture
def temporary(tmp_path: Path) -> Iterator[Path]:
    """Where a drill makes its folder. Nothing of it runs afterwards, whatever the test did."""
    folder = tmp_path / "drill"
    folder.mkdir()
    yield folder
    for pid in _started_here(folder):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    wait_for(lambda: not _started_here(folder), "the end of the drill's processes")


def _drill(temporary: Path, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*MANAGE, "drill", "--short", *arguments],
        env={**os.environ, "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _end(drill: "subprocess.Popen[str]") -> None:
    if drill.poll() is None:
        drill.terminate()
        drill.wait(TIME_LIMIT_S)


def test_whatever_dies_no_frame_is_lost_doubled_or_stuck(temporary: Path) -> None:
    drill = _drill(temporary, "--json")
    try:
        output, told = drill.communicate(timeout=TIME_LIMIT_S)
    finally:
        _end(drill)
    assert drill.returncode == 0, told[-5000:] + output[-5000:]
    found = json.loads(output)
    assert found["passed"] is True
    assert found["captured"] == found["done"] == sum(found["frames"].values()) >= 150
    assert min(found["frames"].values()) >= 50, "three cameras"
    assert [found[name] for name in ("lost", "double", "stuck", "failed", "problems")] == [[]] * 5
    assert found["sightings"] > 0
    assert found["sightings_that_differ"] == []
    assert {fault["name"] for fault in found["faults"]} == {
        "worker killed",
        "Triton killed",
        "Redis killed and emptied",
        "Postgres restarted",
    }
    assert found["delivered_twice"] >= 15
    assert found["delivered_after_done"] > 0
    assert list(temporary.iterdir()) == []
    assert _started_here(temporary) == []


def test_a_drill_that_is_interrupted_leaves_nothing_behind(temporary: Path) -> None:
    drill = _drill(temporary)
    try:
        assert drill.stdout is not None
        for line in drill.stdout:
            if "Three cameras play" in line:
                break
        assert drill.poll() is None, drill.communicate()[1]
        drill.send_signal(signal.SIGINT)
        output, _ = drill.communicate(timeout=TIME_LIMIT_S)
    finally:
        _end(drill)
    assert drill.returncode == 130
    assert "Everything is stopped." in output
    assert list(temporary.iterdir()) == []
    assert _started_here(temporary) == []
