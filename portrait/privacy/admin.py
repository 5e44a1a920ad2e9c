"""Rules of retention, their reports, exports and proofs, for people."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from unfold.admin import ModelAdmin

from portrait.audit.admin import principal_of_user
from portrait.privacy.models import ErasureProof, RetentionReport, RetentionRule, SubjectExport
from portrait.privacy.services.rules import remove_rule, save_rule


class ReadOnly(ModelAdmin):
    """Looked at only, by superusers too."""

    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(RetentionRule)
class RetentionRuleAdmin(ModelAdmin):
    list_display = ["purpose", "collection", "days", "updated_at"]
    list_filter = ["purpose"]
    list_select_related = ["collection"]

    def save_model(self, request: HttpRequest, obj: RetentionRule, form: Any, change: bool) -> None:
        save_rule(rule=obj, principal=principal_of_user(request))

    def delete_model(self, request: HttpRequest, obj: RetentionRule) -> None:
        remove_rule(rule=obj, principal=principal_of_user(request))

    def delete_queryset(self, request: HttpRequest, queryset: "QuerySet[RetentionRule]") -> None:
        for rule in queryset:
            self.delete_model(request, rule)


@admin.register(RetentionReport)
class RetentionReportAdmin(ReadOnly):
    list_display = ["started_at", "ended_at", "removed"]


@admin.register(ErasureProof)
class ErasureProofAdmin(ReadOnly):
    list_display = ["id", "reference", "requested_by", "created_at", "finished_at"]
    search_fields = ["=reference", "=id"]
    exclude = ["people", "paths"]


@admin.register(SubjectExport)
class SubjectExportAdmin(ReadOnly):
    list_display = ["id", "collection", "requested_by", "created_at", "ready_at", "expires_at", "downloads"]
    list_select_related = ["collection"]
    exclude = ["file", "identity"]
    readonly_fields = ["download"]

    @admin.display(description="the zip")
    def download(self, export: SubjectExport) -> str:
        """For superusers, as the API has it."""
        if not export.file:
            return "It is gone: it was kept for a day." if export.ready_at else "A job makes it: load this page again."
        return format_html('<a href="/api/v1/subject-exports/{}/file">Download</a>', export.pk)
