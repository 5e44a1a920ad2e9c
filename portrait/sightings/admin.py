"""Sightings, the watchlist and its alerts for people."""

from datetime import timedelta
from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.db.models import F, Q, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from portrait.core.admin_base import KeysetAdmin, ModelAdmin
from portrait.gallery.admin import link_to
from portrait.gallery.finding import named
from portrait.sightings.frame_admin import NOTHING, MadeByFrames, likeness
from portrait.sightings.models import Alert, Sighting, Watch
from portrait.sightings.selectors import with_open
from portrait.sightings.services import erasure, watches


def picture_of(sighting: Sighting, height_px: int = 72) -> SafeString:
    """The best face, through the authorised view."""
    return format_html(
        '<img src="{}" height="{}" style="border-radius:4px" loading="lazy" alt="no picture is kept">',
        reverse("sighting-picture", args=[sighting.pk]),
        height_px,
    )


def picture_of_hit(alert: Alert, height_px: int = 72) -> SafeString:
    """Of the sighting; before that has opened, the frame of the hit."""
    if alert.sighting is not None:
        return picture_of(alert.sighting, height_px)
    if alert.detection is None:
        return SafeString(NOTHING)
    return format_html(
        '<a href="{0}" target="_blank"><img src="{0}" height="{1}" style="border-radius:4px;max-width:100%" '
        'loading="lazy" alt="no picture is kept"></a>',
        reverse("frame-annotated", args=[alert.detection.frame_id]),
        height_px,
    )


@admin.register(Sighting)
class SightingAdmin(MadeByFrames, KeysetAdmin[Sighting]):
    """Deleting one takes it back, as in the API."""

    list_display = ["picture_shown", "person", "camera", "first_seen", "duration", "hits", "alike", "is_open"]
    list_display_links = ["picture_shown", "first_seen"]
    list_filter = ["collection", "camera", "identity__kind", "first_seen"]
    search_fields = ["identity__name"]  # that there is a field to search by; `get_search_results` knows how
    search_help_text = "A person's name or external id"
    keyset_ordering = ("-first_seen",)
    sortable_by = ("first_seen",)
    fields = ["large_picture", "person", "camera", "first_seen", "last_seen", "duration", "hits", "alike", "is_open"]
    readonly_fields = ["large_picture", "person", "duration", "alike", "is_open"]

    def get_queryset(self, request: HttpRequest) -> "QuerySet[Sighting]":
        shown = super().get_queryset(request).filter(parked_at=None)
        return with_open(shown).select_related("best__track")

    def get_search_results(
        self, request: HttpRequest, queryset: "QuerySet[Sighting]", search_term: str
    ) -> "tuple[QuerySet[Sighting], bool]":
        """By whom the people's own list would find: their indexes know names, no index here does."""
        term = search_term.strip()
        return (queryset.filter(identity__in=named(term)) if term else queryset), False

    @admin.display(description="picture")
    def picture_shown(self, sighting: Sighting) -> SafeString:
        return picture_of(sighting)

    @admin.display(description="picture")
    def large_picture(self, sighting: Sighting) -> SafeString:
        return picture_of(sighting, 360)

    @admin.display(ordering="identity__name")
    def person(self, sighting: Sighting) -> SafeString:
        return link_to(sighting.identity)

    @admin.display(ordering=F("last_seen") - F("first_seen"))
    def duration(self, sighting: Sighting) -> str:
        return str(timedelta(seconds=round((sighting.last_seen - sighting.first_seen).total_seconds())))

    @admin.display(description="similarity", ordering="similarity")
    def alike(self, sighting: Sighting) -> str:
        return likeness(sighting.similarity, sighting.best.track if sighting.best else None)

    @admin.display(description="still there")
    def is_open(self, sighting: Sighting) -> str:
        return "open" if getattr(sighting, "open", False) else NOTHING

    def delete_model(self, request: HttpRequest, obj: Sighting) -> None:
        erasure.delete_sighting(sighting=obj)

    def delete_queryset(self, request: HttpRequest, queryset: "QuerySet[Sighting]") -> None:
        for sighting in queryset.order_by("camera_id", "pk"):  # the order of the locks
            erasure.delete_sighting(sighting=sighting)


