"""`manage.py up`: the whole site as one command."""

import os
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.conftest import PATIENCE_S, Installation, wait_for


@pytest.fixture
def site(installation: Installation) -> "Iterator[tuple[Installation, subprocess.Popen[str]]]":
    """An installation with `manage.py up` running on it and serving."""
    up = installation.start("up")
    try:
        wait_for(lambda: "Portrait runs" in installation.terminal() or up.poll() is not None, "the start")
        assert up.poll() is None, installation.terminal()
        yield installation, up
    finally:
        if up.poll() is None:
            up.terminate()
            up.wait(PATIENCE_S)


def _healthy(installation: Installation) -> bool:
    with urllib.request.urlopen(f"http://127.0.0.1:{installation.port}/healthz", timeout=10) as answer:
        return bool(answer.status == 200)


def test_up_serves_reports_a_crash_refuses_a_second_and_stops_everything(
    site: "tuple[Installation, subprocess.Popen[str]]",
) -> None:
    installation, up = site
    assert _healthy(installation)
    for word in ("/admin/", "/api/docs/", str(installation.var / "log")):
        assert word in installation.terminal()
    assert (installation.var / "sources").stat().st_mode & 0o777 == 0o700
    assert len(installation.group("site")) >= 6  # supervisor, web, two workers, beat, cameras

    second = installation.manage("up")
    assert (second.returncode, "runs already" in second.stderr) == (1, True)
    stop = installation.manage("services", "stop")
    assert (stop.returncode, "belong to the command" in stop.stderr) == (1, True)

    killed = installation.pid("redis")
    os.kill(killed, signal.SIGKILL)
    wait_for(lambda: "redis stopped unexpectedly (terminated by SIGKILL)" in installation.terminal(), "the report")
    assert "Ready to accept connections" in installation.terminal()  # the end of its log
    wait_for(lambda: installation.manage("services", "status").returncode == 0, "the restart")
    assert installation.pid("redis") != killed

    up.send_signal(signal.SIGTERM)
    assert up.wait(PATIENCE_S) == 0
    assert "Everything is stopped." in installation.terminal()
    assert installation.processes() == []


def test_when_up_is_killed_nothing_lives_on(site: "tuple[Installation, subprocess.Popen[str]]") -> None:
    installation, up = site
    up.kill()
    up.wait()
    wait_for(lambda: not installation.processes(), "the end of every process")


def test_a_back_end_that_does_not_stay_up_ends_the_site(site: "tuple[Installation, subprocess.Popen[str]]") -> None:
    installation, up = site
    (installation.var / "redis" / "appendonly.aof").write_text("this is no append-only file\n")
    os.kill(installation.pid("redis"), signal.SIGKILL)
    assert up.wait(PATIENCE_S) == 1
    assert "redis does not stay up" in installation.terminal()
    assert "Bad file format" in installation.terminal()
    assert installation.processes() == []


def test_up_uses_running_back_ends_and_leaves_them_running(installation: Installation) -> None:
    assert installation.manage("services", "start").returncode == 0
    before = installation.pid("postgres")
    up = installation.start("up")
    wait_for(lambda: "Portrait runs" in installation.terminal() or up.poll() is not None, "the start")
    assert _healthy(installation)
    up.send_signal(signal.SIGINT)
    assert up.wait(PATIENCE_S) == 0, installation.terminal()
    assert installation.group("site") == []
    assert installation.pid("postgres") == before
    assert installation.manage("services", "stop").returncode == 0
    assert installation.processes() == []


def test_an_occupied_web_port_is_named_before_anything_starts(installation: Installation) -> None:
    with socket.create_server(("127.0.0.1", installation.port)):
        refused = installation.manage("up")
    assert refused.returncode == 1
    assert f"cannot listen at 127.0.0.1:{installation.port}" in refused.stderr
    assert "PORTRAIT_PORT" in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1
    assert installation.processes() == []


@pytest.mark.parametrize("moment", ["postmaster.pid", "triton"])
def test_an_interrupt_while_it_starts_leaves_nothing(installation: Installation, moment: str) -> None:
    """Triton, stopped while it loads, would leave its backend's processes to nobody."""
    up = installation.start("up")
    begun = {
        "postmaster.pid": (installation.var / "postgres" / "postmaster.pid").exists,
        "triton": lambda: any(
            b"triton_python_backend_stub" in Path(f"/proc/{pid}/cmdline").read_bytes()
            for pid in installation.group("services")
            if Path(f"/proc/{pid}/cmdline").exists()
        ),
    }
    wait_for(begun[moment], f"the start of {moment}")
    up.send_signal(signal.SIGINT)
    up.wait(timeout=60)
    assert installation.processes() == []
