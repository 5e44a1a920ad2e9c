"""Who calls, and what they may: API keys and staff sessions become a `Principal` (`request.auth`)."""

import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar, cast

from django.contrib.auth.models import AnonymousUser
from django.db.models import Q
from django.utils import timezone
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView

from portrait.core.errors import ForbiddenError, NotFoundError
from portrait.core.models import ApiKey, Scope, hash_key

LAST_USED_EVERY = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Principal:
    """The rights of a caller. `collection_ids` None means every collection."""

    name: str
    scope: Scope
    collection_ids: frozenset[uuid.UUID] | None
    throttle_id: str
    api_key_id: uuid.UUID | None = None

    def may_reach(self, collection_id: uuid.UUID | None) -> bool:
        return self.collection_ids is None or collection_id in self.collection_ids

    def require_collection(self, collection_id: uuid.UUID | None, what: str = "object") -> None:
        """A thing in a collection out of reach is answered like a thing that does not exist."""
        if not self.may_reach(collection_id):
            raise NotFoundError(f"There is no such {what}.")

    def require_all_collections(self) -> None:
        if self.collection_ids is not None:
            raise ForbiddenError("This key is bound to single collections; this call needs a key for all of them.")

    def require_scope(self, scope: Scope) -> None:
        if not self.scope.includes(scope):
            raise ForbiddenError(f"This call needs a key with the scope '{scope}'; this key has '{self.scope}'.")


class ApiKeyAuthentication(BaseAuthentication):
    """`Authorization: Api-Key <key>`."""

    keyword: ClassVar[str] = "Api-Key"

    def authenticate(self, request: Request) -> tuple[AnonymousUser, Principal] | None:
        keyword, _, key = request.headers.get("Authorization", "").partition(" ")
        if keyword.lower() != self.keyword.lower():
            return None
        row = ApiKey.objects.filter(key_hash=hash_key(key.strip()), revoked_at=None).first()
        if row is None:
            raise AuthenticationFailed("This API key is not known, or was revoked.")
        now = timezone.now()
        # At most one write a minute and key, however many requests come.
        ApiKey.objects.filter(Q(last_used_at=None) | Q(last_used_at__lt=now - LAST_USED_EVERY), id=row.id).update(
            last_used_at=now
        )
        collection_ids = None if row.collection_ids is None else frozenset(row.collection_ids)
        return AnonymousUser(), Principal(row.name, Scope(row.scope), collection_ids, f"key-{row.id}", row.id)

    def authenticate_header(self, request: Request) -> str:
        return self.keyword


class StaffSessionAuthentication(SessionAuthentication):
    """A signed-in staff user; a superuser may do everything, other staff may read. CSRF is checked."""

    def authenticate(self, request: Request) -> tuple[object, Principal] | None:  # type: ignore[override]
        found = super().authenticate(request)
        if found is None or not found[0].is_staff:
            return None
        user = found[0]
        scope = Scope.ADMIN if user.is_superuser else Scope.READ
        return user, Principal(user.get_username(), scope, None, f"user-{user.pk}")


def principal_of(request: Request) -> Principal:
    """The caller of a request that `HasScope` let through."""
    return cast(Principal, request.auth)


class HasScope(BasePermission):
    """A view names the scope it needs in `required_scope`, or one a method in `required_scopes`.

    A view that names none needs `admin`: forgetting to say so never opens a door.
    """

    message = "An API key is needed: send the header 'Authorization: Api-Key <key>'."

    def has_permission(self, request: Request, view: APIView) -> bool:
        if not isinstance(request.auth, Principal):
            return False
        by_method: dict[str, Scope] = getattr(view, "required_scopes", {})
        request.auth.require_scope(by_method.get(str(request.method), getattr(view, "required_scope", Scope.ADMIN)))
        return True


class ApiKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """How the OpenAPI document describes the key."""

    target_class = ApiKeyAuthentication
    name = "ApiKey"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        return {
            "type": "apiKey",
            "in": "header",
            "name": "Authorization",
            "description": "`Api-Key <key>`, the words 'Api-Key' included",
        }


class StaffSessionScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """How the OpenAPI document describes the session."""

    target_class = StaffSessionAuthentication
    name = "StaffSession"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        return {"type": "apiKey", "in": "cookie", "name": "sessionid"}
