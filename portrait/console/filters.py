"""Filters that several lists have."""

from typing import Any

from django.contrib.admin import SimpleListFilter
from django.db.models import QuerySet
from django.http import HttpRequest

from portrait.gallery.selectors import as_uuid


class PersonFilter(SimpleListFilter):
    """Reached from a person's page: no list of everybody."""

    title = "person"
    parameter_name = "person"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        wanted = request.GET.get("person")
        return [(wanted, "this person")] if wanted else []

    def has_output(self) -> bool:
        return True

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Any]") -> "QuerySet[Any]":
        wanted = as_uuid(self.value() or "")
        return queryset.filter(identities__contains=[wanted]) if wanted else queryset
