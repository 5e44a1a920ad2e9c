"""The audit log for people: read only, for superusers too."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from unfold.admin import ModelAdmin

from portrait.audit.models import Action, AuditEntry
from portrait.audit.services import record
from portrait.core.models import Scope
from portrait.core.principal import Principal


def principal_of_user(request: HttpRequest) -> Principal:
    """A signed-in user as the audit log knows a caller."""
    return Principal(request.user.get_username(), Scope.READ, None, f"user-{request.user.pk}")


@admin.register(AuditEntry)
class AuditEntryAdmin(ModelAdmin):
    list_display = ["id", "at", "actor", "action", "collection_id", "details", "probe_sha256"]
    list_filter = ["action", "actor_kind", "at"]
    search_fields = ["=actor", "=actor_id", "=probe_sha256", "=request_id"]
    show_full_result_count = False
    list_per_page = 50
    exclude = ["mac"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: AuditEntry | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: AuditEntry | None = None) -> bool:
        return False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        answer: HttpResponse = super().changelist_view(request, extra_context)
        record(
            principal=principal_of_user(request),
            action=Action.READ,
            collection_id=None,
            details={"filters": sorted(request.GET)},
        )
        return answer
