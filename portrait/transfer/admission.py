"""Who may send large bodies, and zips beyond the limit of all other requests: known before they are read."""

import io
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib import import_module

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.core.handlers.asgi import ASGIRequest
from rest_framework.exceptions import NotAuthenticated
from rest_framework.request import Request

from portrait.core.api_errors import exception_handler
from portrait.core.auth import ApiKeyAuthentication, principal_of
from portrait.core.body_limit import Refusal, Scope
from portrait.core.database import release_connection
from portrait.core.models import Scope as KeyScope
from portrait.transfer.services.room import NoRoomError, free_bytes

COPIES = 3
"""A zip lies on the disk so often for a moment: the body, the file in it, and what the storage keeps."""


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
        with self._lock:
            if size > free_bytes() - self._promised:
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
    def check() -> None:
        principal = principal_of(_known(scope))
        principal.require_no_camera()
        principal.require_scope(KeyScope.ENROL)
        _room.take(size)

    return _refused(check)


def _known(scope: Scope) -> Request:
    """The request, with a key that is good."""
    request = Request(ASGIRequest(scope, io.BytesIO()), authenticators=[ApiKeyAuthentication()])
    if request.auth is None:
        raise NotAuthenticated
    return request


async def recognise(scope: Scope) -> Refusal | None:
    """For `BodyLimit`: a key that is known, or a session of somebody. What they may do, the view says."""

    def check() -> None:
        cookies = ASGIRequest(scope, io.BytesIO()).COOKIES
        session = import_module(settings.SESSION_ENGINE).SessionStore(cookies.get(settings.SESSION_COOKIE_NAME))
        if SESSION_KEY not in session:
            _known(scope)

    return await sync_to_async(_refused, thread_sensitive=False)(check)


def _refused(check: Callable[[], None]) -> Refusal | None:
    """The answer to what a check raises."""
    try:
        check()
    except Exception as error:
        answer = exception_handler(error, {})
        if answer is None:
            raise
        return Refusal(answer.status_code, dict(answer.data))
    finally:
        release_connection()
    return None
