"""Files beside a transaction: what is written goes again if it fails, what is deleted goes once it is committed."""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from django.core.files.base import ContentFile
from django.core.files.storage import Storage
from django.db import transaction
from django.db.models.fields.files import FieldFile

logger = logging.getLogger(__name__)

StoredFile = tuple[Storage, str]

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


def write_file(field: FieldFile, name: str, data: bytes) -> None:
    """Write a row's file; the row itself is saved by the caller, inside the same `atomic_with_files`."""
    field.save(name, ContentFile(data), save=False)
    written = _written.get()
    if written is not None:
        written.append((field.storage, str(field.name)))


def stored(*fields: FieldFile) -> list[StoredFile]:
    """The files of these fields, to be handed to `delete_on_commit` after the fields were emptied."""
    return [(field.storage, str(field.name)) for field in fields if field]


def delete_on_commit(files: Iterable[StoredFile]) -> None:
    """Delete files once the transaction is committed (at once without one); a failure is logged, the rest goes on."""
    files = list(files)
    transaction.on_commit(lambda: _delete(files), robust=True)


def _delete(files: Iterable[StoredFile]) -> None:
    for storage, name in files:
        try:
            storage.delete(name)
        except OSError:
            logger.exception("the file %s could not be deleted", name)
