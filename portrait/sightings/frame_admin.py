"""The page of a frame, with what was found in it. Here, as cameras know nothing of faces."""

from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from portrait.cameras.admin import FrameAdmin
from portrait.cameras.models import Frame
from portrait.core.admin_base import TabularInline
from portrait.gallery.admin import link_to
from portrait.sightings.models import Detection, Track

NOTHING = "-"


def likeness(similarity: float | None, track: Track | None) -> str:
    """A similarity of 0..1 with two digits; none is told where a stranger is compared with himself."""
    return NOTHING if similarity is None or (track is not None and track.likens_itself) else f"{similarity:.2f}"


class MadeByFrames:
    """Rows that nobody adds or changes by hand."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class FaceInline(MadeByFrames, TabularInline[Detection, Frame]):
    """The faces of a frame."""

    model = Detection
    verbose_name_plural = "faces"
    fields: ClassVar = ["who", "alike", "place", "quality_shown"]
    readonly_fields: ClassVar = ["who", "alike", "place", "quality_shown"]
    ordering: ClassVar = ["id"]
    can_delete = False
    extra = max_num = 0

    def get_queryset(self, request: HttpRequest) -> "QuerySet[Detection]":
        return super().get_queryset(request).select_related("identity", "track")

    @admin.display
    def who(self, face: Detection) -> SafeString | str:
        if face.identity is not None:
            return link_to(face.identity)
        return "unknown" if face.track is not None and face.track.template else "not decided"

    @admin.display(description="similarity")
    def alike(self, face: Detection) -> str:
        return likeness(face.similarity, face.track)

    @admin.display(description="box")
    def place(self, face: Detection) -> str:
        x, y, width, height = face.box
        return f"{width:.0f} x {height:.0f} px at {x:.0f}, {y:.0f}"

    @admin.display(description="quality")
    def quality_shown(self, face: Detection) -> str:
        reasons = ", ".join(face.quality.get("reasons", []))
        return f"{face.quality_score:.2f}{f' ({reasons})' if reasons else ''}"


@admin.register(Frame)
class SeenFrameAdmin(FrameAdmin):
    """The ledger's pages; a frame's own shows its picture with names, and its faces."""

    inlines: ClassVar = [FaceInline]
    readonly_fields: ClassVar = ["annotated_picture", *FrameAdmin.readonly_fields]

    def get_fields(self, request: HttpRequest, obj: Frame | None = None) -> Any:
        others = [name for name in super().get_fields(request, obj) if name != "annotated_picture"]
        return ["annotated_picture", *others]

    @admin.display(description="picture")
    def annotated_picture(self, frame: Frame) -> SafeString | str:
        if not frame.picture:
            return "no longer kept"
        return format_html(
            '<div><a href="{0}" target="_blank"><img src="{0}" style="max-width:100%;max-height:480px" '
            'alt="the picture with names"></a><br><a href="{1}" target="_blank">as it was accepted</a></div>',
            reverse("frame-annotated", args=[frame.pk]),
            reverse("frame-picture", args=[frame.pk]),
        )
