"""Where large things lie for a moment: bodies while they come in, and what is being made of people's data."""

import logging
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import IO, Any, cast

from django.conf import settings
from django.core.exceptions import RequestAborted
from django.core.handlers.asgi import ASGIHandler

logger = logging.getLogger(__name__)

LEFT_OVER_AFTER_S = 24 * 3600
"""Nobody writes to a file there, and needs it still, after such a time without a write."""


def temporary_file() -> IO[bytes]:
    """A file without a name in the folder for uploads: nothing of it outlives the process, nor takes its memory."""
    return cast(IO[bytes], tempfile.TemporaryFile(dir=str(settings.FILE_UPLOAD_TEMP_DIR)))


def remove_leftovers() -> int:
    """Remove what a killed process left in the folder for uploads: Django gives the files of a multipart body names.

    Safe at any time, twice at once too; answers how many there were.
    """
    gone, before = 0, time.time() - LEFT_OVER_AFTER_S
    for path in Path(settings.FILE_UPLOAD_TEMP_DIR).iterdir():
        try:
            if path.lstat().st_mtime >= before:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        except FileNotFoundError:  # somebody else did
            continue
        except OSError:
            logger.exception("the file %s, which a killed process left, cannot be removed", path)
        else:
            gone += 1
    return gone


class SpoolingHandler(ASGIHandler):
    """Django's handler, which writes large bodies to the folder for uploads, `FILE_UPLOAD_TEMP_DIR`: the system's own
    temporary folder may be a part of the memory, and a zip of photos has gigabytes."""

    async def read_body(self, receive: Callable[[], Awaitable[Mapping[str, Any]]]) -> IO[bytes]:
        """The whole body; a file without a name, so that nothing of it outlives the process."""
        body = tempfile.SpooledTemporaryFile(  # noqa: SIM115  (Django closes it)
            max_size=settings.FILE_UPLOAD_MAX_MEMORY_SIZE, mode="w+b", dir=str(settings.FILE_UPLOAD_TEMP_DIR)
        )
        try:
            await _copy(receive, body)
        except BaseException:
            body.close()
            raise
        body.seek(0)
        return cast(IO[bytes], body)


async def _copy(receive: Callable[[], Awaitable[Mapping[str, Any]]], body: IO[bytes]) -> None:
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise RequestAborted
        body.write(message.get("body", b""))
        more = bool(message.get("more_body", False))
