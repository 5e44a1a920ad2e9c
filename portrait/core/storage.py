"""A storage that has written when it says so."""

import errno
import os
import uuid
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any

from django.core.files.storage import FileSystemStorage
from django.utils.deconstruct import deconstructible

FLUSHED_REMEMBERED = 4096
_NO_HARD_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS)
_Place = tuple[str, int, int]


@deconstructible(path="portrait.core.storage.FsyncStorage")
class FsyncStorage(FileSystemStorage):
    """Files that survive a power cut once `save` has returned: the bytes and the name are flushed to the disk, and
    the names of the folders above it.

    A file has its name only when it is whole: a reader never meets half of one, nor does a crash leave it. What a
    crash may leave is a `.<id>.part` beside it, which no name leads to. A file is never replaced.
    """

    def _save(self, name: str, content: Any) -> str:
        while True:
            path = Path(self.path(name))  # refuses a name that leads out of the storage
            try:
                self._write(path, content)
                return Path(name).as_posix()
            except FileExistsError:  # another one took the name meanwhile
                name = self.get_available_name(name)

    def _write(self, path: Path, content: Any) -> None:
        part = path.with_name(f".{uuid.uuid4().hex}.part")
        descriptor = self._open_part(part)
        try:
            with os.fdopen(descriptor, "wb") as file:
                for chunk in content.chunks():
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
            _name(part, path)
        finally:
            part.unlink(missing_ok=True)
        self._flush_names(path.parent)

    def _open_part(self, part: Path) -> int:
        """Makes the folder as well, again where somebody removes it as empty at this moment."""
        while True:
            _make_folder(part.parent, self.directory_permissions_mode or 0o700)
            try:
                return os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, self.file_permissions_mode or 0o600)
            except FileNotFoundError:
                continue

    def _flush_names(self, folder: Path) -> None:
        """Flush the file's name, and the folders' down from the storage's own: whoever made them, here or in another
        process, may be before its own flush yet. Once a folder is enough."""
        _flush(folder)
        if _flushed.knows(folder):
            return
        top = Path(self.location)
        for above in folder.parents:
            if not above.is_relative_to(top.parent):
                break
            with suppress(PermissionError):  # above the storage's own folder
                _flush(above)
        _flushed.add(folder)


def _name(part: Path, path: Path) -> None:
    """Give the whole file its name. Unlike a rename, a link never replaces a file.

    Raises:
        FileExistsError: the name is taken.
    """
    try:
        os.link(part, path)
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        # exFAT, some network disks: take the name, then put the file there.
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        os.replace(part, path)


def _make_folder(folder: Path, mode: int) -> None:
    try:
        for missing in reversed([each for each in (folder, *folder.parents) if not each.exists()]):
            missing.mkdir(mode=mode, parents=True, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(errno.ENOTDIR, "a file is in the way", str(folder)) from error


def _flush(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class _Flushed:
    """Folders whose name this process saw flushed; one that was removed and made again is another."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._known: OrderedDict[_Place, None] = OrderedDict()

    @staticmethod
    def _place(folder: Path) -> _Place:
        found = folder.stat()
        return str(folder), found.st_dev, found.st_ino

    def knows(self, folder: Path) -> bool:
        with self._lock:
            return self._place(folder) in self._known

    def add(self, folder: Path) -> None:
        with self._lock:
            self._known[self._place(folder)] = None
            while len(self._known) > FLUSHED_REMEMBERED:
                self._known.popitem(last=False)


_flushed = _Flushed()
