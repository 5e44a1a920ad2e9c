"""What people answer to suggestions. Of two answers at once one counts; each is an edit that the journal can undo."""

from collections.abc import Callable, Iterable
from uuid import UUID

from django.db import transaction
from django.db.models import Count, Q
from django.utils import timezone

from portrait.core.errors import ConflictError, NotFoundError, PortraitError
from portrait.core.files import atomic_with_files
from portrait.curation.actions import FOR_PORTRAITS, Action, proposed_action
from portrait.curation.models import OF_PEOPLE, PAIRS, State, Suggestion
from portrait.curation.services.proposing import OPENED_AGAIN, refresh
from portrait.gallery.models import Change, Identity, Portrait
from portrait.gallery.services import editing, journal
from portrait.gallery.services.journal import Actor
from portrait.gallery.services.journal_edit import lock_people

Edit = Callable[[], Iterable[Change | None]]


class NotThisKindError(PortraitError):
    """The suggestion is of a kind that cannot be answered so."""

    code = "not_this_kind"
    status = 422


def confirm(*, suggestion: Suggestion, actor: Actor, into: UUID | None = None, action: str | None = None) -> Suggestion:
    """Yes. People become one; a portrait moves to whom it looks like, or is deleted (both can be undone).

    into: of several people the one who stays; none given: who has a name, then who has most portraits. action: for
    portraits `move`, `split` (to a new person) or `delete`, where it should not be what the suggestion proposes.

    Raises:
        ConflictError: it was answered, or overtaken, meanwhile.
        NotThisKindError: `into` or `action` does not fit the kind.
    """
    if suggestion.kind in OF_PEOPLE:
        if action is not None:
            raise NotThisKindError("An 'action' is for suggestions about portraits.", field="action")
        return _decide(suggestion, State.CONFIRMED, actor, lambda: _merge(suggestion, actor, into)[1])
    if into is not None and action not in (None, Action.MOVE):
        raise NotThisKindError("'into' goes with the action 'move'.", field="into")
    return _decide(suggestion, State.CONFIRMED, actor, lambda: _settle(suggestion, actor, action, into))


def reject(*, suggestion: Suggestion, actor: Actor) -> Suggestion:
    """No; it is never suggested again. Of a pair it is noted that they are two people.

    Raises:
        ConflictError: it was answered, or overtaken, meanwhile.
    """
    return _decide(suggestion, State.REJECTED, actor, lambda: _set_apart(suggestion, actor))


def name(*, suggestion: Suggestion, name: str, actor: Actor, into: UUID | None = None) -> Suggestion:
    """Yes, and this is their name.

    Raises:
        ConflictError: it was answered, or overtaken, meanwhile.
        NotThisKindError: it is about portraits.
    """
    if suggestion.kind not in OF_PEOPLE:
        raise NotThisKindError("Only suggestions about people take a name; confirm or reject this one.")

    def edit() -> list[Change | None]:
        target, changes = _merge(suggestion, actor, into)
        target.refresh_from_db()
        return [*changes, editing.update(identity=target, actor=actor, name=name)]

    return _decide(suggestion, State.CONFIRMED, actor, edit)


def undo(*, suggestion: Suggestion, actor: Actor) -> Suggestion:
    """Take an answer back: its edits are undone, and the question is open again.

    Raises:
        ConflictError: it is not answered; or a later edit stands on this one and has to be undone first.
    """
    with atomic_with_files():
        answered = Suggestion.objects.filter(pk=suggestion.pk, state__in=[State.CONFIRMED, State.REJECTED])
        row = answered.select_for_update(of=("self",)).first()
        if row is None:
            raise ConflictError("This suggestion has no answer that could be undone.")
        answered.update(**OPENED_AGAIN, updated_at=timezone.now())
        for change in Change.objects.filter(pk__in=row.changes).order_by("-pk"):
            if journal.in_effect(change):
                journal.undo(change=journal.latest_of(change), actor=actor)
    suggestion.refresh_from_db()
    return suggestion


def _decide(suggestion: Suggestion, state: State, actor: Actor, edit: Edit) -> Suggestion:
    _require_current(suggestion)
    with atomic_with_files():
        _take(suggestion, state, actor)
        changes = [change.pk for change in edit() if change is not None]
        Suggestion.objects.filter(pk=suggestion.pk).update(changes=changes)
    suggestion.refresh_from_db()
    return suggestion


