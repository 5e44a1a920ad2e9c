"""The audit log for people: read only, for superusers too."""

from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse

from portrait.audit.models import Action, AuditEntry
from portrait.audit.services import record
from portrait.core.admin_base import KeysetAdmin
from portrait.core.models import Scope
from portrait.core.principal import Principal


def principal_of_user(request: HttpRequest) -> Principal:
    """A signed-in user as the audit log knows a caller."""
    return Principal(request.user.get_username(), Scope.READ, None, f"user-{request.user.pk}")


@admin.register(AuditEntry)
class AuditEntryAdmin(KeysetAdmin[AuditEntry]):
    list_display = ["id", "at", "actor", "action", "collection_id", "details", "probe_sha256"]
    list_filter = ["action", "actor_kind", "at"]
    search_fields = ["actor"]  # that there is a field to search by; `get_search_results` knows how
    search_help_text = "A caller's name or id, the SHA-256 of a picture, or a request's id: the whole of it"
    keyset_ordering = ("-id",)
    sortable_by = ()
    actions = None
    exclude = ["mac"]

    def get_search_results(
        self, request: HttpRequest, queryset: "QuerySet[AuditEntry]", search_term: str
    ) -> "tuple[QuerySet[AuditEntry], bool]":
        """Each of these columns has an index by what it is as a whole."""
        term = search_term.strip()
        if not term:
            return queryset, False
        found = Q(actor=term) | Q(actor_id=term) | Q(probe_sha256=term.lower()) | Q(request_id=term)
        return queryset.filter(found), False

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
