"""The journal: who changed what, and the button that takes it back."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin import SimpleListFilter
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect
from django.urls import URLPattern, path, reverse

from portrait.console.acting import back_to, names_people, told
from portrait.console.filters import PersonFilter
from portrait.console.telling import CHANGE, SENTENCES, rights_to_undo, tell
from portrait.core.admin_base import KeysetAdmin
from portrait.gallery.models import Change
from portrait.gallery.services import journal


class ActionFilter(SimpleListFilter):
    title = "what was done"
    parameter_name = "action"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [*SENTENCES.items(), ("undo", "undone"), ("redo", "done again")]

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Change]") -> "QuerySet[Change]":
        return queryset.filter(action=self.value()) if self.value() else queryset


@admin.register(Change)
class JournalAdmin(KeysetAdmin[Change]):
    """Read and taken back, never edited."""

    list_display = ["id", "at", "actor"]
    list_filter = [ActionFilter, PersonFilter, "collection"]
    list_select_related = ["undone_by", "collection"]
    sortable_by = ()
    keyset_ordering = ("-id",)
    change_list_template = "console/own_list.html"
    list_after_template = "console/journal_list.html"
    fields = ["id", "collection", "action", "actor", "at", "details", "undoes"]
    actions = None

    def complete(self, rows: list[Change]) -> None:
        for row, each in zip(rows, tell(rows), strict=True):
            row.told = each  # type: ignore[attr-defined]

    def get_urls(self) -> list[URLPattern]:
        undo = path("<int:pk>/undo/", self.admin_site.admin_view(self.undo), name="gallery_change_undo")
        return [undo, *super().get_urls()]

    def undo(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Take a change back. By POST alone."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not request.user.has_perm(CHANGE):
            raise PermissionDenied
        change = Change.objects.filter(pk=pk).first()
        if change is None:
            raise Http404("There is no such change.")
        if not request.user.has_perms(rights_to_undo(change)):
            raise PermissionDenied
        with told(request):
            done = journal.undo(change=change, actor=journal.actor_of_user(request.user))
            messages.success(request, f"Change #{pk} is {'done again' if done.action == 'redo' else 'undone'}.")
        return redirect(back_to(request, reverse("admin:gallery_change_changelist")))

    def has_view_permission(self, request: HttpRequest, obj: Change | None = None) -> bool:
        return names_people(request) and super().has_view_permission(request, obj)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Change | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Change | None = None) -> bool:
        return False
