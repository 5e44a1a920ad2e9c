"""What the log tells of a request besides who asks: an id that the caller's own log knows too, and the address."""

import re
import uuid
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass

from django.conf import settings
from django.http import HttpRequest, HttpResponse

HEADER = "X-Request-ID"
_SANE = re.compile(r"[A-Za-z0-9._:-]{1,64}")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a request came from. Empty outside of requests."""

    request_id: str = ""
    address: str | None = None


_current: ContextVar[Origin | None] = ContextVar("origin", default=None)


def current() -> Origin:
    """Of the request that is answered now."""
    return _current.get() or Origin()


class OriginMiddleware:
    """Keeps it for as long as the request is answered; the id is told in the answer."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        told = request.headers.get(HEADER, "")
        request_id = told if _SANE.fullmatch(told) else uuid.uuid4().hex
        address = (request.META.get("REMOTE_ADDR") or None) if settings.PORTRAIT.audit_address else None
        token = _current.set(Origin(request_id, address))
        try:
            answer = self.get_response(request)
        finally:
            _current.reset(token)
        answer[HEADER] = request_id
        return answer
