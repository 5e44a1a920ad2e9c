"""A storage that has written when it says so."""

import os
import uuid
from pathlib import Path
from typing import Any

from django.core.files.storage import FileSystemStorage
from django.utils.deconstruct import deconstructible


@deconstructible(path="portrait.core.storage.FsyncStorage")
class FsyncStorage(FileSystemStorage):
    """Files that survive a power cut once `save` has returned: the bytes and the name are flushed to the disk.

    A file has its name only when it is whole: a reader never meets half of one, nor does a crash leave it.
    """

    def _save(self, name: str, content: Any) -> str:
        path = Path(self.path(name))
        made = _make_folders(path.parent, self.directory_permissions_mode)
        part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
        try:
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, self.file_permissions_mode or 0o600)
            with os.fdopen(descriptor, "wb") as file:
                for chunk in content.chunks():
                    file.write(chunk)
                file.flush()
                os.fdatasync(file.fileno())
            os.link(part, path)  # unlike a rename it never replaces a file
        finally:
            part.unlink(missing_ok=True)
        for folder in made:
            _flush(folder)
        return str(Path(name).as_posix())


def _make_folders(folder: Path, mode: int | None) -> list[Path]:
    """Make a folder and those above it; answers every folder whose entries changed, the file's own among them."""
    changed = [folder]
    for missing in [folder, *folder.parents]:
        if missing.exists():
            break
        changed.append(missing.parent)
    for each in reversed(changed[:-1] if len(changed) > 1 else []):
        each.mkdir(mode=mode or 0o700, parents=True, exist_ok=True)
    return changed


def _flush(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