class WatchForm(forms.ModelForm[Watch]):
    """Whom to look for. The collection is the identity's."""

    class Meta:
        model = Watch
        fields = ["name", "identity", "all_cameras", "cameras", "min_similarity", "enabled"]
        help_texts: ClassVar = {"all_cameras": "Of the collection. Where cameras are chosen, only those count."}

    def clean(self) -> dict[str, Any] | None:
        asked = super().clean() or {}
        identity = asked.get("identity") or (self.instance.identity if self.instance.identity_id else None)
        if identity is not None:
            strange = [str(each) for each in asked.get("cameras", ()) if each.collection_id != identity.collection_id]
            if strange:
                self.add_error("cameras", f"Of another collection than {identity}: {', '.join(strange)}.")
        asked["all_cameras"] = bool(asked.get("all_cameras")) and not asked.get("cameras")
        if not asked["all_cameras"] and not asked.get("cameras") and asked.get("enabled"):
            self.add_error("cameras", "Choose some cameras, or all of them; or switch the watch off.")
        return asked


@admin.register(Watch)
class WatchAdmin(ModelAdmin[Watch]):
    form = WatchForm
    list_display = ["name", "person", "collection", "where", "min_similarity", "enabled", "created_at"]
    list_filter = ["collection", "enabled"]
    list_select_related = ["identity", "collection"]
    search_fields = ["name", "identity__name"]
    autocomplete_fields = ["identity"]
    filter_horizontal = ["cameras"]
    actions = ["switch_on", "switch_off"]

    def get_queryset(self, request: HttpRequest) -> "QuerySet[Watch]":
        return super().get_queryset(request).prefetch_related("cameras")

    @admin.display(description="cameras")
    def where(self, watch: Watch) -> str:
        return "all" if watch.all_cameras else ", ".join(str(camera) for camera in watch.cameras.all()) or "none"

    def get_readonly_fields(self, request: HttpRequest, obj: Watch | None = None) -> list[str]:
        return ["identity"] if obj else []  # its alerts are about this person

    @admin.display(ordering="identity__name")
    def person(self, watch: Watch) -> SafeString:
        return link_to(watch.identity)

    def save_model(self, request: HttpRequest, obj: Watch, form: Any, change: bool) -> None:
        obj.collection_id = obj.identity.collection_id
        super().save_model(request, obj, form, change)

    @admin.action(description="Switch the chosen watches on", permissions=["change"])
    def switch_on(self, request: HttpRequest, chosen: "QuerySet[Watch]") -> None:
        chosen.update(enabled=True)

    @admin.action(description="Switch the chosen watches off", permissions=["change"])
    def switch_off(self, request: HttpRequest, chosen: "QuerySet[Watch]") -> None:
        chosen.update(enabled=False)


@admin.register(Alert)
class AlertAdmin(MadeByFrames, KeysetAdmin[Alert]):
    list_display = ["picture_shown", "watch", "person", "camera", "captured_at", "alike", "acknowledged_at"]
    list_display_links = ["captured_at"]
    list_filter = ["watch", "camera", ("acknowledged_at", admin.EmptyFieldListFilter), "captured_at"]
    list_select_related = ["watch", "camera", "identity", "sighting", "detection"]
    search_fields = ["watch__name"]  # as above
    search_help_text = "A watch, or a person's name or external id"
    keyset_ordering = ("-created_at",)
    sortable_by = ()
    fields = ["large_picture", "watch", "person", "camera", "captured_at", "alike", "created_at", "acknowledged_at"]
    readonly_fields = ["large_picture", "person", "alike"]
    actions = ["acknowledge"]

    def get_search_results(
        self, request: HttpRequest, queryset: "QuerySet[Alert]", search_term: str
    ) -> "tuple[QuerySet[Alert], bool]":
        term = search_term.strip()
        of_watches = Q(watch__in=list(Watch.objects.filter(name__icontains=term).values_list("pk", flat=True)))
        return (queryset.filter(of_watches | Q(identity__in=named(term))) if term else queryset), False

    @admin.display(description="picture")
    def picture_shown(self, alert: Alert) -> SafeString:
        return picture_of_hit(alert)

    @admin.display(description="picture")
    def large_picture(self, alert: Alert) -> SafeString:
        return picture_of_hit(alert, 360)

    @admin.display(description="similarity", ordering="similarity")
    def alike(self, alert: Alert) -> str:
        return f"{alert.similarity:.2f}"

    @admin.display(ordering="identity__name")
    def person(self, alert: Alert) -> SafeString:
        return link_to(alert.identity)

    @admin.action(description="Acknowledge the chosen alerts", permissions=["acknowledge"])
    def acknowledge(self, request: HttpRequest, chosen: "QuerySet[Alert]") -> None:
        count = watches.acknowledge(alerts=chosen)
        messages.success(request, f"{count} alert(s) acknowledged.")

    def has_acknowledge_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("sightings.change_alert")
