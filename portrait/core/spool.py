"""Where the web application keeps bodies while they come in."""

import tempfile
from collections.abc import Awaitable, Callable, Mapping
from typing import IO, Any, cast

from django.conf import settings
from django.core.exceptions import RequestAborted
from django.core.handlers.asgi import ASGIHandler


class SpoolingHandler(ASGIHandler):
    """Django's handler, which writes large bodies to the folder for uploads, `FILE_UPLOAD_TEMP_DIR`: the system's own
    temporary folder may be a part of the memory, and a zip of photos has gigabytes."""

    async def read_body(self, receive: Callable[[], Awaitable[Mapping[str, Any]]]) -> IO[bytes]:
        """The whole body; a file without a name, so that nothing of it outlives the process."""
        body = tempfile.SpooledTemporaryFile(  # noqa: SIM115  (Django closes it)
            max_size=settings.FILE_UPLOAD_MAX_MEMORY_SIZE, mode="w+b", dir=str(settings.FILE_UPLOAD_TEMP_DIR)
        )
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                body.close()
                raise RequestAborted
            body.write(message.get("body", b""))
            more = bool(message.get("more_body", False))
        body.seek(0)
        return cast(IO[bytes], body)
