"""Captions and objects for people: looked at and searched. Nobody is named in them."""

from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.db.models import Prefetch, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from inference.config import SceneTask
from portrait.cameras.admin import CameraAdmin
from portrait.cameras.models import Camera, Frame
from portrait.core.admin_base import KeysetAdmin, StackedInline, TabularInline
from portrait.core.errors import PortraitError
from portrait.scenes.models import CameraScenes, Caption, SceneObject, Segmentation, Shown
from portrait.scenes.selectors import matching
from portrait.scenes.services.cameras import check_model
from portrait.sightings.frame_admin import MadeByFrames, SeenFrameAdmin


def link_to_picture(row: Shown) -> SafeString:
    """To the picture, with what was found in it drawn."""
    name, key = ("frame-scene", str(row.frame_id)) if row.frame_id else ("portrait-scene", str(row.portrait_id))
    text = f"frame {key}" if row.frame_id else "portrait"
    return format_html('<a href="{}" target="_blank">{}</a>', reverse(name, args=[key], query={"format": "png"}), text)


class LookedAtOnly(MadeByFrames):
    """Lists of what was told of pictures; it goes with them, and by no other way."""

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Caption)
class CaptionAdmin(LookedAtOnly, KeysetAdmin[Caption]):
    keyset_ordering = ("-shown_at",)
    sortable_by = ()
    list_display = ["text", "model", "camera", "shown_at", "picture"]
    list_filter = ["camera"]
    list_select_related = ["camera"]
    search_fields = ["text"]
    search_help_text = 'Words of a caption, as people type: dog "red car" or -bus'
    fields = ["text", "model", "domain", "method", "score", "camera", "shown_at", "created_at", "settings", "picture"]
    readonly_fields = ["picture"]

    def get_queryset(self, request: HttpRequest) -> "QuerySet[Caption]":
        return super().get_queryset(request).defer("words")

    def get_search_results(
        self, request: HttpRequest, queryset: "QuerySet[Caption]", search_term: str
    ) -> "tuple[QuerySet[Caption], bool]":
        """As the API searches."""
        return (matching(queryset, search_term) if search_term.strip() else queryset), False

    @admin.display
    def picture(self, caption: Caption) -> SafeString:
        return link_to_picture(caption)


@admin.register(SceneObject)
class SceneObjectAdmin(LookedAtOnly, KeysetAdmin[SceneObject]):
    keyset_ordering = ("-shown_at",)
    sortable_by = ()
    list_display = ["label", "certainty", "place", "found_by", "camera", "shown_at", "picture"]
    list_filter = ["camera"]
    list_select_related = ["camera", "segmentation"]
    search_fields = ["=label"]
    search_help_text = "What a model calls it: dog"
    fields = ["label", "certainty", "place", "found_by", "camera", "shown_at", "picture"]
    readonly_fields = ["certainty", "place", "found_by", "picture"]

    def get_queryset(self, request: HttpRequest) -> "QuerySet[SceneObject]":
        return super().get_queryset(request).defer("mask")

    @admin.display(description="score")
    def certainty(self, found: SceneObject) -> str:
        return f"{found.score:.2f}"

    @admin.display(description="box")
    def place(self, found: SceneObject) -> str:
        x, y, width, height = found.box
        return f"{width:.0f} x {height:.0f} px at {x:.0f}, {y:.0f}"

    @admin.display(description="model")
    def found_by(self, found: SceneObject) -> str:
        return found.segmentation.model

    @admin.display
    def picture(self, found: SceneObject) -> SafeString:
        return link_to_picture(found.segmentation)


class CaptionInline(MadeByFrames, TabularInline[Caption, Frame]):
    """What was told of a frame."""

    model = Caption
    fields: ClassVar = ["text", "model", "created_at"]
    readonly_fields: ClassVar = ["text", "model", "created_at"]
    can_delete = False
    extra = max_num = 0

    def get_queryset(self, request: HttpRequest) -> "QuerySet[Caption]":
        return super().get_queryset(request).defer("words")


class SegmentationInline(MadeByFrames, TabularInline[Segmentation, Frame]):
    """What was found in a frame."""

    model = Segmentation
    verbose_name_plural = "objects"
    fields: ClassVar = ["model", "labels", "picture"]
    readonly_fields: ClassVar = ["labels", "picture"]
    can_delete = False
    extra = max_num = 0

    def get_queryset(self, request: HttpRequest) -> "QuerySet[Segmentation]":
        found = SceneObject.objects.defer("mask").order_by("-score", "id")
        return super().get_queryset(request).prefetch_related(Prefetch("found", found))

    @admin.display(description="found")
    def labels(self, row: Segmentation) -> str:
        return ", ".join(f"{each.label} {each.score:.2f}" for each in row.found.all()) or "nothing"

    @admin.display
    def picture(self, row: Segmentation) -> SafeString:
        return link_to_picture(row)


class CameraScenesForm(forms.ModelForm[CameraScenes]):
    """By the rules of the API."""

    class Meta:
        model = CameraScenes
        fields = ["caption_model", "segment_model", "every_s"]

    def clean_caption_model(self) -> str:
        return self._checked("caption_model", SceneTask.CAPTIONING)

    def clean_segment_model(self) -> str:
        return self._checked("segment_model", SceneTask.SEGMENTATION)

    def _checked(self, field: str, task: SceneTask) -> str:
        name = str(self.cleaned_data[field])
        try:
            check_model(name, task, field=field)
        except PortraitError as error:
            raise forms.ValidationError(error.message) from None
        return name


class CameraScenesInline(StackedInline[CameraScenes, Camera]):
    """Whether and how often its frames are described."""

    model = CameraScenes
    form = CameraScenesForm
    verbose_name = verbose_name_plural = "captions and objects of its frames"
    fields: ClassVar = ["caption_model", "segment_model", "every_s", "skipped"]
    readonly_fields: ClassVar = ["skipped"]
    extra = 1

    def get_queryset(self, request: HttpRequest) -> "QuerySet[CameraScenes]":
        return super().get_queryset(request).select_related("camera")


admin.site.unregister([Camera, Frame])  # the pages of apps below are made anew, with what is known here


@admin.register(Camera)
class DescribedCameraAdmin(CameraAdmin):
    inlines: ClassVar = [*CameraAdmin.inlines, CameraScenesInline]


@admin.register(Frame)
class DescribedFrameAdmin(SeenFrameAdmin):
    inlines: ClassVar = [*SeenFrameAdmin.inlines, CaptionInline, SegmentationInline]
