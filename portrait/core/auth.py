"""Who calls, and what they may: API keys and staff sessions become a `Principal` (`request.auth`)."""

from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, cast

from django.contrib.auth.models import AnonymousUser
from django.utils import timezone
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from portrait.core.models import ApiKey, Scope, hash_key
from portrait.core.principal import Principal
from portrait.core.throttling import count_failed_authentication

if TYPE_CHECKING:  # at run time Django REST framework imports this module while it loads its views
    from rest_framework.views import APIView

LAST_USED_EVERY = timedelta(minutes=1)


class ApiKeyAuthentication(BaseAuthentication):
    """`Authorization: Api-Key <key>`."""

    keyword: ClassVar[str] = "Api-Key"

    def authenticate(self, request: Request) -> tuple[AnonymousUser, Principal] | None:
        keyword, _, key = request.headers.get("Authorization", "").partition(" ")
        if keyword.lower() != self.keyword.lower():
            return None
        row = ApiKey.objects.filter(key_hash=hash_key(key.strip()), revoked_at=None).first()
        if row is None:
            count_failed_authentication(request)
            raise AuthenticationFailed("This API key is not known, or was revoked.")
        now = timezone.now()
        if row.last_used_at is None or row.last_used_at < now - LAST_USED_EVERY:  # not a write a request
            ApiKey.objects.filter(id=row.id).update(last_used_at=now)
        collection_ids = None if row.collection_ids is None else frozenset(row.collection_ids)
        camera_ids = None if row.camera_ids is None else frozenset(row.camera_ids)
        principal = Principal(row.name, Scope(row.scope), collection_ids, f"key-{row.id}", row.id, camera_ids)
        return AnonymousUser(), principal

    def authenticate_header(self, request: Request) -> str:
        return self.keyword


class StaffSessionAuthentication(SessionAuthentication):
    """A signed-in superuser may do everything; other staff read if the admin lets them view identities and portraits.
    CSRF is checked."""

    def authenticate(self, request: Request) -> tuple[Any, Principal] | None:
        found = super().authenticate(request)
        if found is None or not found[0].is_staff:
            return None
        user = found[0]
        if not user.has_perms(["gallery.view_identity", "gallery.view_portrait"]):
            return None
        scope = Scope.ADMIN if user.is_superuser else Scope.READ
        return user, Principal(user.get_username(), scope, None, f"user-{user.pk}")


def principal_of(request: Request) -> Principal:
    """The caller of a request that `HasScope` let through."""
    return cast(Principal, request.auth)


class HasScope(BasePermission):
    """A view names the scope it needs in `required_scope`, or one a method in `required_scopes`.

    A view that names none needs `admin`: forgetting to say so never opens a door. Likewise a key that is bound to
    cameras is let in only where a view says `for_cameras = True`, and so that it keeps to these cameras.
    """

    def has_permission(self, request: Request, view: "APIView") -> bool:
        if not isinstance(request.auth, Principal):
            return False
        if not getattr(view, "for_cameras", False):
            request.auth.require_no_camera()
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
