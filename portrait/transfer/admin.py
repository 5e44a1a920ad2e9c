"""Imports for people: where they stand. They are begun by the API or the command, and cancelled as their job."""

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from portrait.core.admin_base import ModelAdmin
from portrait.transfer import selectors
from portrait.transfer.models import UNDONE, Import, ImportFile
from portrait.transfer.services.imports import delete_imports


class _ReadOnly:
    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False


@admin.register(Import)
class ImportAdmin(_ReadOnly, ModelAdmin[Import]):
    list_display = ["id", "collection", "state", "files", "created_at", "finished_at"]
    list_filter = ["collection"]
    list_select_related = ["collection", "job"]
    readonly_fields = ["state", "files"]

    @admin.display
    def state(self, run: Import) -> str:
        return selectors.progress_of(run).state

    @admin.display
    def files(self, run: Import) -> str:
        counts = selectors.counts_of([run.pk])[run.pk]
        told = [f"{count} {status}" for status, count in counts.items() if count]
        return ", ".join(told) or "none yet"

    def delete_model(self, request: HttpRequest, obj: Import) -> None:
        delete_imports(run_ids=[obj.pk])

    def delete_queryset(self, request: HttpRequest, queryset: "QuerySet[Import]") -> None:
        delete_imports(run_ids=list(queryset.values_list("pk", flat=True)))


@admin.register(ImportFile)
class ImportFileAdmin(_ReadOnly, ModelAdmin[ImportFile]):
    list_display = ["path", "status", "code", "message"]
    list_filter = ["status", "run"]
    list_per_page = 100
    show_full_result_count = False
    fields = ["run", "path", "status", "code", "message", "identity_id", "portrait_id", "sha256"]

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def get_queryset(self, request: HttpRequest) -> "QuerySet[ImportFile]":
        return super().get_queryset(request).exclude(status__in=UNDONE).defer("place", "claim")