def _require_current(suggestion: Suggestion) -> None:
    """Raise where its people or portraits changed; it is marked so, and asked of whom they became."""
    _refreshed(suggestion)
    if suggestion.state != State.OPEN:
        return  # `_take` tells who was first
    with transaction.atomic():
        refresh(suggestions=[suggestion])
    _refreshed(suggestion)
    if suggestion.state == State.STALE:
        raise ConflictError("The people or portraits of this suggestion changed meanwhile: it was taken back.")


def _refreshed(suggestion: Suggestion) -> None:
    try:
        suggestion.refresh_from_db()
    except Suggestion.DoesNotExist:
        raise NotFoundError("There is no such suggestion.") from None


def _take(suggestion: Suggestion, state: State, actor: Actor) -> None:
    """One caller wins; another waits for the end of that transaction, and is told."""
    open_row = Suggestion.objects.filter(pk=suggestion.pk, state=State.OPEN)
    now = timezone.now()
    if open_row.update(state=state, decided_by=actor.name, decided_at=now, updated_at=now):
        return
    _refreshed(suggestion)
    by = f" by {suggestion.decided_by!r}" if suggestion.decided_by else ""
    raise ConflictError(
        f"This suggestion was {State(suggestion.state).value}{by} already; undo that first, if it is wrong.",
        details={"state": suggestion.state},
    )


def _merge(suggestion: Suggestion, actor: Actor, into: UUID | None) -> tuple[Identity, list[Change]]:
    people = Identity.objects.filter(pk__in=suggestion.identities).annotate(
        live=Count("portraits", filter=Q(portraits__deleted_at=None))
    )
    order = sorted(people, key=lambda each: (each.kind != Identity.Kind.KNOWN, -each.live, each.created_at, each.pk))
    target = order[0] if into is None else next((each for each in order if each.pk == into), None)
    if target is None:
        raise NotThisKindError("'into' names nobody of this suggestion.", field="into")
    sources = [each for each in order if each.pk != target.pk]
    return target, [editing.merge(target=target, sources=sources, actor=actor)]


def _set_apart(suggestion: Suggestion, actor: Actor) -> list[Change | None]:
    if suggestion.kind not in PAIRS:
        return []
    first, second = Identity.objects.filter(pk__in=suggestion.identities).order_by("pk")
    return [editing.distinct(first=first, second=second, actor=actor)]


def _settle(suggestion: Suggestion, actor: Actor, action: str | None, into: UUID | None) -> list[Change | None]:
    wanted = action or (Action.MOVE if into else proposed_action(suggestion))
    if wanted == Action.NOTE:
        return []
    if wanted not in FOR_PORTRAITS:
        raise NotThisKindError(f"Portraits cannot be {wanted!r}; known are {', '.join(FOR_PORTRAITS)}.", field="action")
    to = _destination(suggestion, into) if wanted == Action.MOVE else None
    owner, portraits = _still_theirs(suggestion, to)
    if wanted == Action.DELETE:
        return [editing.delete_portrait(portrait=portrait, actor=actor) for portrait in portraits]
    # "Not this person": faces like this one are not named so from now on either.
    return [editing.reject(identity=owner, actor=actor, portrait=portrait, to=to) for portrait in portraits]


def _still_theirs(suggestion: Suggestion, to: Identity | None) -> tuple[Identity, list[Portrait]]:
    """The portraits in question, which nobody moves until the transaction ends.

    Raises:
        ConflictError: one was moved or deleted a moment ago.
    """
    mine = suggestion.identities[0]
    owner = lock_people({mine, to.pk} if to else {mine}).get(mine)
    portraits = Portrait.objects.filter(pk__in=suggestion.portraits, identity=owner, deleted_at=None).order_by("pk")
    found = list(portraits) if owner else []
    if owner is None or len(found) < len(suggestion.portraits):
        raise ConflictError("The portraits of this suggestion changed meanwhile: look again.")
    return owner, found


def _destination(suggestion: Suggestion, into: UUID | None) -> Identity:
    wanted = into or next(iter(suggestion.identities[1:]), None)
    if wanted is None:
        raise NotThisKindError("Name in 'into' whose portrait it is, or 'split' it off.", field="into")
    same = Identity.objects.filter(pk=wanted, collection_id=suggestion.collection_id, merged_into=None, deleted_at=None)
    found = same.first()
    if found is None:
        raise NotFoundError("There is no such identity.", field="into")
    return found
