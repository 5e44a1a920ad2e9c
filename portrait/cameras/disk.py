"""Room for frames: capture stops before the disk is full, while the database can still write."""

import shutil
from pathlib import Path
from typing import ClassVar

from django.conf import settings
from django.core.files.storage import FileSystemStorage

from portrait.cameras.models import frame_storage
from portrait.core.errors import PortraitError


class StorageFullError(PortraitError):
    """There is no room for more frames."""

    code: ClassVar[str] = "storage_full"
    status: ClassVar[int] = 507


class StorageUnavailableError(PortraitError):
    """The store for frames does not take them."""

    code: ClassVar[str] = "storage_unavailable"
    status: ClassVar[int] = 503


def free_bytes() -> int | None:
    """Free bytes where frames are kept; None for a store without a disk of ours."""
    storage = frame_storage()
    if not isinstance(storage, FileSystemStorage):
        return None
    folder = Path(storage.location)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return shutil.disk_usage(folder).free


def require_room(size_bytes: int = 0) -> None:
    """Raise `StorageFullError` where less than PORTRAIT_MIN_FREE_MB would be left."""
    free, least = free_bytes(), settings.PORTRAIT.frames_min_free_mb * 2**20
    if free is not None and free - size_bytes < least:
        raise StorageFullError(
            f"The disk for frames has {free / 2**20:.0f} MB left, and {least / 2**20:.0f} MB are kept free "
            "(PORTRAIT_MIN_FREE_MB): make room, or shorten the cameras' keep_frames_h. Nothing was stored."
        )
