"""`manage.py` where no database runs: one sentence, at once; what needs no database works."""

import pytest

from tests.live.conftest import Installation

NEED_IT = [
    ("migrate", "--no-input"),
    ("apikey", "list"),
    ("shell", "-c", "from portrait.core.models import ApiKey; ApiKey.objects.count()"),
]


@pytest.mark.parametrize("command", NEED_IT)
def test_one_sentence_says_what_to_do(installation: Installation, command: tuple[str, ...]) -> None:
    refused = installation.manage(*command)
    assert refused.returncode == 1
    assert refused.stderr == (
        "No database runs: start it with `make up` or `python manage.py services start`, or set DATABASE_URL.\n"
    )


def test_a_database_of_their_own_that_is_away_is_named(installation: Installation) -> None:
    refused = installation.manage("migrate", DATABASE_URL="postgresql://portrait:secret@127.0.0.1:1/portrait")
    assert refused.returncode == 1
    assert refused.stderr.count("The database of DATABASE_URL does not answer: ") == 1
    assert "Traceback" not in refused.stderr
    assert "secret" not in refused.stderr


@pytest.mark.parametrize(
    "command", [("makemigrations", "--check", "--dry-run"), ("spectacular",), ("check",), ("models", "list")]
)
def test_what_needs_no_database_works(installation: Installation, command: tuple[str, ...]) -> None:
    done = installation.manage(*command)
    assert done.returncode == 0, done.stderr
    assert "No database runs" not in done.stderr


def test_other_errors_of_a_running_database_stay_what_they_are(installation: Installation) -> None:
    """Only silence is explained."""
    assert installation.manage("services", "start").returncode == 0
    code = "from django.db import OperationalError; raise OperationalError('the disk is full')"
    broken = installation.manage("shell", "-c", code)
    assert broken.returncode == 1
    assert "the disk is full" in broken.stderr
    assert "No database runs" not in broken.stderr
    assert installation.manage("services", "stop").returncode == 0
