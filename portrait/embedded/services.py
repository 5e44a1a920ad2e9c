"""Start, stop and look at the three embedded back ends: PostgreSQL, Redis and Triton."""

import contextlib
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from inference.config import DLIB_RESNET
from portrait.embedded import endpoints as addresses
from portrait.embedded import leftovers, lock, machine, postgres, redis, repository, triton
from portrait.embedded.endpoints import Endpoints
from portrait.embedded.errors import EmbeddedError
from portrait.embedded.supervision import UNREACHABLE, Group, Process, Program, wait_ready
from portrait.embedded.watch import CrashWatch
from portrait.env import BASE_DIR, ENDPOINT_KEYS, Environment

GROUP = "services"
PROGRAMS = {"database_url": "postgres", "redis_url": "redis", "triton_url": "triton"}
"""Which program provides which of `ENDPOINT_KEYS`."""
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Services:
    """Running back ends. `group` is None where all are external, `ours` whether this process has to stop them."""

    environment: Environment
    group: Group | None
    ours: bool
    urls: dict[str, str]

    def stop(self) -> None:
        """Stop what this process started."""
        if self.group is not None and self.ours:
            stop_group(self.environment, self.group)


def start(*, environment: Environment, attached: bool, say: Say) -> Services:
    """Start the back ends that no URL names, and wait until they answer. Stops them again where one does not.

    Raises:
        EmbeddedError: they run already, or cannot run.
    """
    if all_external(environment):
        raise EmbeddedError("DATABASE_URL, REDIS_URL and TRITON_URL are all set: no embedded server is needed.")
    machine.check_platform()
    held = lock.acquire(_group(environment, environment.var / "run").lock_file)
    if held is None:
        raise EmbeddedError(f"The servers on {environment.var} run already: `manage.py services status` shows them.")
    try:
        endpoints = _prepare(environment, say)
        programs = _programs(environment, endpoints)
        addresses.publish(environment, endpoints)
        group = _group(environment, endpoints.sockets)
        group.launch(programs, lock_descriptor=held, attached=attached, directory=BASE_DIR)
    finally:
        os.close(held)  # the supervisor has inherited it
    try:
        _wait_until_ready(environment, endpoints, {program.name for program in programs}, CrashWatch(group, say))
        _warn_of_failed_models(environment, endpoints, say)
    except BaseException:
        with contextlib.suppress(EmbeddedError):
            stop_group(environment, group)
        raise
    return Services(environment, group, True, _urls(environment, endpoints))


def use_or_start(*, environment: Environment, say: Say) -> Services:
    """The back ends for a command that needs them: external ones, running ones, or ones started for it (attached)."""
    check_external(environment)
    if all_external(environment):
        return Services(environment, None, False, _urls(environment, None))
    endpoints = addresses.last(environment)
    group = _group(environment, endpoints.sockets) if endpoints else None
    if endpoints is None or group is None or not group.is_running():
        return start(environment=environment, attached=True, say=say)
    say("The back ends run already: they are used, and left running at the end.")
    _wait_until_ready(environment, endpoints, _running(environment, group), CrashWatch(group, say))
    return Services(environment, group, False, _urls(environment, endpoints))


def stop(*, environment: Environment) -> bool:
    """Stop the back ends that `manage.py services start` left running; False where none ran.

    Raises:
        EmbeddedError: they belong to another command that still runs, or do not stop.
    """
    endpoints = addresses.last(environment)
    if endpoints is None:
        return False
    group = _group(environment, endpoints.sockets)
    if not group.is_running():
        return False
    if group.attached_mark.exists():
        raise EmbeddedError(
            "The back ends belong to the command that started them (`manage.py up`, say): stop that one."
        )
    stop_group(environment, group)
    return True


def status(*, environment: Environment) -> list[tuple[Process, str | None]]:
    """The processes of the back ends, each with why it does not answer (None if it does)."""
    endpoints = addresses.last(environment)
    if endpoints is None:
        return []
    try:
        processes = _group(environment, endpoints.sockets).processes()
    except UNREACHABLE:
        return []
    checks = _checks(environment, endpoints)
    return [(process, checks[process.name]()) for process in processes]


