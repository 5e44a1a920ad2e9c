"""What the pages of the admin are made of: unfold's look, and lists that stay fast however long they are."""

from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from django.contrib.admin import ShowFacets
from django.core.exceptions import ImproperlyConfigured
from django.db import models
from django.http import HttpRequest

from portrait.core.keyset import CappedPaginator, Counted, Page, counted, keys_of, page_of

if TYPE_CHECKING:  # unfold has no types; its classes are Django's with another look
    from django.contrib.admin import ModelAdmin as BaseAdmin
    from django.contrib.admin import StackedInline, TabularInline
    from django.contrib.admin.views.main import ChangeList
else:
    from unfold.admin import ModelAdmin as BaseAdmin
    from unfold.admin import StackedInline, TabularInline
    from unfold.views import ChangeList

__all__ = ["KeysetAdmin", "KeysetChangeList", "ModelAdmin", "StackedInline", "TabularInline"]

AFTER, BEFORE = "_after", "_before"
Row = TypeVar("Row", bound=models.Model)


class _Numbered:
    """A row as the admin's own log (`django_admin_log`) may know it: by its id, not by what it is called."""

    def __init__(self, row: models.Model) -> None:
        self.pk, self._meta = row.pk, row._meta

    def __str__(self) -> str:
        return f"{self._meta.verbose_name} {self.pk}"


class ModelAdmin(BaseAdmin[Row]):
    """Unfold's, which logs no names: rows are called after people, and that log outlives whoever is erased."""

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        return super().log_addition(request, _Numbered(obj), message)  # type: ignore[arg-type]

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        return super().log_change(request, _Numbered(obj), message)  # type: ignore[arg-type]

    def log_deletions(self, request: HttpRequest, queryset: Any) -> Any:
        return super().log_deletions(request, [_Numbered(row) for row in queryset])  # type: ignore[arg-type]

    def construct_change_message(self, request: HttpRequest, form: Any, formsets: Any, add: bool = False) -> Any:
        message: Any = super().construct_change_message(request, form, formsets, add)
        for part in message:
            for told in part.values():
                if "object" in told:  # a row of an inline
                    told["object"] = ""
        return message


class KeysetChangeList(ChangeList):
    """A list in pages by keyset (`core.keyset`): "next" and "previous" instead of numbers, a count that may be an
    estimate. An order that no page by keyset can be made of is answered with the list's own."""

    page: Page
    counted: Counted
    model_admin: "KeysetAdmin[Any]"

    def get_filters(self, request: HttpRequest) -> Any:
        for name in (AFTER, BEFORE):  # no filters, and no part of the links to other orders and filters
            self.filter_params.pop(name, None)
            self.params.pop(name, None)
        return super().get_filters(request)

    def get_ordering(self, request: HttpRequest, queryset: Any) -> list[Any]:
        keys = keys_of(self.model, super().get_ordering(request, queryset))
        keys = keys or keys_of(self.model, [*self.model_admin.keyset_ordering, "-pk"])
        if keys is None:
            raise ImproperlyConfigured(f"{self.model_admin}: keyset_ordering names columns that cannot be paged by")
        self.keys = keys
        return [key.ordering for key in keys]

    def get_results(self, request: HttpRequest) -> None:
        self.paginator = self.model_admin.get_paginator(request, self.queryset, self.list_per_page)
        after, before = (str(request.GET.get(name, "")) for name in (AFTER, BEFORE))
        self.page = page_of(self.queryset, self.keys, self.list_per_page, after=after, before=before)
        whole = self.page.previous is None and self.page.next is None
        self.counted = Counted(len(self.page.rows)) if whole else counted(self.queryset)
        self.result_list = self.page.rows
        self.result_count = self.counted.rows
        self.full_result_count = self.result_count  # nothing to tell beside the pager
        self.show_full_result_count = False
        self.show_admin_actions = bool(self.page.rows)
        self.can_show_all = self.multi_page = False
        self.model_admin.complete(self.page.rows)

    @property
    def next_url(self) -> str | None:
        return None if self.page.next is None else self.get_query_string({AFTER: self.page.next})

    @property
    def previous_url(self) -> str | None:
        if self.page.previous is None:
            return None
        return self.get_query_string({BEFORE: self.page.previous} if self.page.previous else {})

    @property
    def first_url(self) -> str:
        return self.get_query_string()


class KeysetAdmin(ModelAdmin[Row]):
    """For tables that grow without end. `keyset_ordering`: not nullable columns that an index has in this order, the
    primary key behind them; `sortable_by` names which others a reader may choose."""

    keyset_ordering: ClassVar[tuple[str, ...]] = ()
    list_per_page = 50
    show_full_result_count = False
    show_facets = ShowFacets.NEVER  # each would count the whole table
    paginator = CappedPaginator
    list_disable_select_all = True  # what is not on the page is not chosen unseen

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[KeysetChangeList]:
        return KeysetChangeList

    def complete(self, rows: list[Row]) -> None:
        """Called with the rows of a page: the place for one more query about all of them."""
