"""Files beside a transaction."""

from typing import Any
from uuid import uuid4

import pytest
from django.core.files.storage import default_storage
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from portrait.core.files import atomic_with_files, delete_on_commit, retry_deletions, stored, write_file, written_first
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


def test_who_comes_second_leaves_to_the_first_what_that_one_is_at(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [str(kept().upload.name) for _ in range(3)]
    JobItem.objects.all().delete()
    PendingDeletion.objects.bulk_create([PendingDeletion(storage="default", path=name) for name in names])
    second: list[tuple[int, int]] = []
    delete = type(default_storage._wrapped).delete  # type: ignore[attr-defined]

    def slow(self: Any, name: str) -> None:
        if not second:
            second.append((0, 0))
            second[0] = retry_deletions()
        delete(self, name)

    monkeypatch.setattr(type(default_storage._wrapped), "delete", slow)  # type: ignore[attr-defined]
    assert retry_deletions() == (3, 0)
    assert second == [(0, 3)]


def test_only_these_paths() -> None:
    mine, other = (str(kept().upload.name) for _ in range(2))
    JobItem.objects.all().delete()
    PendingDeletion.objects.bulk_create([PendingDeletion(storage="default", path=name) for name in (mine, other)])
    assert retry_deletions(only=[mine]) == (1, 1)
    assert (default_storage.exists(mine), default_storage.exists(other)) == (False, True)


def test_only_columns_that_can_name_a_file_are_asked() -> None:
    """The columns have no index, and there may be a million rows."""
    PendingDeletion.objects.create(storage="default", path=f"uploads/2026/01/01/{uuid4()}-0")
    with CaptureQueriesContext(connection) as asked:
        assert retry_deletions() == (1, 0)
    told = [each["sql"] for each in asked.captured_queries if "upload" in each["sql"] and "SELECT 1" in each["sql"]]
    tables = {word for sql in told for word in ("gallery_portrait", "cameras_frame", "jobs_jobitem") if word in sql}
    assert "cameras_frame" not in tables, "another storage's"
    assert "jobs_jobitem" in tables
    for sql in told:
        assert "gallery_portrait" not in sql or '"gallery_portrait"."id" =' in sql, "by its key, not by a scan"


def test_what_is_written_first_goes_again_where_the_rest_fails() -> None:
    row = item()
    with pytest.raises(RuntimeError), written_first(row.upload, "x", b"data"):
        name = str(row.upload.name)
        assert default_storage.exists(name)
        raise RuntimeError
    assert not default_storage.exists(name)
