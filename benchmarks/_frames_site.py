"""A real site for the benchmarks of frames: its processes, its cameras, and what its ledger says."""

import os
import signal
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from portrait.embedded import endpoints as addresses
from portrait.embedded import services, site
from portrait.embedded.site import Site
from portrait.embedded.supervision import Group
from portrait.env import Environment, read_environment

CACHE = "PORTRAIT_BENCH_VAR"
"""Names a folder that keeps the galleries between runs: the largest takes many minutes to build."""


@dataclass(frozen=True, slots=True)
class Bench:
    """The running site, for the parts."""

    environment: Environment
    site: Site

    def pids(self) -> dict[str, int]:
        """The site's programs: web, worker, beat, postgres, redis, triton."""
        sockets = addresses.choose_sockets(self.environment)
        groups = [Group(name, self.environment.var, sockets) for name in (services.GROUP, site.GROUP)]
        return {process.name: process.pid for group in groups for process in group.processes()}

    def check(self) -> None:
        self.site.check()

    @contextmanager
    def worker_halted(self) -> Iterator[None]:
        """The worker does nothing, and takes nothing from the machine; it has to be idle."""
        pid = self.pids()["worker"]
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def running() -> Iterator[Bench]:
    """A site of this run's own, and Django set up on it."""
    with tempfile.TemporaryDirectory(prefix="portrait-bench-") as temporary:
        var = os.environ.get(CACHE) or temporary
        Path(var).mkdir(parents=True, exist_ok=True)
        os.environ |= {
            "PORTRAIT_VAR": var,
            "PORTRAIT_PORT": str(_free_port()),
            "PORTRAIT_THROTTLE_FRAMES": "10000000/min",
            "PORTRAIT_THROTTLE_READ": "10000000/min",
        }
        environment = read_environment()
        with site.running(environment=environment, say=lambda text: None) as started:
            _setup()
            yield Bench(environment, started)


def _setup() -> None:
    """Only now: settings read the addresses that the site has left."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "portrait.settings"
    import django

    django.setup()
    import portrait.celery  # noqa: F401  (messages go to this site's broker)
