"""Re-indexes in the admin: begin one, look at it, switch, abandon, roll back, retire."""

from collections.abc import Callable
from functools import partial
from typing import Any

from django.contrib import admin, messages
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.admin import ModelAdmin

from portrait.core.errors import PortraitError
from portrait.reindex import selectors, tasks
from portrait.reindex.models import Reindex
from portrait.reindex.services import ending, retiring, starting, switching


@admin.register(Reindex)
class ReindexAdmin(ModelAdmin):
    """A new row begins a re-index; nothing is edited afterwards."""

    list_display = ["collection", "from_model", "to_model", "state", "progress", "created_at"]
    list_select_related = ["collection", "from_model", "to_model"]
    list_filter = ["state"]
    actions = ["switch", "abandon", "roll_back", "retire"]
    asked = ["collection", "to_model", "from_pictures", "switch_itself"]
    shown = [*asked, "from_model", "state", "progress", "job_id", "error", "report", "from_threshold", "to_threshold"]
    times = ["created_at", "built_at", "switched_at", "rolled_back_at", "retired_at"]

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return self.asked if obj is None else [*self.shown, *self.times]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return [] if obj is None else [*self.shown, *self.times]

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return obj is None and bool(super().has_change_permission(request))

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_queryset(self, request: HttpRequest) -> "QuerySet[Reindex]":
        return selectors.with_progress(super().get_queryset(request))

    @admin.display(description="progress")
    def progress(self, obj: Reindex) -> str:
        told = selectors.progress_of(obj)
        return f"{told.done} of {told.rows}" + (f", {told.per_s} a second" if told.per_s else "")

    def save_model(self, request: HttpRequest, obj: Reindex, form: Any, change: bool) -> None:
        """Refusals are told before (`clean` of no form knows them): here they become a message."""
        try:
            made = starting.begin(
                collection=obj.collection,
                model=obj.to_model,
                from_pictures=obj.from_pictures,
                switch_itself=obj.switch_itself,
            )
        except PortraitError as error:
            self.message_user(request, error.message, messages.ERROR)
            return
        obj.pk, obj._state.adding = made.pk, False
        obj.refresh_from_db()
        transaction.on_commit(partial(self._plan, request, obj))

    def _plan(self, request: HttpRequest, obj: Reindex) -> None:
        """After the commit of the form, so that nobody who stores vectors waits for it."""
        try:
            starting.make_plan(obj)
        except PortraitError as error:
            self.message_user(request, error.message, messages.ERROR)
        else:
            tasks.enqueue(obj)

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        return super().log_addition(request, obj, message) if not obj._state.adding else None

    def response_add(self, request: HttpRequest, obj: Reindex, post_url_continue: str | None = None) -> Any:
        if obj._state.adding:  # it was refused
            return self.response_post_save_add(request, obj)
        return super().response_add(request, obj, post_url_continue)

    @admin.action(description="Switch to the new vectors (of what is ready)", permissions=["change"])
    def switch(self, request: HttpRequest, queryset: "QuerySet[Reindex]") -> None:
        self._each(request, queryset, switching.switch_by_hand, "is searched by the new vectors now")

    @admin.action(description="Abandon (what is ready): not to be switched", permissions=["change"])
    def abandon(self, request: HttpRequest, queryset: "QuerySet[Reindex]") -> None:
        self._each(request, queryset, ending.abandon, "stays with the old vectors")

    @admin.action(description="Roll back to the old vectors", permissions=["change"])
    def roll_back(self, request: HttpRequest, queryset: "QuerySet[Reindex]") -> None:
        self._each(request, queryset, switching.roll_back, "is searched by the old vectors again")

    @admin.action(description="Retire: remove the vectors that are not used any more", permissions=["change"])
    def retire(self, request: HttpRequest, queryset: "QuerySet[Reindex]") -> None:
        def begin(reindex: Reindex) -> None:
            tasks.enqueue_on_commit(retiring.retire(reindex=reindex))

        self._each(request, queryset, begin, "loses the vectors that are not used")

    def _each(self, request: HttpRequest, rows: "QuerySet[Reindex]", do: Callable[[Reindex], Any], done: str) -> None:
        ending.settle(wait="1s")
        for reindex in rows.select_related("collection", "from_model", "to_model"):
            try:
                do(reindex)
            except PortraitError as error:
                self.message_user(request, f"{reindex.collection}: {error.message}", messages.ERROR)
            else:
                self.message_user(request, f"{reindex.collection} {done}.")
