"""What a person may ask for: all that is known about them, or that it goes for good. For superusers, as in the API."""

from uuid import UUID

from django.contrib import messages
from django.contrib.admin import ModelAdmin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect
from django.urls import reverse

from portrait.console.acting import Page, principal_of_user, told
from portrait.core.errors import ConflictError
from portrait.gallery.models import Identity
from portrait.jobs.tasks import enqueue_job
from portrait.privacy.services.erasing import erase
from portrait.privacy.services.exporting import request_export


def pages(page_of: "ModelAdmin[Identity]") -> list[Page]:
    def leave(request: HttpRequest, pk: UUID) -> HttpResponse:
        return _leave(request, pk)

    return [("<uuid:pk>/leave/", leave, "gallery_identity_leave")]


def _leave(request: HttpRequest, pk: UUID) -> HttpResponse:
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    if not request.user.is_superuser:
        raise PermissionDenied
    person = Identity.objects.select_related("collection").filter(pk=pk).first()
    if person is None:
        raise Http404("There is no such person.")
    with told(request):
        return _erased(request, person) if request.POST.get("deed") == "erase" else _exported(request, person)
    return redirect(reverse("admin:gallery_identity_change", args=[pk]))


def _exported(request: HttpRequest, person: Identity) -> HttpResponse:
    export, job = request_export(identity=person, principal=principal_of_user(request.user))
    enqueue_job(job)
    messages.success(request, "A job makes the zip; it can be downloaded under More, Subject exports, for a day.")
    return redirect("admin:privacy_subjectexport_change", export.pk)


def _erased(request: HttpRequest, person: Identity) -> HttpResponse:
    """Nobody does it by a slip of the finger: the name is typed."""
    if request.POST.get("name", "").strip() != person.name:
        raise ConflictError("Nothing was erased: type the name just as it is written.")
    proof = erase(identity=person, principal=principal_of_user(request.user))
    messages.success(request, "Erased. This is the signed proof of it.")
    return redirect("admin:privacy_erasureproof_change", proof.pk)
