"""Everything at once: the back ends, the database's tables, then web, worker, beat and the readers of cameras."""

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from portrait.embedded import endpoints as addresses
from portrait.embedded import leftovers, lock, machine, services
from portrait.embedded.errors import EmbeddedError
from portrait.embedded.services import Say, Services
from portrait.embedded.supervision import Group, Program, wait_ready
from portrait.embedded.watch import CrashWatch
from portrait.env import BASE_DIR, Environment

GROUP = "site"
# More are answered 503 at once. Each request may take a thread, a decoded picture in memory and a body of 128 MB on
# disk before it is known who sends it; connections that are only open count too.
WEB_CONNECTIONS = 64
WORKERS = {"worker": ("frames",), "worker-jobs": ("ingest", "scenes", "history", "events"), "worker-slow": ("reindex",)}
"""Which worker takes which queues: however long frames queue up, enrolments and sweeps do not wait behind them."""
THREADS = {"worker-slow": 2}
"""Few, where the work goes on for hours and must leave room for what people wait for."""


@dataclass(frozen=True, slots=True)
class Site:
    """A running site. `urls` are those of the back ends (keys of `portrait.env.ENDPOINT_KEYS`)."""

    address: str
    urls: dict[str, str]
    logs: Path
    watches: tuple[CrashWatch, ...]

    def check(self) -> None:
        """Tell of crashes since the last call.

        Raises:
            EmbeddedError: a process does not come back.
        """
        for watch in self.watches:
            watch()

    def serve(self) -> None:
        """Stay until a signal's exception ends it, telling of crashes at once."""
        while True:
            self.check()
            time.sleep(0.5)


@contextmanager
def running(*, environment: Environment, say: Say) -> Iterator[Site]:
    """A site that answers, and that is stopped at the end of the block, with the back ends it started itself.

    Raises:
        EmbeddedError: it runs already, or a part of it cannot run.
    """
    if not services.all_external(environment):
        machine.check_platform()
    services.check_models(environment)
    group = Group(name=GROUP, var=environment.var, sockets=environment.var / "run")
    held = lock.acquire(group.lock_file)
    if held is None:
        raise EmbeddedError(
            f"Portrait runs already on {environment.var}: stop that one first, or use another PORTRAIT_VAR."
        )
    try:
        leftovers.stop_leftovers(environment.var, GROUP, None, say)
        _make_source_folder(environment)
        addresses.check_port_free(environment.host, environment.port)
        say("Starting PostgreSQL, Redis and Triton ...")
        backends = services.use_or_start(environment=environment, say=say)
        try:
            yield from _running_on(environment, backends, group, held, say)
        finally:
            backends.stop()
    finally:
        os.close(held)


def _running_on(environment: Environment, backends: Services, group: Group, held: int, say: Say) -> Iterator[Site]:
    _migrate(say)
    group.sockets = addresses.choose_sockets(environment)
    try:
        say("Starting the web server, the worker, beat and the readers of cameras ...")
        group.launch(_programs(environment), lock_descriptor=held, attached=True, directory=BASE_DIR)
        watch = CrashWatch(group, say)
        address = _address(environment)
        wait_ready("The web server", lambda: _web_problem(address), watch=watch)
        watches = (watch, CrashWatch(backends.group, say)) if backends.group else (watch,)
        yield Site(address, backends.urls, environment.var / "log", watches)
    finally:
        if group.supervisor is not None:
            group.stop()


def _make_source_folder(environment: Environment) -> None:
    """The folder that cameras' files are put into unless PORTRAIT_SOURCE_DIRS names others; those are not ours."""
    folder = (environment.var / "sources").resolve()
    if folder in environment.source_dirs:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def _migrate(say: Say) -> None:
    """Bring the database's tables up to date, in a process that sees the new addresses."""
    say("Bringing the database up to date ...")
    command = [sys.executable, str(BASE_DIR / "manage.py"), "migrate", "--no-input", "--verbosity", "0"]
    result = subprocess.run(command, cwd=BASE_DIR, capture_output=True, text=True, check=False)  # noqa: S603
    if result.returncode:
        raise EmbeddedError(f"`manage.py migrate` failed:\n{(result.stdout + result.stderr).strip()}")


def _programs(environment: Environment) -> list[Program]:
    python = (sys.executable, "-m")
    alone = ("--without-gossip", "--without-mingle")
    celery = (*python, "celery", "-A", "portrait.celery")
    level = f"--loglevel={environment.log_level}"
    web = ("uvicorn", "portrait.asgi:application", "--host", environment.host, "--port", str(environment.port))
    limits = ("--limit-concurrency", str(WEB_CONNECTIONS), "--no-proxy-headers", "--timeout-graceful-shutdown", "10")
    return [
        Program("web", [*python, *web, "--no-access-log", *limits], stop_wait_s=20),
        *(
            Program(
                name,
                [
                    *(*celery, "worker", level, f"--hostname={name}@%h", f"--queues={','.join(queues)}", *alone),
                    *([f"--concurrency={THREADS[name]}"] if name in THREADS else []),
                ],
                start_s=4,
                stop_wait_s=60,
            )
            for name, queues in WORKERS.items()
        ),
        Program(
            "beat", [*celery, "beat", level, "--pidfile=", f"--schedule={environment.var / 'run' / 'beat'}"], start_s=4
        ),
        Program("cameras", [sys.executable, str(BASE_DIR / "manage.py"), "watch_cameras"], start_s=4),
    ]


def _address(environment: Environment) -> str:
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(environment.host, environment.host)  # noqa: S104  (compared only)
    return f"http://{host}:{environment.port}"


def _web_problem(address: str) -> str | None:
    """Why the web server does not serve yet, or None."""
    try:
        urllib.request.urlopen(f"{address}/healthz", timeout=5).close()  # noqa: S310  (our own address)
    except urllib.error.HTTPError as error:
        return f"/healthz answers {error.code}" if error.code >= 500 else None
    except OSError as error:
        return str(error)
    return None
