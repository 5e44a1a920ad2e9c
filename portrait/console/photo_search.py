"""Who is this? A picture is uploaded, and the people who are like its faces are shown."""

from typing import Any

from django import forms
from django.contrib.admin import ModelAdmin
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from unfold.widgets import UnfoldAdminFileFieldWidget, UnfoldAdminSelectWidget

from inference.errors import ImageError, InferenceError
from portrait.console.acting import Page, principal_of_user, require
from portrait.console.finding import FoundFace, by_photo
from portrait.core.errors import PortraitError
from portrait.core.pipelines import codec_limits
from portrait.gallery.models import DEFAULT_COLLECTION, Collection, Identity


class PhotoForm(forms.Form):
    """One picture, of the size that the API takes too."""

    photo = forms.FileField(label="Picture", widget=UnfoldAdminFileFieldWidget)
    collection = forms.ModelChoiceField(
        Collection.objects.select_related("active_model"), empty_label=None, widget=UnfoldAdminSelectWidget
    )

    def clean_photo(self) -> bytes:
        photo = self.cleaned_data["photo"]
        limit = codec_limits().max_bytes
        if photo.size > limit:
            raise forms.ValidationError(f"The picture has more than {limit / 2**20:g} MB; choose a smaller one.")
        return bytes(photo.read())


def pages(page_of: "ModelAdmin[Identity]") -> list[Page]:
    def search(request: HttpRequest) -> HttpResponse:
        require(request, "gallery.view_identity", "gallery.view_portrait")  # as the API asks of a session
        faces, form = _asked(request)
        context = {**page_of.admin_site.each_context(request), "opts": page_of.opts, "title": "Who is this?"}
        return TemplateResponse(request, "console/by_photo.html", {**context, "form": form, "faces": faces})

    return [("by-photo/", search, "gallery_identity_by_photo")]


def _asked(request: HttpRequest) -> tuple[list[FoundFace] | None, PhotoForm]:
    """The answer to a picture that was sent, or None with the form that says why there is none."""
    if request.method != "POST":
        first = Collection.objects.filter(name=DEFAULT_COLLECTION).first()
        return None, PhotoForm(initial={"collection": first})
    form = PhotoForm(request.POST, request.FILES)
    if not form.is_valid():
        return None, form
    asked: dict[str, Any] = form.cleaned_data
    try:
        principal = principal_of_user(request.user)
        return by_photo(principal=principal, collection=asked["collection"], data=asked["photo"]), form
    except (ImageError, InferenceError, PortraitError) as error:
        form.add_error("photo", str(error))
        return None, form
