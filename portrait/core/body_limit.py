"""An ASGI layer that refuses bodies above a limit before Django stores them."""

import json
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

from django.http.cookie import parse_cookie

Scope = dict[str, Any]
Message = Mapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Coroutine[Any, Any, None]]

ANONYMOUS_MAX_BYTES = 2**20


class _TooLargeError(Exception):
    pass


class BodyLimit:
    """Answers 413 when the announced or the received body has more than `max_bytes`, or `anonymous_max_bytes` where
    the request carries neither an `Authorization` header nor the cookie `session_cookie`.

    Whether these are good is only known after the body is on our disk: Django's views read both.
    """

    def __init__(
        self, app: App, max_bytes: int, *, session_cookie: str, anonymous_max_bytes: int = ANONYMOUS_MAX_BYTES
    ) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._session_cookie = session_cookie
        self._anonymous_max_bytes = anonymous_max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        known = self._claims_to_be_somebody(scope)
        limit = self._max_bytes if known else min(self._max_bytes, self._anonymous_max_bytes)
        if self._announced(scope) > limit:
            return await self._refuse(send, limit, anonymous=not known)
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise _TooLargeError
            return message

        try:
            await self._app(scope, counted, send)
        except _TooLargeError:
            await self._refuse(send, limit, anonymous=not known)

    @staticmethod
    def _announced(scope: Scope) -> int:
        length = dict(scope["headers"]).get(b"content-length", b"0")
        return int(length) if length.isdigit() else 0

    def _claims_to_be_somebody(self, scope: Scope) -> bool:
        return any(
            (name == b"authorization" and value.strip())
            or (name == b"cookie" and parse_cookie(value.decode("latin-1")).get(self._session_cookie))
            for name, value in scope["headers"]
        )

    @staticmethod
    async def _refuse(send: Send, limit: int, *, anonymous: bool) -> None:
        if anonymous:
            message = f"A request of more than {limit / 2**20:g} MB needs a key: 'Authorization: Api-Key <key>'."
        else:
            message = f"The request has more than {limit / 2**20:g} MB; send fewer or smaller pictures."
        body = json.dumps({"error": {"code": "request_too_large", "message": message}}).encode()
        headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": 413, "headers": headers})
        await send({"type": "http.response.body", "body": body})
