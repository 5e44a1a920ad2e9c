"""A PostgreSQL of the benchmark's own, with Django set up on it; its data may stay for the next run."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from portrait.embedded import services
from portrait.env import read_environment

CACHE = "PORTRAIT_BENCH_VAR"
"""Names a folder that keeps the galleries between runs: the largest takes many minutes to build."""


@contextmanager
def running() -> Iterator[Path]:
    """PostgreSQL alone, as `make up` starts it; Django on it, migrated. Answers the folder of this run's data."""
    with tempfile.TemporaryDirectory(prefix="portrait-bench-") as temporary:
        var = Path(os.environ.get(CACHE) or temporary) / "search"
        var.mkdir(parents=True, exist_ok=True)
        var.parent.chmod(0o755)  # PostgreSQL's user has to get through
        os.environ["PORTRAIT_VAR"] = str(var)
        alone = replace(read_environment(), external=frozenset({"redis_url", "triton_url"}))
        started = services.start(environment=alone, attached=True, say=lambda text: None)
        try:
            _setup()
            yield var
        finally:
            _close()
            started.stop()


def _setup() -> None:
    """Only now: settings read the address that the server has left."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "portrait.settings"
    import django

    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)


def _close() -> None:
    from django.db import connections

    for connection in connections.all():
        connection.close()
        connection.close_pool()
