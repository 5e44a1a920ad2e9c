"""Limits a caller's rate. Redis counts; without Redis callers are let through rather than turned away.

Callers without a known key count by the address that the connection comes from. What a header says of it
(`X-Forwarded-For`) is never believed: anybody can write there. Behind a proxy all of them are therefore one.
"""

import hashlib
import logging
import time
from typing import TYPE_CHECKING

from django.core.cache import cache
from django.http import HttpRequest
from redis.exceptions import RedisError
from rest_framework.exceptions import Throttled
from rest_framework.request import Request
from rest_framework.throttling import SimpleRateThrottle

from portrait.core.models import Scope
from portrait.core.principal import Principal

if TYPE_CHECKING:  # at run time Django REST framework imports this module while it loads its views
    from rest_framework.views import APIView

logger = logging.getLogger(__name__)

UNKNOWN_KEYS_A_MINUTE = 60


class PrincipalThrottle(SimpleRateThrottle):
    """One rate for reading calls, one for the others, per key or user. Where a view lets anonymous callers in, like
    the OpenAPI document's, they count by address."""

    scope = "read"

    def allow_request(self, request: Request, view: "APIView") -> bool:
        by_method: dict[str, Scope] = getattr(view, "required_scopes", {})
        needed = by_method.get(str(request.method), getattr(view, "required_scope", Scope.ADMIN))
        self.scope = "read" if needed == Scope.READ else "enrol"
        self.rate = self.get_rate()
        self.num_requests, self.duration = self.parse_rate(self.rate)
        try:
            return super().allow_request(request, view)
        except RedisError as error:
            logger.warning("throttling is off, Redis does not answer: %s", error)
            return True

    def get_cache_key(self, request: Request, view: "APIView") -> str:
        ident = request.auth.throttle_id if isinstance(request.auth, Principal) else address_of(request)
        return self.cache_format % {"scope": self.scope, "ident": ident}


class Counter:
    """Counts events in windows of `window_s` that begin with the clock's multiples of it; `what` are those counted
    together. All of our processes count as one."""

    def __init__(self, *what: str, window_s: int) -> None:
        now = time.time()
        self.left_s = window_s - now % window_s
        self._keep_s = 2 * window_s
        named = "\0".join((*what, str(int(now // window_s))))
        self._key = (
            f"counter:{hashlib.sha256(named.encode()).hexdigest()}"  # names may be long, and are nobody's business
        )

    def add(self) -> int:
        """Count one more; answers how many it are in this window, 0 where Redis does not answer."""
        try:
            cache.add(self._key, 0, timeout=self._keep_s)
            return cache.incr(self._key)
        except (RedisError, ValueError) as error:  # ValueError: emptied in between
            logger.warning("nothing is counted, Redis does not answer: %s", error)
            return 0

    def clear(self) -> None:
        try:
            cache.delete(self._key)
        except RedisError as error:
            logger.warning("a count was not cleared, Redis does not answer: %s", error)


class FrameThrottle(SimpleRateThrottle):
    """The rate of calls that push frames, per key: many a second are the rule. Counted by windows, as a history of
    each call, which `SimpleRateThrottle` keeps, would be read and written whole by every one of them."""

    scope = "frames"

    def allow_request(self, request: Request, view: "APIView") -> bool:
        ident = request.auth.throttle_id if isinstance(request.auth, Principal) else address_of(request)
        most, window_s = self.parse_rate(self.get_rate())
        counter = Counter(self.scope, ident, window_s=int(window_s or 60))
        self._left_s = counter.left_s
        return most is None or counter.add() <= most

    def wait(self) -> float:
        return self._left_s


def address_of(request: Request | HttpRequest) -> str:
    """Where the connection comes from."""
    return str(request.META.get("REMOTE_ADDR", ""))


def count_failed_authentication(request: Request) -> None:
    """To be called for a key that is not known: guessing is slowed down, and so is a caller that has not noticed.

    Raises:
        Throttled: more than `UNKNOWN_KEYS_A_MINUTE` from this address.
    """
    counter = Counter("unknown key", address_of(request), window_s=60)
    if counter.add() > UNKNOWN_KEYS_A_MINUTE:
        raise Throttled(
            wait=counter.left_s, detail="Too many calls with unknown keys come from your address; check the key."
        )
