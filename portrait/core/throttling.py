"""Limits a caller's rate. Redis counts; without Redis callers are let through rather than turned away."""

import logging
from typing import TYPE_CHECKING

from redis.exceptions import RedisError
from rest_framework.request import Request
from rest_framework.throttling import SimpleRateThrottle

from portrait.core.models import Scope
from portrait.core.principal import Principal

if TYPE_CHECKING:  # at run time Django REST framework imports this module while it loads its views
    from rest_framework.views import APIView

logger = logging.getLogger(__name__)


class PrincipalThrottle(SimpleRateThrottle):
    """One rate for reading calls, one for the others, per key or user; anonymous callers count by address."""

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
        ident = request.auth.throttle_id if isinstance(request.auth, Principal) else self.get_ident(request)
        return self.cache_format % {"scope": self.scope, "ident": ident}
