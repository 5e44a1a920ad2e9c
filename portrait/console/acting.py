"""Who acts on the pages, and how what went wrong is told."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.http import url_has_allowed_host_and_scheme

from portrait.core.errors import PortraitError
from portrait.core.models import Scope
from portrait.core.principal import Principal

Page = tuple[str, Callable[..., HttpResponseBase], str]
"""(route, view, name), as a ModelAdmin adds them to its addresses."""


def principal_of_user(user: Any) -> Principal:
    """A member of the staff as the services below know callers. What he may do is asked by Django's permissions."""
    scope = Scope.ADMIN if user.is_superuser else Scope.READ
    return Principal(user.get_username(), scope, None, f"user-{user.pk}")


def names_people(request: HttpRequest) -> bool:
    """Pages that are about people call them by their names: who may not see these, may not see the page."""
    return request.user.has_perm("gallery.view_identity")


def require(request: HttpRequest, *permissions: str) -> None:
    """Raises PermissionDenied where one is missing."""
    if not request.user.has_perms(permissions):
        raise PermissionDenied


@contextmanager
def told(request: HttpRequest) -> Iterator[None]:
    """What our own rules refuse becomes a message on the page that is shown next."""
    try:
        yield
    except PortraitError as error:
        messages.error(request, error.message)


def back_to(request: HttpRequest, otherwise: str) -> str:
    """Where the form was, if it says so and it is a page of ours."""
    wanted = request.POST.get("next", "")
    safe = url_has_allowed_host_and_scheme(wanted, {request.get_host()}, require_https=request.is_secure())
    return wanted if wanted and safe else otherwise
