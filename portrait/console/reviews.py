"""The review queue: what is suggested, faces side by side, answered by buttons or keys."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin import SimpleListFilter
from django.core.exceptions import PermissionDenied
from django.db.models import Prefetch, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect
from django.urls import URLPattern, path, reverse

from portrait.console.acting import back_to, names_people, require, told
from portrait.console.bulk import CHANGE
from portrait.console.filters import PersonFilter
from portrait.console.telling import rights_to_undo
from portrait.core.admin_base import KeysetAdmin
from portrait.core.errors import ConflictError
from portrait.curation.actions import Action, proposed_action
from portrait.curation.models import OF_PEOPLE, Kind, State, Suggestion
from portrait.curation.selectors import reason_of
from portrait.curation.services import answers
from portrait.gallery.models import Change, Identity, Portrait
from portrait.gallery.selectors import as_uuid
from portrait.gallery.services.journal import actor_of_user

FACES_SHOWN = 3
PEOPLE_SHOWN = 8
LAST = "review_last"
"""In the session: the suggestion that was answered last, whose answer a button takes back."""

YES = {
    Action.MERGE: "Same person",
    Action.MOVE: "Move it there",
    Action.SPLIT: "Not this person",
    Action.DELETE: "Delete the portrait",
    Action.NOTE: "Seen",
}
NO = {Kind.SAME_PERSON: "Two people", Kind.DUPLICATE: "Two people", Kind.CLUSTER: "Not one person"}


@dataclass(frozen=True, slots=True)
class Subject:
    """A person of a question, with some faces."""

    person: Identity
    faces: list[Portrait]


@dataclass(frozen=True, slots=True)
class Card:
    """A question as it is shown."""

    reason: str
    subjects: list[Subject]
    more: int
    portraits: list[Portrait]
    of_people: bool
    yes: str
    no: str
    warning: str
    mark: str


class KindFilter(SimpleListFilter):
    title = "question"
    parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(str(value), str(label)) for value, label in Kind.choices]

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Suggestion]") -> "QuerySet[Suggestion]":
        return queryset.filter(kind=self.value()) if self.value() else queryset


class StateFilter(SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(str(value), str(label)) for value, label in State.choices if value != State.OPEN]

    def choices(self, changelist: Any) -> Any:
        everything, *others = super().choices(changelist)
        return [{**everything, "display": "open"}, *others]

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Suggestion]") -> "QuerySet[Suggestion]":
        return queryset.filter(state=self.value() or State.OPEN)


if admin.site.is_registered(Suggestion):
    admin.site.unregister(Suggestion)


@admin.register(Suggestion)
class ReviewAdmin(KeysetAdmin[Suggestion]):
    """Questions, the surest first."""

    list_display = ["kind", "score"]
    list_filter = [KindFilter, StateFilter, PersonFilter, "collection"]
    list_per_page = 10
    sortable_by = ()
    keyset_ordering = ("-score",)
    change_list_template = "console/own_list.html"
    list_after_template = "console/review_list.html"
    actions = None

    def complete(self, rows: list[Suggestion]) -> None:
        people, portraits = _people_of(rows), _portraits_of(rows)
        for row in rows:
            row.card = _card(row, people, portraits)  # type: ignore[attr-defined]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        key = as_uuid(str(request.session.get(LAST, "")))
        last = Suggestion.objects.filter(pk=key).first() if key else None
        shown = {"last": last, "may_answer": may_answer(request), **(extra_context or {})}
        return super().changelist_view(request, shown)

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        own = [
            path("<uuid:pk>/answer/", wrap(self.answer), name="curation_suggestion_answer"),
            path("<uuid:pk>/undo/", wrap(self.undo), name="curation_suggestion_undo"),
        ]
        return [*own, *super().get_urls()]

    def answer(self, request: HttpRequest, pk: UUID) -> HttpResponse:
        """Yes, no, or a name. By POST alone."""

        def do(suggestion: Suggestion) -> None:
            _answer(request, suggestion)
            request.session[LAST] = str(suggestion.pk)

        return self._on(request, pk, do)

    def undo(self, request: HttpRequest, pk: UUID) -> HttpResponse:
        """Take an answer back. By POST alone."""

        def do(suggestion: Suggestion) -> None:
            for change in Change.objects.filter(pk__in=suggestion.changes):
                require(request, *rights_to_undo(change))
            answers.undo(suggestion=suggestion, actor=actor_of_user(request.user))
            request.session.pop(LAST, None)
            messages.success(request, "The answer is taken back; the question is open again.")

        return self._on(request, pk, do)

    def _on(self, request: HttpRequest, pk: UUID, do: Callable[[Suggestion], None]) -> HttpResponse:
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not may_answer(request):
            raise PermissionDenied
        suggestion = Suggestion.objects.filter(pk=pk).first()
        if suggestion is None:
            raise Http404("There is no such question.")
        with told(request):
            do(suggestion)
        return redirect(back_to(request, reverse("admin:curation_suggestion_changelist")))

    def has_view_permission(self, request: HttpRequest, obj: Suggestion | None = None) -> bool:
        return names_people(request) and super().has_view_permission(request, obj)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Suggestion | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Suggestion | None = None) -> bool:
        return False


def may_answer(request: HttpRequest) -> bool:
    """An answer is an edit of people."""
    return bool(request.user.has_perms(["curation.change_suggestion", CHANGE]))


def _answer(request: HttpRequest, suggestion: Suggestion) -> None:
    actor, said = actor_of_user(request.user), request.POST.get("answer", "")
    _require_as_shown(request, suggestion)
    if said == "yes":
        if proposed_action(suggestion) == Action.DELETE:
            _require_delete(request)
        answers.confirm(suggestion=suggestion, actor=actor)
    elif said == "no":
        answers.reject(suggestion=suggestion, actor=actor)
    elif said == "name":
        name = request.POST.get("name", "").strip()
        if not 0 < len(name) <= 200:
            raise ConflictError("Type a name of 1 to 200 characters first.")
        answers.name(suggestion=suggestion, name=name, actor=actor)
    else:
        raise ConflictError("There is no such answer.")


def mark_of(suggestion: Suggestion) -> str:
    """Of whom it asks: others by now, another mark."""
    return hashlib.sha256(repr(suggestion.identities).encode()).hexdigest()[:16]


def _require_as_shown(request: HttpRequest, suggestion: Suggestion) -> None:
    """Nobody merges others than the page showed, nor moves a portrait to somebody else."""
    mark = mark_of(suggestion)
    if request.POST.get("people", mark) != mark:
        raise ConflictError("Other people are in question by now: look again, and answer then.")


def _require_delete(request: HttpRequest) -> None:
    if not request.user.has_perm("gallery.delete_portrait"):
        raise PermissionDenied


def _people_of(rows: list[Suggestion]) -> dict[UUID, Subject]:
    """Everybody on a page with their newest faces: two queries."""
    wanted = {key for row in rows for key in row.identities[:PEOPLE_SHOWN]}
    newest = Portrait.objects.filter(deleted_at=None).order_by("-created_at")[:FACES_SHOWN]
    people = Identity.objects.filter(pk__in=wanted).prefetch_related(Prefetch("portraits", newest, to_attr="newest"))
    return {person.pk: Subject(person, list(person.newest)) for person in people}


def _portraits_of(rows: list[Suggestion]) -> dict[UUID, Portrait]:
    return Portrait.objects.in_bulk([key for row in rows for key in row.portraits[:FACES_SHOWN]])


def _yes(row: Suggestion) -> str:
    number = len(row.identities)
    return f"Same person: merge all {number:,}" if row.kind in OF_PEOPLE and number > 2 else YES[proposed_action(row)]


def _card(row: Suggestion, people: dict[UUID, Subject], portraits: dict[UUID, Portrait]) -> Card:
    return Card(
        reason=reason_of(row),
        subjects=[people[key] for key in row.identities[:PEOPLE_SHOWN] if key in people],
        more=max(0, len(row.identities) - PEOPLE_SHOWN),
        portraits=[portraits[key] for key in row.portraits[:FACES_SHOWN] if key in portraits],
        of_people=row.kind in OF_PEOPLE,
        yes=_yes(row),
        no=NO.get(Kind(row.kind), "Leave it"),
        warning=f"Make all {len(row.identities):,} people one? {PEOPLE_SHOWN} of them are shown here.",
        mark=mark_of(row),
    )
