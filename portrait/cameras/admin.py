"""Cameras and the ledger for people: how capture goes, what waits, what failed and why."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import Truncator
from django.utils.timesince import timesince

from portrait.cameras import key_admin  # noqa: F401  (registers the keys)
from portrait.cameras.addresses import masked
from portrait.cameras.models import Camera, CaptureStatus, Frame
from portrait.cameras.services import cameras
from portrait.cameras.services.backlog import with_backlog
from portrait.cameras.services.reopen import reopen
from portrait.core.admin_base import KeysetAdmin, ModelAdmin, StackedInline
from portrait.core.errors import PortraitError

REASON_CHARS = 60
"""Of an error's message in a list; the rest is shown where the mouse rests."""


class CameraForm(forms.ModelForm[Camera]):
    """A camera, by the rules of the API. Passwords of the source are not shown; left as they are, they stay."""

    class Meta:
        model = Camera
        fields = ["collection", "name", "source", "fps", "enabled", "min_hits", "window_s", "gap_s", "window_mode"]
        fields += ["keep_frames_h", "keep_unnamed_h", "keep_named_h"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "source" in self.fields:  # absent for those who may only look
            self.initial["source"] = masked(self.instance.source)

    def clean_source(self) -> str:
        before = None if self.instance._state.adding else Camera.objects.get(pk=self.instance.pk)
        try:
            return cameras.new_source(before, self.cleaned_data["source"])
        except PortraitError as error:
            raise forms.ValidationError(error.message) from None

    def clean_name(self) -> str:
        """Django does not look at a rule that a read-only field belongs to, as the collection is."""
        name = str(self.cleaned_data["name"])
        if not self.instance._state.adding:
            others = Camera.objects.filter(collection_id=self.instance.collection_id).exclude(pk=self.instance.pk)
            if others.filter(name=name).exists():
                raise forms.ValidationError(f"The collection has a camera {name!r} already.")
        return name

    def clean(self) -> dict[str, Any] | None:
        try:
            cameras.check_settings(**self.cleaned_data)
        except PortraitError as error:
            self.add_error(error.field if error.field in self.fields else None, error.message)
        return super().clean()


READING = ["state", "since", "message", "heartbeat_at", "last_frame_at", "lag_s", "captured", "not_taken", "restarts"]


class CaptureStatusInline(StackedInline[CaptureStatus, Camera]):
    model = CaptureStatus
    fields = (*READING,)
    readonly_fields = READING
    can_delete = False
    extra = max_num = 0

    def get_queryset(self, request: HttpRequest) -> "QuerySet[CaptureStatus]":
        return super().get_queryset(request).select_related("camera")  # its title

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Camera)
class CameraAdmin(ModelAdmin[Camera]):
    form = CameraForm
    list_display = ["name", "collection", "enabled", "state", "lag", "waiting", "oldest", "shown_source", "fps"]
    list_filter = ["collection", "enabled"]
    list_select_related = ["collection", "status"]
    search_fields = ["name"]
    autocomplete_fields = ["collection"]
    inlines = [CaptureStatusInline]

    def get_queryset(self, request: HttpRequest) -> "QuerySet[Camera]":
        return with_backlog(super().get_queryset(request))

    def get_readonly_fields(self, request: HttpRequest, obj: Camera | None = None) -> list[str]:
        return ["collection"] if obj else []  # what it saw is stored there

    def get_fields(self, request: HttpRequest, obj: Camera | None = None) -> Any:
        fields = list(super().get_fields(request, obj))
        if self.has_change_permission(request, obj) or obj is None:
            return fields
        return ["shown_source" if name == "source" else name for name in fields]  # plain text is not masked

    def get_inlines(self, request: HttpRequest, obj: Camera | None) -> Any:
        return self.inlines if obj else []

    @admin.display(description="reading")
    def state(self, camera: Camera) -> str:
        if not camera.source:
            return "pushed"
        status = getattr(camera, "status", None)
        return str(status.get_state_display()) if status else "never read"

    @admin.display
    def lag(self, camera: Camera) -> str:
        status = getattr(camera, "status", None)
        return "–" if status is None or status.lag_s is None else f"{status.lag_s:.1f} s"

    @admin.display
    def waiting(self, camera: Camera) -> int:
        return getattr(camera, "waiting_count", None) or 0

    @admin.display(description="waits since")
    def oldest(self, camera: Camera) -> str:
        since = getattr(camera, "oldest_waiting", None)
        return timesince(since) if since else "–"

    @admin.display(description="source")
    def shown_source(self, camera: Camera) -> str:
        return masked(camera.source) or "–"

    def save_model(self, request: HttpRequest, obj: Camera, form: Any, change: bool) -> None:
        """Only what was changed is written: readers write beside it."""
        if change:
            values = {name: form.cleaned_data[name] for name in form.changed_data}
            cameras.update_camera(camera=obj, **values)
        else:
            obj.save(force_insert=True)
            CaptureStatus.objects.get_or_create(camera=obj)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Not one by one: a camera may have millions of frames."""
        told = [f"{camera}, with its frames, pictures and sightings" for camera in objs]
        needed = set() if self.has_delete_permission(request) else {"camera"}
        return told, {"cameras": len(told)}, needed, []

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None) -> Any:
        """As Django's, but not in one transaction."""
        return self._delete_view(request, object_id, extra_context)  # type: ignore[attr-defined]

    def delete_model(self, request: HttpRequest, obj: Camera) -> None:
        cameras.delete_camera(camera=obj)

    def delete_queryset(self, request: HttpRequest, queryset: "QuerySet[Camera]") -> None:
        for camera in queryset:
            cameras.delete_camera(camera=camera)


class FrameAdmin(KeysetAdmin[Frame]):
    """The ledger: looked at, and failed frames done again; nothing else is changed here. Registered by
    `portrait.sightings`, which knows what was found in a frame."""

    list_display = [
        "id",
        "camera",
        "sequence",
        "captured_at",
        "state",
        "attempts",
        "error",
        "picture_link",
    ]
    list_filter = ["state", "camera"]
    keyset_ordering = ("-id",)
    sortable_by = ()
    actions = ["try_again"]
    exclude = ["picture", "lease", "metadata"]
    readonly_fields = ["metadata"]

    def get_queryset(self, request: HttpRequest) -> "QuerySet[Frame]":
        return super().get_queryset(request).select_related("camera")

    def get_ordering(self, request: HttpRequest) -> Any:
        """By what an index leads to."""
        return ["-captured_at", "-id"] if "camera__id__exact" in request.GET else ["-id"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Frame | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Frame | None = None) -> bool:
        return False

    def has_try_again_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("cameras.change_frame"))

    @admin.display
    def error(self, frame: Frame) -> SafeString | str:
        if not frame.error_code:
            return ""
        shown = Truncator(frame.error_message).chars(REASON_CHARS)
        return format_html('<span title="{}">{}: {}</span>', frame.error_message, frame.error_code, shown)

    @admin.display(description="picture")
    def picture_link(self, frame: Frame) -> SafeString | str:
        if not frame.picture:
            return "gone"
        return format_html('<a href="{}" target="_blank">look</a>', reverse("frame-picture", args=[frame.pk]))

    @admin.action(description="Try again what failed", permissions=["try_again"])
    def try_again(self, request: HttpRequest, frames: "QuerySet[Frame]") -> None:
        done = reopen(frames=Frame.objects.filter(pk__in=frames.order_by().values("pk")))
        messages.success(request, f"{done.waiting} frame(s) wait again.")
        if done.without_picture:
            messages.warning(request, f"{done.without_picture} cannot be done again: their pictures are gone.")
