"""What is done to a running site. Only processes are killed whose ids supervisor tells."""

import contextlib
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.core.management.base import CommandError
from redis import Redis, RedisError

from portrait.embedded import endpoints
from portrait.embedded.services import GROUP as SERVICES
from portrait.embedded.site import GROUP as SITE
from portrait.embedded.supervision import UNREACHABLE, Group, tail

MARK = "drill:before"
"""A key in Redis: if it is gone afterwards, Redis lost everything."""
READERS = "cameras"
SLOW_WORKER = "worker-slow"
_PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that goes wrong. `do` answers what was done, in words."""

    name: str
    do: Callable[[], str]


class Victims:
    """The processes of one site, by the names that supervisor knows them by."""

    def __init__(self) -> None:
        found = endpoints.last(settings.PORTRAIT)
        if found is None:
            raise CommandError("No embedded servers run here.")
        self._endpoints = found
        var = settings.PORTRAIT.var
        self._groups = {name: Group(name=name, var=var, sockets=found.sockets) for name in (SERVICES, SITE)}
        self._data = var / "redis"

    def stop_reading(self) -> None:
        """The site reads files as fast as it can: the drill reads its own as fast as it was filmed."""
        site = self._groups[SITE]
        if any(each.name == READERS for each in site.processes()):
            site.stop_program(READERS)

    def worker_killed(self) -> str:
        return f"kill -9 {self._kill(SITE, 'worker')}"

    def slow_worker_killed(self) -> str:
        """The one that re-indexes."""
        self._running(SITE, SLOW_WORKER)
        return f"kill -9 {self._kill(SITE, SLOW_WORKER)}"

    def slow_worker_runs(self) -> None:
        """Wait for it."""
        self._running(SITE, SLOW_WORKER)

    def triton_killed(self) -> str:
        return f"kill -9 {self._kill(SERVICES, 'triton')}"

    def redis_emptied(self) -> str:
        """Its files are removed and it is killed before it notices: supervisor starts it with nothing."""
        url = self._endpoints.redis_url
        with Redis.from_url(url, socket_timeout=5) as client:
            client.set(MARK, 1)
            keys = int(client.dbsize())
        for path in [*self._data.glob("*.aof*"), *self._data.glob("*.rdb")]:
            path.unlink(missing_ok=True)
        killed = self._kill(SERVICES, "redis")
        if not _redis_is_empty(url):
            raise CommandError("Redis came back with what it had: the drill is not what it says.")
        return f"kill -9 {killed}, {keys} keys and its files gone"

    def postgres_restarted(self) -> str:
        """An orderly one, which ends all connections and open transactions."""
        group, before = self._groups[SERVICES], self._pid(SERVICES, "postgres")
        group.stop_program("postgres")
        group.start_program("postgres")
        return f"restarted, {before} -> {self._pid(SERVICES, 'postgres')}"

    def postgres_killed(self) -> str:
        """The postmaster alone; its children see that it is gone and end."""
        return f"kill -9 {self._kill(SERVICES, 'postgres')}"

    def problems(self) -> list[str]:
        """What does not run, with the end of its log."""
        found = []
        for group in self._groups.values():
            with contextlib.suppress(*UNREACHABLE):
                found += [
                    f"{each.name} is {each.state}:\n{tail(Path(each.log))}"
                    for each in group.processes()
                    if each.state != "RUNNING"
                ]
        return found

    def _kill(self, group: str, program: str) -> int:
        pid = self._pid(group, program)
        os.kill(pid, signal.SIGKILL)
        return pid

    def _running(self, group: str, program: str) -> None:
        """Wait until supervisor counts it as running: whoever dies earlier again and again is not started any more."""
        ends_at = time.monotonic() + _PATIENCE_S
        while time.monotonic() < ends_at:
            with contextlib.suppress(*UNREACHABLE):
                if any(each.name == program and each.state == "RUNNING" for each in self._groups[group].processes()):
                    return
            time.sleep(0.2)
        raise CommandError(f"{program} does not run.")

    def _pid(self, group: str, program: str) -> int:
        """Waits until it runs."""
        ends_at = time.monotonic() + _PATIENCE_S
        while time.monotonic() < ends_at:
            with contextlib.suppress(*UNREACHABLE):
                for each in self._groups[group].processes():
                    if each.name == program and each.pid and each.state in ("RUNNING", "STARTING"):
                        return each.pid
            time.sleep(0.2)
        raise CommandError(f"{program} does not run.")


def _redis_is_empty(url: str) -> bool:
    ends_at = time.monotonic() + _PATIENCE_S
    while time.monotonic() < ends_at:
        with contextlib.suppress(RedisError, OSError), Redis.from_url(url, socket_timeout=5) as client:
            return not client.exists(MARK)
        time.sleep(0.1)
    raise CommandError("Redis does not come back.")


def planned(victims: Victims, *, short: bool) -> list[Fault]:
    """One fault of each kind, or all of them, in the order in which they are done."""
    worker = Fault("worker killed", victims.worker_killed)
    triton = Fault("Triton killed", victims.triton_killed)
    redis = Fault("Redis killed and emptied", victims.redis_emptied)
    restart = Fault("Postgres restarted", victims.postgres_restarted)
    if short:
        return [worker, redis, restart, triton]
    kill = Fault("Postgres killed", victims.postgres_killed)
    return [worker, triton, worker, redis, restart, worker, kill]
