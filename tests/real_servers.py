"""pytest plugin (`-p tests.real_servers` in pyproject.toml): the suite runs against real servers that it starts itself.

Settings are read when pytest-django loads, before any conftest, so that PostgreSQL, Redis and Triton must be up
by then. They live in a temporary PORTRAIT_VAR and are attached to pytest: they stop when it ends, however it ends.
Set PORTRAIT_TEST_NO_SERVERS=1 to go without; tests that need them then fail or are skipped.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path

import psycopg
import pytest

from portrait.embedded import services
from portrait.embedded.errors import EmbeddedError
from portrait.env import read_environment

_NEED_NO_TESTS = {"--help", "-h", "--version", "-V", "--collect-only", "--co", "--fixtures", "--markers"}


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(early_config: pytest.Config, args: list[str]) -> Generator[None, object, object]:
    if "PYTEST_XDIST_WORKER" not in os.environ:  # a worker uses what its controller started
        var = Path(tempfile.mkdtemp(prefix="portrait-test-"))
        early_config.add_cleanup(lambda: shutil.rmtree(var, ignore_errors=True))
        os.environ["PORTRAIT_VAR"] = str(var)
        if _servers_needed(args):
            _start(early_config)
    return (yield)


def _servers_needed(args: list[str]) -> bool:
    """Whether tests will run that may need a server: the library's do not."""
    paths = [argument for argument in args if argument.startswith("tests/")]
    only_library = bool(paths) and all(path.startswith("tests/inference") for path in paths)
    return not (os.environ.get("PORTRAIT_TEST_NO_SERVERS") or _NEED_NO_TESTS & set(args) or only_library)


def _start(config: pytest.Config) -> None:
    try:
        running = services.use_or_start(environment=read_environment(), say=_say)
    except EmbeddedError as error:
        raise pytest.UsageError(f"The servers for the tests do not start. {error}") from error
    config.add_cleanup(running.stop)
    if "database_url" not in read_environment().external:
        _spare_the_disk(read_environment().database_url)


def _spare_the_disk(url: str) -> None:
    """No waiting for the disk: tests empty all tables hundreds of times, and this database ends with the suite.

    It loses nothing when the server is killed, only when the machine is. Tests that kill servers start their own.
    """
    with psycopg.connect(url, autocommit=True) as connection:
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            connection.execute(f"ALTER SYSTEM SET {setting} = off")
        connection.execute("SELECT pg_reload_conf()")


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
