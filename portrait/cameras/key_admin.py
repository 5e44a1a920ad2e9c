"""API keys in the admin. Here, as it is the lowest place that knows all that a key may be bound to."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest

from portrait.cameras.models import Camera
from portrait.cameras.services.cameras import collections_of
from portrait.core.admin_base import ModelAdmin
from portrait.core.models import ApiKey, Scope
from portrait.core.services import create_api_key, revoke_api_keys
from portrait.gallery.models import Collection

SEES_PEOPLE = ("gallery.view_identity", "gallery.view_portrait")
"""As `core.auth` asks of a session before it may read the API."""


class ApiKeyForm(forms.ModelForm[ApiKey]):
    """A key, bound to all collections or to some, or to single cameras."""

    collections = forms.ModelMultipleChoiceField(
        Collection.objects.all(), required=False, help_text="None chosen: every collection."
    )
    cameras = forms.ModelMultipleChoiceField(
        Camera.objects.select_related("collection"),
        required=False,
        help_text="Chosen: the key opens what belongs to these cameras, and nothing else. To push frames it needs the "
        "scope enrol.",
    )

    class Meta:
        model = ApiKey
        fields = ["name", "scope"]

    def clean(self) -> dict[str, Any] | None:
        """A camera is of one collection: a key for others would open nothing."""
        chosen = {collection.pk for collection in self.cleaned_data.get("collections", [])}
        cameras = self.cleaned_data.get("cameras", [])
        if chosen and any(camera.collection_id not in chosen for camera in cameras):
            self.add_error("cameras", "Some of these cameras are of other collections than those chosen.")
        return super().clean()


@admin.register(ApiKey)
class ApiKeyAdmin(ModelAdmin[ApiKey]):
    """Keys are made and revoked, never changed or shown."""

    form = ApiKeyForm
    list_display = ["name", "prefix", "scope", "bound_to", "cameras", "created_at", "last_used_at", "revoked_at"]
    list_filter = ["scope"]
    search_fields = ["name", "prefix"]
    actions = ["revoke"]

    @admin.display(description="collections")
    def bound_to(self, key: ApiKey) -> str:
        return "all" if key.collection_ids is None else str(len(key.collection_ids))

    @admin.display
    def cameras(self, key: ApiKey) -> str:
        return "all" if key.camera_ids is None else f"only {len(key.camera_ids)}"

    def has_change_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        return obj is None and super().has_change_permission(request, obj)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """A key opens every face and name to whoever has it: nobody makes one who may not see them."""
        return super().has_add_permission(request) and request.user.has_perms(SEES_PEOPLE)

    def formfield_for_choice_field(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "scope" and not request.user.is_superuser:  # nobody hands out more than he has
            kwargs["choices"] = [choice for choice in Scope.choices if choice[0] == Scope.READ]
        return super().formfield_for_choice_field(db_field, request, **kwargs)

    def save_model(self, request: HttpRequest, obj: ApiKey, form: Any, change: bool) -> None:
        cameras = list(form.cleaned_data["cameras"])
        collections = [collection.pk for collection in form.cleaned_data["collections"]] or collections_of(cameras)
        row, key = create_api_key(
            name=obj.name,
            scope=form.cleaned_data["scope"],
            collection_ids=collections or None,
            camera_ids=[camera.pk for camera in cameras] or None,
        )
        obj.pk = row.pk
        obj.refresh_from_db()
        messages.warning(request, f"The key is {key} – copy it now, it is not shown again.")

    @admin.action(description="Revoke the chosen keys", permissions=["change"])
    def revoke(self, request: HttpRequest, keys: "QuerySet[ApiKey]") -> None:
        count = revoke_api_keys(ids=[key.id for key in keys])
        messages.success(request, f"{count} key(s) revoked.")
