"""The people: a grid of faces that is searched, filtered and worked on."""

from typing import Any

from django.contrib import admin
from django.contrib.admin import SimpleListFilter
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path

from portrait.console import bulk, faces, finding, leaving, person, photo_search
from portrait.core.admin_base import KeysetAdmin
from portrait.curation.models import Suggestion
from portrait.gallery.admin import IdentityAdmin
from portrait.gallery.models import Identity, Portrait
from portrait.gallery.selectors import as_uuid, with_newest_portraits, with_portrait_counts

FACES_SHOWN = 1
UPLOAD = ["photos", "largest"]
NOT_DELETED = Portrait.objects.filter(identity=OuterRef("pk"), deleted_at=None)


class PresenceFilter(SimpleListFilter):
    """Deleted and merged people are out of sight unless asked for."""

    title = "presence"
    parameter_name = "presence"
    CONDITIONS = {
        None: Q(deleted_at=None, merged_into=None),
        "hidden": Q(deleted_at=None, merged_into=None, hidden=True),
        "deleted": Q(deleted_at__isnull=False),
        "merged": Q(merged_into__isnull=False, deleted_at=None),
    }

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("hidden", "hidden"), ("deleted", "deleted, can be restored"), ("merged", "merged into others")]

    def choices(self, changelist: Any) -> Any:
        everybody, *others = super().choices(changelist)
        return [{**everybody, "display": "present"}, *others]

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Identity]") -> "QuerySet[Identity]":
        return queryset.filter(self.CONDITIONS.get(self.value(), self.CONDITIONS[None]))


class ConsentFilter(SimpleListFilter):
    title = "consent"
    parameter_name = "consent"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("none", "no note of it"), ("noted", "noted")]

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Identity]") -> "QuerySet[Identity]":
        if self.value() == "none":
            return queryset.filter(consent="")
        return queryset.exclude(consent="") if self.value() == "noted" else queryset


class QualityFilter(SimpleListFilter):
    title = "portraits"
    parameter_name = "portraits"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("weak", "some of poor quality"), ("none", "none at all")]

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Identity]") -> "QuerySet[Identity]":
        if self.value() == "weak":
            return finding.with_weak_portraits(queryset)
        return queryset.filter(~Exists(NOT_DELETED)) if self.value() == "none" else queryset


class QuestionFilter(SimpleListFilter):
    """Everybody whom a question of the review queue names. Reached from there: no list of questions."""

    title = "question"
    parameter_name = "question"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        wanted = request.GET.get("question")
        return [(wanted, "this question")] if wanted else []

    def has_output(self) -> bool:
        return True

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Identity]") -> "QuerySet[Identity]":
        wanted = as_uuid(self.value() or "")
        if wanted is None:
            return queryset
        named = Suggestion.objects.filter(pk=wanted).values_list("identities", flat=True).first()
        return queryset.filter(pk__in=named or [])


def _is_present(obj: Identity | None) -> bool:
    return obj is None or (obj.deleted_at is None and obj.merged_into_id is None)


admin.site.unregister(Identity)


@admin.register(Identity)
class PeopleAdmin(IdentityAdmin, KeysetAdmin[Identity]):
    """The grid, a person's page, and what is done with many at once."""

    list_display = ["name", "created_at"]
    list_display_links = []
    list_filter = [PresenceFilter, "kind", ConsentFilter, QualityFilter, "collection", QuestionFilter]
    list_per_page = 48
    sortable_by = ("name", "created_at")
    keyset_ordering = ("-created_at",)
    search_fields = ["name"]  # that there is a field to search by; `get_search_results` knows how
    search_help_text = "Name or external id"
    change_list_template = "console/people.html"
    change_form_outer_before_template = "console/person.html"
    inlines = []
    actions = bulk.ACTIONS

    def get_fieldsets(self, request: HttpRequest, obj: Identity | None = None) -> Any:
        """What is done most stands first: portraits are added to those who are there, names given to the new."""
        fields = [name for name in self.get_fields(request, obj) if name not in UPLOAD]
        own, upload = (None, {"fields": fields}), ("Add portraits", {"fields": UPLOAD})
        if not self._may_be_changed(request, obj):
            return [own]
        return [own, upload] if obj is None else [upload, ("Details", {"fields": fields})]

    def _may_be_changed(self, request: HttpRequest, obj: Identity | None) -> bool:
        return self.has_add_permission(request) if obj is None else self.has_change_permission(request, obj)

    def has_change_permission(self, request: HttpRequest, obj: Identity | None = None) -> bool:
        """Who is deleted, or a part of somebody else, is looked at and restored, but not edited."""
        return _is_present(obj) and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Identity | None = None) -> bool:
        return _is_present(obj) and super().has_delete_permission(request, obj)

    def get_queryset(self, request: HttpRequest) -> "QuerySet[Identity]":
        people = with_portrait_counts(super(IdentityAdmin, self).get_queryset(request))
        return with_newest_portraits(people.select_related("merged_into"), FACES_SHOWN)

    def get_search_results(
        self, request: HttpRequest, queryset: "QuerySet[Identity]", search_term: str
    ) -> "tuple[QuerySet[Identity], bool]":
        if request.resolver_match is not None and request.resolver_match.url_name == "autocomplete":
            queryset = queryset.filter(PresenceFilter.CONDITIONS[None])
        return (finding.by_words(queryset, search_term) if search_term.strip() else queryset), False

    def complete(self, rows: list[Identity]) -> None:
        finding.attach_last_seen(rows)

    def get_urls(self) -> list[URLPattern]:
        pages = [
            *faces.pages(self),
            *photo_search.pages(self),
            *bulk.pages(self),
            *person.pages(self),
            *leaving.pages(self),
        ]
        wrapped = [path(route, self.admin_site.admin_view(view), name=name) for route, view, name in pages]
        return [*wrapped, *super().get_urls()]

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        found = kwargs.get("obj")
        if found is not None:
            context.update(person.context_of(request, found))
        return super().render_change_form(request, context, *args, **kwargs)
