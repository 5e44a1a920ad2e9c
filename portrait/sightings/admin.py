"""Sightings, the watchlist and its alerts for people."""

from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from portrait.cameras.admin import CappedPaginator
from portrait.gallery.models import Identity
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


def link_to(identity: Identity) -> SafeString:
    return format_html('<a href="{}">{}</a>', reverse("admin:gallery_identity_change", args=[identity.pk]), identity)


class MadeByFrames:
    """Rows that nobody adds or changes by hand."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Sighting)
class SightingAdmin(MadeByFrames, admin.ModelAdmin[Sighting]):
    """Deleting one takes it back, as in the API."""

    list_display = ["picture_shown", "person", "camera", "first_seen", "last_seen", "hits", "is_open"]
    list_display_links = ["picture_shown", "first_seen"]
    list_filter = ["collection", "camera", "identity__kind", "first_seen"]
    search_fields = ["identity__name", "identity__external_id"]
    list_per_page = 50
    show_full_result_count = False
    paginator = CappedPaginator
    fields = ["large_picture", "person", "camera", "first_seen", "last_seen", "hits", "similarity", "is_open"]
    readonly_fields = ["large_picture", "person", "is_open"]

    def get_queryset(self, request: HttpRequest) -> "QuerySet[Sighting]":
        return with_open(super().get_queryset(request))

    @admin.display(description="picture")
    def picture_shown(self, sighting: Sighting) -> SafeString:
        return picture_of(sighting)

    @admin.display(description="picture")
    def large_picture(self, sighting: Sighting) -> SafeString:
        return picture_of(sighting, 360)

    @admin.display(ordering="identity__name")
    def person(self, sighting: Sighting) -> SafeString:
        return link_to(sighting.identity)

    @admin.display(description="still there", boolean=True)
    def is_open(self, sighting: Sighting) -> bool:
        return bool(getattr(sighting, "open", False))

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
class WatchAdmin(admin.ModelAdmin[Watch]):
    form = WatchForm
    list_display = ["name", "person", "collection", "min_similarity", "enabled", "created_at"]
    list_filter = ["collection", "enabled"]
    list_select_related = ["identity", "collection"]
    search_fields = ["name", "identity__name"]
    autocomplete_fields = ["identity"]
    filter_horizontal = ["cameras"]
    actions = ["switch_on", "switch_off"]

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
class AlertAdmin(MadeByFrames, admin.ModelAdmin[Alert]):
    list_display = ["picture_shown", "watch", "person", "camera", "captured_at", "similarity", "acknowledged_at"]
    list_display_links = ["captured_at"]
    list_filter = ["watch", "camera", ("acknowledged_at", admin.EmptyFieldListFilter), "captured_at"]
    list_select_related = ["watch", "camera", "identity", "sighting"]
    search_fields = ["watch__name", "identity__name"]
    show_full_result_count = False
    paginator = CappedPaginator
    fields = ["watch", "person", "camera", "captured_at", "similarity", "created_at", "acknowledged_at"]
    readonly_fields = ["person"]
    actions = ["acknowledge"]

    @admin.display(description="picture")
    def picture_shown(self, alert: Alert) -> SafeString:
        return picture_of(alert.sighting) if alert.sighting else SafeString("–")

    @admin.display(ordering="identity__name")
    def person(self, alert: Alert) -> SafeString:
        return link_to(alert.identity)

    @admin.action(description="Acknowledge the chosen alerts", permissions=["acknowledge"])
    def acknowledge(self, request: HttpRequest, chosen: "QuerySet[Alert]") -> None:
        count = watches.acknowledge(alerts=chosen)
        messages.success(request, f"{count} alert(s) acknowledged.")

    def has_acknowledge_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("sightings.change_alert")
