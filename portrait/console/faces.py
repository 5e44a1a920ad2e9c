"""Faces for the pages, of deleted people too. No browser keeps them (`admin_view` says `no-store`): nobody who was
erased is shown again. A grid is quick all the same: small files, loaded as they come into sight."""

from uuid import UUID

from django.contrib.admin import ModelAdmin
from django.core.exceptions import PermissionDenied
from django.http import FileResponse, Http404, HttpRequest
from django.urls import reverse

from portrait.console.acting import Page
from portrait.gallery.models import Identity, Portrait


def pages(page_of: "ModelAdmin[Identity]") -> list[Page]:
    def face(request: HttpRequest, pk: UUID) -> FileResponse:
        return _picture(request, pk, "thumbnail")

    def whole(request: HttpRequest, pk: UUID) -> FileResponse:
        return _picture(request, pk, "image")

    return [
        ("face/<uuid:pk>/thumbnail/", face, "gallery_portrait_face"),
        ("face/<uuid:pk>/image/", whole, "gallery_portrait_whole"),
    ]


def face_url(portrait: Portrait) -> str:
    return reverse("admin:gallery_portrait_face", args=[portrait.pk])


def _picture(request: HttpRequest, pk: UUID, field: str) -> FileResponse:
    if not request.user.has_perms(["gallery.view_identity", "gallery.view_portrait"]):
        raise PermissionDenied
    portrait = Portrait.objects.filter(pk=pk).only(field).first()
    try:
        opened = getattr(portrait, field).open("rb") if portrait else None
    except FileNotFoundError:
        opened = None
    if opened is None:
        raise Http404("There is no such picture.")
    return FileResponse(opened, content_type="image/jpeg", headers={"X-Content-Type-Options": "nosniff"})
