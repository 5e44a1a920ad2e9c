"""Whether a zip fits on the disk: frames and everybody else need room there too."""

import shutil
from typing import ClassVar

from django.conf import settings

from portrait.core.errors import PortraitError


class NoRoomError(PortraitError):
    """The disk of the media is as full as it may be."""

    code: ClassVar[str] = "storage_full"
    status: ClassVar[int] = 507


def free_bytes() -> int:
    """How much may still be written beside the media, `PORTRAIT_MIN_FREE_MB` apart."""
    least = settings.PORTRAIT.frames_min_free_mb * 2**20
    return int(shutil.disk_usage(settings.FILE_UPLOAD_TEMP_DIR).free) - least


def require_room(size: int) -> None:
    """
    Raises:
        NoRoomError: a file of `size` bytes does not fit.
    """
    if size > free_bytes():
        raise NoRoomError(f"The disk has no room for a zip of {size / 2**20:.0f} MB. Make room, and send it again.")
