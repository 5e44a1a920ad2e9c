"""Who may send a zip beyond the limit of all other requests: known before the first byte of it is read."""

import io
import shutil
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from asgiref.sync import sync_to_async
from django.conf import settings
from django.core.handlers.asgi import ASGIRequest
from rest_framework.exceptions import NotAuthenticated
from rest_framework.request import Request

from portrait.core.api_errors import exception_handler
from portrait.core.auth import ApiKeyAuthentication, principal_of
from portrait.core.body_limit import Refusal, Scope
from portrait.core.database import release_connection
from portrait.core.errors import PortraitError
from portrait.core.models import Scope as KeyScope

COPIES = 3
"""A zip lies on the disk so often for a moment: the body, the file in it, and what the storage keeps."""


class NoRoomError(PortraitError):
    code = "storage_full"
    status = 507


class _Room:
    """Bytes that requests under way were promised, so that all of them together fit on the disk."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._promised = 0

    def take(self, size: int) -> None:
        """
        Raises:
            NoRoomError: there is not so much.
        """
        least = settings.PORTRAIT.frames_min_free_mb * 2**20
        with self._lock:
            free = shutil.disk_usage(settings.FILE_UPLOAD_TEMP_DIR).free - self._promised - least
            if size > free:
                raise NoRoomError(
                    f"The disk has no room for a zip of {size / COPIES / 2**20:.0f} MB: it takes {COPIES} times its "
                    "size for a moment. Make room, or send it in parts."
                )
            self._promised += size

    def give_back(self, size: int) -> None:
        with self._lock:
            self._promised -= size


_room = _Room()


@asynccontextmanager
async def admitted(scope: Scope) -> AsyncIterator[Refusal | None]:
    """For `Larger`: a key that may enrol, and room on the disk; all of it is checked once more by the view."""
    size = COPIES * int(dict(scope["headers"]).get(b"content-length", b"0"))
    refusal = await sync_to_async(_refusal, thread_sensitive=False)(scope, size)
    try:
        yield refusal
    finally:
        if refusal is None:
            _room.give_back(size)


def _refusal(scope: Scope, size: int) -> Refusal | None:
    authenticator = ApiKeyAuthentication()
    request = Request(ASGIRequest(scope, io.BytesIO()), authenticators=[authenticator])
    try:
        if request.auth is None:
            raise NotAuthenticated
        principal = principal_of(request)
        principal.require_no_camera()
        principal.require_scope(KeyScope.ENROL)
        _room.take(size)
    except Exception as error:
        answer = exception_handler(error, {})
        if answer is None:
            raise
        return Refusal(answer.status_code, dict(answer.data))
    finally:
        release_connection()
    return None
