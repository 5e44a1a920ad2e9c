"""Files beside a transaction: what is written goes again if it fails, what is deleted goes once it is committed."""

import logging
import posixpath
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from uuid import UUID

from django.apps import apps
from django.core.files.base import ContentFile, File
from django.core.files.storage import Storage, storages
from django.db import DatabaseError, models, transaction
from django.db.models.fields.files import FieldFile
from django.utils import timezone

from portrait.core.models import PendingDeletion

logger = logging.getLogger(__name__)

StoredFile = tuple[Storage, str]

RETRY_AFTER = timedelta(minutes=1)
"""Who deletes at the commit has this time, before somebody else tries it too."""
LONGEST_PAUSE = timedelta(hours=1)
RETRY_BATCH = 500

_written: ContextVar[list[StoredFile] | None] = ContextVar("written", default=None)


@contextmanager
def atomic_with_files() -> Iterator[None]:
    """`transaction.atomic()`, and the files that `write_file` wrote inside are deleted if it fails, at its commit
    too. Inside another one it is a savepoint and deletes what was written since."""
    outer, mine, committed = _written.get(), list[StoredFile](), list[bool]()
    token = _written.set(mine)
    try:
        with transaction.atomic():
            transaction.on_commit(lambda: committed.append(True))  # the first hook: a later one may fail
            yield
    except BaseException:
        if not committed:
            _delete(mine)
        raise
    else:
        if outer is not None:
            outer += mine
    finally:
        _written.reset(token)


def write_file(field: FieldFile, name: str, data: "bytes | File[bytes]") -> None:
    """Write a row's file; the row itself is saved by the caller, inside the same `atomic_with_files`."""
    field.save(name, ContentFile(data) if isinstance(data, bytes) else data, save=False)
    written = _written.get()
    if written is not None:
        written.append((field.storage, str(field.name)))


@contextmanager
def written_first(field: FieldFile, name: str, data: "bytes | File[bytes]") -> Iterator[None]:
    """`write_file` before the transaction of its row, for what takes long to write; deleted again if that fails.

    What is done inside must not fail once it is committed: its hooks are robust ones. A process that dies in between
    leaves a file that no row names, for `upkeep integrity` to find.
    """
    write_file(field, name, data)
    try:
        yield
    except BaseException:
        _delete(stored(field))
        raise


def stored(*fields: FieldFile) -> list[StoredFile]:
    """The files of these fields, to be handed to `delete_on_commit` after the fields were emptied."""
    return [(field.storage, str(field.name)) for field in fields if field]


def delete_on_commit(files: Iterable[StoredFile]) -> None:
    """Delete files once the transaction is committed (at once without one).

    What is to go is noted by the transaction itself: a file whose deletion fails, or whose process dies first, is
    deleted by `retry_deletions`.
    """
    files = list(files)
    noted = _note(files) if files else {}
    transaction.on_commit(lambda: _delete(files, noted), robust=True)


def _note(files: Sequence[StoredFile], error: str = "") -> dict[StoredFile, int]:
    rows = [
        PendingDeletion(storage=alias, path=name, next_at=timezone.now() + RETRY_AFTER, error=error)
        for storage, name in files
        if (alias := alias_of(storage)) is not None
    ]
    made = PendingDeletion.objects.bulk_create(rows)
    return {(storages[row.storage], row.path): row.pk for row in made}


def _unwrapped(storage: Storage) -> Storage:
    """`default_storage` is a stand-in for the storage itself."""
    return getattr(storage, "_wrapped", storage)


def alias_of(storage: Storage) -> str | None:
    """The name of a storage in the settings; None: it is not from there, so that nobody could find the file again."""
    wanted = _unwrapped(storage)
    return next((alias for alias in storages.backends if alias != "staticfiles" and storages[alias] is wanted), None)


def _delete(files: Iterable[StoredFile], noted: dict[StoredFile, int] | None = None) -> None:
    """noted: rows of the files that are noted already; None: none is."""
    gone, failed = [], []
    for storage, name in files:
        row = (noted or {}).get((_unwrapped(storage), name))
        try:
            storage.delete(name)
        except Exception:  # each store has errors of its own
            logger.exception("the file %s could not be deleted; it is tried again", name)
            if noted is None:
                failed.append((storage, name))
        else:
            gone.append(row)
    _forget([row for row in gone if row is not None], failed)


def _forget(gone: Sequence[int], failed: Sequence[StoredFile]) -> None:
    """A file that is gone and still noted is tried once more, and then forgotten: that is no harm."""
    try:
        if gone:
            PendingDeletion.objects.filter(pk__in=gone).delete()
        if failed:
            _note(failed, "it could not be deleted when its transaction failed")
    except DatabaseError:
        logger.exception("what was deleted could not be noted: %s", failed)


def retry_deletions(*, only: Collection[str] | None = None) -> tuple[int, int]:
    """Delete files whose turn it is; answers how many are gone, and how many are still there. Safe twice at once: who
    comes second leaves to the first, for a minute, what that one is at. only: paths; None: all.

    A path that a row names again by now belongs to that row: it is left alone.
    """
    gone = 0
    for row in _take(only):
        try:
            if not _in_use(row):
                storages[row.storage].delete(row.path)
        except Exception as error:  # each store has errors of its own
            logger.warning("the file %s could not be deleted, try %d: %s", row.path, row.tries + 1, error)
            pause = min(RETRY_AFTER * 2 ** min(row.tries, 10), LONGEST_PAUSE)
            PendingDeletion.objects.filter(pk=row.pk).update(
                tries=row.tries + 1, next_at=timezone.now() + pause, error=f"{type(error).__name__}: {error}"[:1000]
            )
        else:
            gone += PendingDeletion.objects.filter(pk=row.pk).delete()[0]
    return gone, PendingDeletion.objects.count()


def _take(only: Collection[str] | None) -> list[PendingDeletion]:
    with transaction.atomic():
        due = PendingDeletion.objects.filter(next_at__lte=timezone.now()).order_by("next_at")
        due = due if only is None else due.filter(path__in=list(only))
        rows = list(due.select_for_update(skip_locked=True)[:RETRY_BATCH])
        PendingDeletion.objects.filter(pk__in=[row.pk for row in rows]).update(next_at=timezone.now() + RETRY_AFTER)
    return rows


def _in_use(row: PendingDeletion) -> bool:
    """Whether a row names the file again. Only columns of its storage and folder are asked, and where files are called
    after their row's id only that row: the columns have no index, and there may be a million rows."""
    return any(
        _owners(model, row.path).filter(**{field.name: row.path}).exists()
        for model in apps.get_models()
        for field in model._meta.get_fields()
        if isinstance(field, models.FileField) and _fits(field, row)
    )


def _fits(field: models.FileField, row: PendingDeletion) -> bool:
    folder = "" if callable(field.upload_to) else str(field.upload_to).partition("%")[0]
    return alias_of(field.storage) in (row.storage, None) and row.path.startswith(folder)


def _owners(model: type[models.Model], path: str) -> "models.QuerySet[models.Model]":
    rows = model._default_manager.all()
    try:
        key = UUID(posixpath.basename(path)[:36])
    except ValueError:
        return rows
    return rows.filter(pk=key) if isinstance(model._meta.pk, models.UUIDField) else rows
