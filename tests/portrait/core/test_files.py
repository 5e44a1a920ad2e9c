"""Files beside a transaction."""

from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.db import transaction
from django.utils import timezone

from portrait.core.files import atomic_with_files, delete_on_commit, retry_deletions, stored, write_file
from portrait.core.models import PendingDeletion
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


def kept() -> JobItem:
    row = item()
    with atomic_with_files():
        write(row)
        row.save()
    return row


def due_now() -> None:
    PendingDeletion.objects.update(next_at=timezone.now())


def test_a_file_that_is_gone_is_noted_no_more() -> None:
    row = kept()
    with transaction.atomic():
        delete_on_commit(stored(row.upload))
        assert PendingDeletion.objects.get().path == row.upload.name
    assert not default_storage.exists(str(row.upload.name))
    assert not PendingDeletion.objects.exists()


def test_what_is_rolled_back_is_neither_deleted_nor_noted() -> None:
    row = kept()
    with pytest.raises(RuntimeError), transaction.atomic():
        delete_on_commit(stored(row.upload))
        raise RuntimeError
    assert default_storage.exists(str(row.upload.name))
    assert not PendingDeletion.objects.exists()


def test_a_process_that_dies_after_the_commit_leaves_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hook never runs: the power went. The next try, by whomever, deletes the file."""
    row = kept()
    name = str(row.upload.name)
    with monkeypatch.context() as patched:
        patched.setattr(transaction, "on_commit", lambda *args, **kwargs: None)
        with transaction.atomic():
            JobItem.objects.filter(pk=row.pk).update(upload="")
            delete_on_commit(stored(row.upload))
    assert default_storage.exists(name)
    assert retry_deletions() == (0, 1)  # its time has not come: whoever deletes at the commit may be at it
    due_now()
    assert retry_deletions() == (1, 0)
    assert not default_storage.exists(name)


def test_a_file_that_a_row_names_again_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    row = kept()
    PendingDeletion.objects.create(storage="default", path=str(row.upload.name))
    assert retry_deletions() == (1, 0)
    assert default_storage.exists(str(row.upload.name))


def test_a_rolled_back_file_that_cannot_be_deleted_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(self: Any, name: str) -> None:
        raise OSError("the disk is away")

    row = item()
    with monkeypatch.context() as patched, pytest.raises(RuntimeError), atomic_with_files():
        patched.setattr(type(default_storage._wrapped), "delete", fails)  # type: ignore[attr-defined]
        name = write(row)
        raise RuntimeError
    assert default_storage.exists(name)
    due_now()
    assert retry_deletions() == (1, 0)
    assert not default_storage.exists(name)
