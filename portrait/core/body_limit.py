"""An ASGI layer that refuses bodies above a limit before Django stores them."""

import json
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

from django.http.cookie import parse_cookie

Scope = dict[str, Any]
Message = Mapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Recognise = Callable[[Scope], Awaitable["Refusal | None"]]
App = Callable[[Scope, Receive, Send], Coroutine[Any, Any, None]]

ANONYMOUS_MAX_BYTES = 2**20
UNCHECKED_MAX_BYTES = 8 * 2**20
"""So much may come in from whoever says to be somebody, before anybody looks whether that is true."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer given in place of the application's."""

    status: int
    body: dict[str, Any]


LENGTH_REQUIRED = Refusal(
    411,
    {
        "error": {
            "code": "length_required",
            "message": "Send the body with the header Content-Length, not in chunks (Transfer-Encoding: chunked).",
        }
    },
)


@dataclass(frozen=True, slots=True)
class Larger:
    """What one address takes beyond the limit of all others, from those whom `admit` knows before the body is read.

    admit: a context over the whole request, which gives None to go on, or the refusal.
    """

    max_bytes: int
    admit: Callable[[Scope], AbstractAsyncContextManager[Refusal | None]]


class _TooLargeError(Exception):
    pass


class _RefusedError(Exception):
    def __init__(self, refusal: Refusal) -> None:
        super().__init__()
        self.refusal = refusal


class BodyLimit:
    """Answers 413 when the announced or the received body has more than `max_bytes`, or `anonymous_max_bytes` where
    the request carries neither an `Authorization` header nor the cookie `session_cookie`.

    Whether these are good is for Django's views to say, which read them after the body is on our disk; of a body above
    `UNCHECKED_MAX_BYTES`, announced or not, `recognise` says it before. larger: by method and path, what takes more;
    there all is known before.
    """

    def __init__(
        self,
        app: App,
        max_bytes: int,
        *,
        session_cookie: str,
        anonymous_max_bytes: int = ANONYMOUS_MAX_BYTES,
        larger: Mapping[tuple[str, str], Larger] | None = None,
        recognise: Recognise | None = None,
    ) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._session_cookie = session_cookie
        self._anonymous_max_bytes = anonymous_max_bytes
        self._larger = larger or {}
        self._recognise = recognise

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        if self._is_of_unknown_length(scope):
            return await self._tell(send, LENGTH_REQUIRED)
        larger = self._larger.get((scope.get("method", ""), scope.get("path", "")))
        if larger is None or self._announced(scope) <= self._max_bytes:
            known = self._claims_to_be_somebody(scope)
            limit = self._max_bytes if known else min(self._max_bytes, self._anonymous_max_bytes)
            return await self._limited(scope, receive, send, limit, anonymous=not known, recognise=self._recognise)
        if self._announced(scope) > larger.max_bytes:
            return await self._refuse(send, larger.max_bytes, anonymous=False)
        async with larger.admit(scope) as refusal:
            if refusal is not None:
                return await self._tell(send, refusal)
            return await self._limited(scope, receive, send, larger.max_bytes, anonymous=False)

    async def _limited(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        limit: int,
        *,
        anonymous: bool,
        recognise: Recognise | None = None,
    ) -> None:
        if self._announced(scope) > limit:
            return await self._refuse(send, limit, anonymous=anonymous)
        received, unknown = 0, recognise

        async def check(size: int) -> None:
            nonlocal unknown
            if size > limit:
                raise _TooLargeError
            if unknown is not None and size > UNCHECKED_MAX_BYTES:
                asked, unknown = unknown, None
                if (refusal := await asked(scope)) is not None:
                    raise _RefusedError(refusal)

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            await check(received)
            return message

        try:
            await check(self._announced(scope))
            await self._app(scope, counted, send)
        except _TooLargeError:
            await self._refuse(send, limit, anonymous=anonymous)
        except _RefusedError as refused:
            await self._tell(send, refused.refusal)

    @staticmethod
    def _announced(scope: Scope) -> int:
        length = dict(scope["headers"]).get(b"content-length", b"0")
        return int(length) if length.isdigit() else 0

    @staticmethod
    def _is_of_unknown_length(scope: Scope) -> bool:
        """Django would take such a body for an empty one."""
        headers = dict(scope["headers"])
        return b"transfer-encoding" in headers and b"content-length" not in headers

    def _claims_to_be_somebody(self, scope: Scope) -> bool:
        return any(
            (name == b"authorization" and value.strip())
            or (name == b"cookie" and parse_cookie(value.decode("latin-1")).get(self._session_cookie))
            for name, value in scope["headers"]
        )

    @classmethod
    async def _refuse(cls, send: Send, limit: int, *, anonymous: bool) -> None:
        if anonymous:
            message = f"A request of more than {limit / 2**20:g} MB needs a key: 'Authorization: Api-Key <key>'."
        else:
            message = f"The request has more than {limit / 2**20:g} MB; send fewer or smaller pictures."
        await cls._tell(send, Refusal(413, {"error": {"code": "request_too_large", "message": message}}))

    @staticmethod
    async def _tell(send: Send, refusal: Refusal) -> None:
        headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
        await send({"type": "http.response.body", "body": json.dumps(refusal.body).encode()})