def stop_group(environment: Environment, group: Group) -> None:
    """Stop a group of back ends and remove what they leave outside their data."""
    addresses.withdraw(environment)
    group.stop()
    # A Triton that is stopped while it starts leaves its backends' processes.
    leftovers.stop_leftovers(environment.var, GROUP, None, lambda text: None, patience_s=2)
    triton.remove_shared_memory(environment.var)
    if group.sockets != environment.var / "run":
        shutil.rmtree(group.sockets, ignore_errors=True)


def all_external(environment: Environment) -> bool:
    return environment.external >= set(ENDPOINT_KEYS)


def check_external(environment: Environment) -> None:
    """Every server named by a URL answers, or `EmbeddedError` names the first that does not."""
    if "database_url" in environment.external:
        postgres.check_external(environment.database_url)
    if "redis_url" in environment.external:
        redis.check_external(environment.redis_url)
    if "triton_url" in environment.external:
        triton.check_external(environment.triton_urls)


def check_models(environment: Environment) -> None:
    """The models that recognition needs are built, or `EmbeddedError` says how to build them."""
    missing = set(_needed_models(environment)) - set(repository.built_models(environment.models_dir))
    if missing and "triton_url" not in environment.external:
        raise EmbeddedError(
            f"These models are not built: {', '.join(sorted(missing))}. Run `python manage.py models build` (or "
            "`models install NAME` for those that are not part of it)."
        )


def _needed_models(environment: Environment) -> tuple[str, ...]:
    return environment.detector, DLIB_RESNET.name


def _group(environment: Environment, sockets: Path) -> Group:
    return Group(name=GROUP, var=environment.var, sockets=sockets)


def _prepare(environment: Environment, say: Say) -> Endpoints:
    """Clear what an earlier run left; choose the addresses."""
    leftovers.stop_leftovers(environment.var, GROUP, postgres.data_dir(environment.var), say)
    triton.remove_shared_memory(environment.var)
    return addresses.choose(environment)


def _programs(environment: Environment, endpoints: Endpoints) -> list[Program]:
    programs = []
    if "database_url" not in environment.external:
        programs.append(postgres.program(environment.var, endpoints))
    if "redis_url" not in environment.external:
        programs.append(redis.program(environment.var, endpoints))
    if "triton_url" not in environment.external:
        programs.append(triton.program(environment, endpoints))
    return programs


def _running(environment: Environment, group: Group) -> set[str]:
    """The names of the running group's programs, if they are all that is needed."""
    try:
        running = {process.name for process in group.processes()}
    except UNREACHABLE as error:
        raise EmbeddedError("Another command is starting or stopping the back ends: try again in a moment.") from error
    needed = {name for key, name in PROGRAMS.items() if key not in environment.external}
    if needed - running:
        raise EmbeddedError(
            f"The back ends run without {', '.join(sorted(needed - running))} (they were started with other URLs set): "
            "run `manage.py services stop` first."
        )
    return needed


def _wait_until_ready(environment: Environment, endpoints: Endpoints, names: set[str], watch: CrashWatch) -> None:
    for name, problem in _checks(environment, endpoints).items():
        if name in names:
            wait_ready(name, problem, watch=watch)
    if "postgres" in names:
        postgres.prepare(endpoints.database_url)


def _checks(environment: Environment, endpoints: Endpoints) -> dict[str, Callable[[], str | None]]:
    """By program: why it does not do its work yet, or None."""
    built = set(repository.built_models(environment.models_dir))
    wanted = [model for model in _needed_models(environment) if model in built]
    return {
        "postgres": lambda: postgres.problem(endpoints.database_url),
        "redis": lambda: redis.problem(endpoints.redis_url),
        "triton": lambda: triton.problem(endpoints, wanted),
    }


def _warn_of_failed_models(environment: Environment, endpoints: Endpoints, say: Say) -> None:
    if "triton_url" not in environment.external:
        for model, reason in triton.failed_models(endpoints).items():
            say(f"Warning: Triton could not load the model {model}, which is not needed now: {reason}")


def _urls(environment: Environment, endpoints: Endpoints | None) -> dict[str, str]:
    given = {
        "database_url": environment.database_url,
        "redis_url": environment.redis_url,
        "triton_url": ",".join(environment.triton_urls),
    }
    embedded = endpoints.urls() if endpoints else {}
    return {key: given[key] if key in environment.external else embedded[key] for key in ENDPOINT_KEYS}
