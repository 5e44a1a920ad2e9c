"""Suggestions for people, as a list; the queue in which they are answered is a page of its own."""

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from portrait.core.admin_base import ModelAdmin
from portrait.curation.models import Suggestion
from portrait.curation.selectors import reason_of


@admin.register(Suggestion)
class SuggestionAdmin(ModelAdmin[Suggestion]):
    list_display = ["kind", "state", "collection", "score", "reason", "people", "decided_by", "decided_at"]
    list_filter = ["state", "kind", "collection"]
    list_per_page = 50
    show_full_result_count = False

    def get_queryset(self, request: HttpRequest) -> "QuerySet[Suggestion]":
        return super().get_queryset(request).select_related("collection")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Suggestion | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Suggestion | None = None) -> bool:
        return False

    @admin.display
    def reason(self, suggestion: Suggestion) -> str:
        return reason_of(suggestion)

    @admin.display
    def people(self, suggestion: Suggestion) -> int:
        return len(suggestion.identities)
