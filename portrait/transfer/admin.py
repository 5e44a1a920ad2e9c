"""Imports for people: where they stand. They are begun by the API or the command, and cancelled as their job."""

from typing import Any

from django.contrib import admin
from django.contrib.admin import SimpleListFilter
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from portrait.core.admin_base import KeysetAdmin
from portrait.gallery.selectors import as_uuid
from portrait.transfer import selectors
from portrait.transfer.models import UNDONE, Import, ImportFile
from portrait.transfer.services.imports import delete_imports


class _ReadOnly:
    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False


@admin.register(Import)
class ImportAdmin(_ReadOnly, KeysetAdmin[Import]):
    list_display = ["id", "collection", "state", "files", "created_at", "finished_at"]
    list_filter = ["collection"]
    list_select_related = ["collection", "job"]
    list_per_page = 20
    keyset_ordering = ("-created_at",)
    sortable_by = ()
    fields = ["collection", "state", "files", "one_by_one", "job", "root", "face", "force", "created_at", "finished_at"]
    readonly_fields = ["state", "files", "one_by_one"]

    def complete(self, rows: list[Import]) -> None:
        """How many files each has, of all in one query."""
        counts = selectors.counts_of([run.pk for run in rows])
        for run in rows:
            run.counts = counts[run.pk]  # type: ignore[attr-defined]

    @admin.display
    def state(self, run: Import) -> str:
        return selectors.progress_of(run, _counts_of(run)).state

    @admin.display
    def files(self, run: Import) -> str:
        told = [f"{count} {status}" for status, count in _counts_of(run).items() if count]
        return ", ".join(told) or "none yet"

    @admin.display(description="file by file")
    def one_by_one(self, run: Import) -> SafeString:
        address = reverse("admin:transfer_importfile_changelist", query={"run": run.pk})
        return format_html('<a href="{}">what became of each</a>', address)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Its files are not told one by one: they may be a hundred thousand."""
        told = [f"{run}, with what became of each file" for run in objs]
        needed = set() if self.has_delete_permission(request) else {"import"}
        return told, {"imports": len(told)}, needed, []

    def delete_model(self, request: HttpRequest, obj: Import) -> None:
        delete_imports(run_ids=[obj.pk])

    def delete_queryset(self, request: HttpRequest, queryset: "QuerySet[Import]") -> None:
        delete_imports(run_ids=list(queryset.values_list("pk", flat=True)))


def _counts_of(run: Import) -> dict[str, int]:
    """Those of `complete`; on a page of its own they are counted."""
    if not hasattr(run, "counts"):
        run.counts = selectors.counts_of([run.pk])[run.pk]  # type: ignore[attr-defined]
    return run.counts  # type: ignore[attr-defined, no-any-return]


class RunFilter(SimpleListFilter):
    """Reached from an import's page: no list of all imports."""

    title = "import"
    parameter_name = "run"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        wanted = request.GET.get("run")
        return [(wanted, "this import")] if wanted else []

    def has_output(self) -> bool:
        return True

    def queryset(self, request: HttpRequest, queryset: "QuerySet[ImportFile]") -> "QuerySet[ImportFile]":
        wanted = as_uuid(self.value() or "")
        return queryset.filter(run_id=wanted) if wanted else queryset


@admin.register(ImportFile)
class ImportFileAdmin(_ReadOnly, KeysetAdmin[ImportFile]):
    list_display = ["path", "status", "code", "message"]
    list_filter = ["status", RunFilter]
    list_per_page = 100
    keyset_ordering = ("id",)
    sortable_by = ()
    fields = ["run", "path", "status", "code", "message", "identity_id", "portrait_id", "sha256"]

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def get_queryset(self, request: HttpRequest) -> "QuerySet[ImportFile]":
        return super().get_queryset(request).exclude(status__in=UNDONE).defer("place", "claim")
