"""Files beside a transaction."""

from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.db import transaction

from portrait.core.files import atomic_with_files, write_file
from portrait.jobs.models import Job, JobItem

pytestmark = pytest.mark.django_db(transaction=True)


def item() -> JobItem:
    return JobItem(job=Job.objects.create(kind="x", queue="ingest"), index=0)


def write(row: JobItem) -> str:
    write_file(row.upload, "x", b"data")
    return str(row.upload.name)


def test_a_failure_deletes_what_was_written() -> None:
    row = item()
    with pytest.raises(RuntimeError), atomic_with_files():
        name = write(row)
        raise RuntimeError
    assert not default_storage.exists(name)


def test_a_failing_savepoint_deletes_its_own_only() -> None:
    row, other = item(), item()
    with atomic_with_files():
        kept = write(row)
        with pytest.raises(RuntimeError), atomic_with_files():
            gone = write(other)
            raise RuntimeError
    assert default_storage.exists(kept)
    assert not default_storage.exists(gone)


def test_a_failure_outside_deletes_what_a_savepoint_wrote() -> None:
    row = item()
    with pytest.raises(RuntimeError), atomic_with_files():
        with atomic_with_files():
            name = write(row)
        raise RuntimeError
    assert not default_storage.exists(name)


def test_a_hook_that_fails_after_the_commit_costs_no_file() -> None:
    row = item()

    def fails() -> Any:
        raise RuntimeError

    with pytest.raises(RuntimeError), atomic_with_files():
        name = write(row)
        row.save()
        transaction.on_commit(fails)
    assert default_storage.exists(name)
    assert JobItem.objects.filter(pk=row.pk).exists()
