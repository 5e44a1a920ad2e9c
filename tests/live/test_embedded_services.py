"""`manage.py services`: the three back ends as real processes."""

import json
import os
import signal
from pathlib import Path

import psycopg
import redis
from django.conf import settings

from portrait.embedded import triton
from tests.live.conftest import Installation, wait_for


def test_a_start_serves_and_a_stop_leaves_no_process(installation: Installation) -> None:
    started = installation.manage("services", "start")
    assert started.returncode == 0, started.stderr
    urls = json.loads((installation.var / "run" / "endpoints.json").read_text())
    with psycopg.connect(urls["database_url"]) as connection:
        assert connection.execute("SELECT '[1,2]'::vector <-> '[1,4]'::vector").fetchone() == (2.0,)
    with redis.Redis.from_url(urls["redis_url"]) as client:
        client.set("kept", "yes")
    status = installation.manage("services", "status")
    assert status.returncode == 0
    assert status.stdout.count("ready") == 3

    second = installation.manage("services", "start")
    assert second.returncode == 1
    assert "run already" in second.stderr
    assert "Traceback" not in second.stderr

    assert installation.manage("services", "stop").returncode == 0
    assert installation.processes() == []
    assert list(Path("/dev/shm").glob(f"{triton.shared_memory_prefix(installation.var)}*")) == []
    assert installation.manage("services", "status").returncode == 3

    # The next start finds the data and, as the ports are still free, listens at the same addresses.
    assert installation.manage("services", "start").returncode == 0
    assert json.loads((installation.var / "run" / "endpoints.json").read_text()) == urls
    with redis.Redis.from_url(urls["redis_url"]) as client:
        assert client.get("kept") == b"yes"
    assert installation.manage("services", "stop").returncode == 0


def test_after_the_supervisor_was_killed_nothing_lives_on_and_a_start_works(installation: Installation) -> None:
    assert installation.manage("services", "start").returncode == 0
    supervisor = installation.var / "run" / "services.pid"
    before = installation.processes()

    os.kill(int(supervisor.read_text()), signal.SIGKILL)
    again = installation.manage("services", "start")  # at once: some of the children are still stopping
    assert again.returncode == 0, again.stderr
    assert not set(before) & set(installation.processes())

    os.kill(int(supervisor.read_text()), signal.SIGKILL)
    wait_for(lambda: not installation.processes(), "the end of every process")


def test_servers_named_by_urls_are_used_and_not_started(installation: Installation) -> None:
    environment = settings.PORTRAIT
    urls = {"DATABASE_URL": environment.database_url, "REDIS_URL": environment.redis_url}

    assert installation.manage("services", "start", **urls).returncode == 0
    status = installation.manage("services", "status", **urls)
    assert [line.split()[0] for line in status.stdout.splitlines()] == ["triton"]
    assert not (installation.var / "postgres").exists()
    assert list(json.loads((installation.var / "run" / "endpoints.json").read_text())) == ["triton_url"]
    assert installation.manage("services", "stop", **urls).returncode == 0

    every = installation.manage("services", "start", **urls, TRITON_URL=environment.triton_urls[0])
    assert every.returncode == 1
    assert "no embedded server is needed" in every.stderr


def test_what_is_missing_is_said_in_one_sentence(installation: Installation, tmp_path: Path) -> None:
    for variables, sentence in (
        ({"PORTRAIT_TRITON_ENV": str(tmp_path / "none")}, "run `make .venv-triton`"),
        ({"PORTRAIT_MODELS": str(tmp_path)}, "models build"),
    ):
        refused = installation.manage("services", "start", **variables)
        assert refused.returncode == 1
        assert sentence in refused.stderr
        assert len(refused.stderr.strip().splitlines()) == 1
        assert installation.processes() == []


def test_a_var_with_a_path_too_long_for_sockets_works(installation: Installation) -> None:
    installation.var = installation.var / ("long" * 20) / "var 100% full"
    started = installation.manage("services", "start")
    assert started.returncode == 0, started.stderr
    url = json.loads((installation.var / "run" / "endpoints.json").read_text())
    with psycopg.connect(url["database_url"]) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    assert installation.manage("services", "stop").returncode == 0
