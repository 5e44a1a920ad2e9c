"""The journal of edits: who changed what, when, and how it is taken back.

An edit is a list of steps, each of which can be inverted exactly (`journal_rows`); it is made inside `edit`. `undo`
makes the inverse steps in reverse order, each by a conditional update, all of them or none; it is a change too, so that
what was undone can be done again by undoing the undo.
"""

from collections.abc import Sequence
from datetime import datetime
from itertools import groupby
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.utils import timezone

from portrait.core.errors import ConflictError
from portrait.gallery.models import Change, Identity, Portrait
from portrait.gallery.services.grace import grace_began, grace_ends, require_grace
from portrait.gallery.services.journal_edit import (
    SYSTEM,
    Actor,
    Edit,
    actor_of,
    actor_of_user,
    edit,
    follow_vectors,
    lock_people,
)
from portrait.gallery.services.journal_leaving import forget, remove_person
from portrait.gallery.services.journal_rows import (
    CREATE,
    DELETE,
    SET,
    Recorded,
    Step,
    inverse,
    people_in,
    record,
    recorded,
)
from portrait.gallery.signals import change_undoing, identity_held

__all__ = [
    "SYSTEM",
    "Actor",
    "Edit",
    "actor_of",
    "actor_of_user",
    "edit",
    "forget",
    "grace_began",
    "grace_ends",
    "record",
    "require_grace",
    "undo",
]

ERASED = "Somebody whom this change was about was erased: it cannot be undone any more."


def undo(*, change: Change, actor: Actor) -> Change:
    """Take a change back; answers the change that does it, whose own undoing does it again.

    Raises:
        ConflictError: it was undone already; something later has to be undone first, and the message says what; what
            it was about was erased, or its time of grace is over.
    """
    try:
        with transaction.atomic():
            # Everybody first, by id, as each edit does it; then the change, which only its own undoing waits for.
            people = lock_people({*change.identities, *people_in(_told(change))})
            row = Change.objects.select_for_update(of=("self",)).get(pk=change.pk)
            _require_undoable(row)
            change_undoing.send(Change, change=row)
            return _undone(row, actor, people)
    except IntegrityError as error:
        raise ConflictError(_in_the_way(error)) from None


def _told(change: Change) -> list[Step]:
    return [] if change.details.get("erased") else change.steps


def _require_undoable(change: Change) -> None:
    if change.details.get("erased"):
        raise ConflictError(ERASED)
    last = latest_of(change)
    if last.pk != change.pk:
        done = "undone" if in_effect(last) == in_effect(change) else "undone and done again"
        raise ConflictError(
            f"Change #{change.pk} was {done}, last by #{last.pk}: undo #{last.pk} to turn that round.",
            details={"change": last.pk},
        )


def _undone(change: Change, actor: Actor, people: dict[UUID, Identity]) -> Change:
    mine = Edit(change.collection_id, people)
    steps = [inverse(step) for step in reversed(change.steps)]
    for operation, group in groupby(steps, key=_kind_of_step):
        _apply(mine, change, operation, list(group))
    _require_living_owners(change, mine.steps)
    root = root_of(change)
    action = "redo" if change.action == "undo" else "undo"
    details = {"of": root.action, "change": root.pk}
    return mine.close(action, actor, identities=change.identities, details=details, undoes=change)


def _kind_of_step(step: Step) -> str:
    """Sets of many rows that say the same are one statement."""
    return repr((step["op"], step["model"], *(step.get(name) for name in ("field", "before", "after"))))


def _apply(mine: Edit, change: Change, operation: str, steps: Sequence[Step]) -> None:
    kind = recorded(steps[0]["model"])
    if steps[0]["op"] == SET:
        _apply_set(mine, change, kind, steps)
        return
    for step in steps:
        if step["op"] == CREATE:
            _apply_create(mine, kind, step)
        elif kind.model is Identity:
            _take_back_person(mine, change, UUID(step["pk"]))
        else:
            _apply_delete(mine, change, kind, step)


def _apply_set(mine: Edit, change: Change, kind: Recorded, steps: Sequence[Step]) -> None:
    name = steps[0]["field"]
    before, after = kind.value(name, steps[0]["before"]), kind.value(name, steps[0]["after"])
    if name == "deleted_at" and isinstance(before, datetime):
        require_grace(before)
    if name == "deleted_at" and after is not None:
        after = timezone.now()  # deleted again: the time of grace begins anew
    stayed = mine.write(kind, [kind.key(step["pk"]) for step in steps], name, before, after)
    there = set(kind.model._default_manager.filter(pk__in=stayed).values_list("pk", flat=True))
    for key in stayed:
        _refuse_if_later(change, kind, str(key), name)
        if key in there:
            raise ConflictError(f"Its {name} was changed since, and not through the journal: it cannot be undone.")
        # A portrait that was removed for good, a watch that was taken off: there is nothing to take back.


def _apply_create(mine: Edit, kind: Recorded, step: Step) -> None:
    values = {kind.attribute(name): kind.value(name, value) for name, value in step["values"].items()}
    key = kind.key(step["pk"])
    left = kind.model._default_manager.filter(pk=key, deleted_at__isnull=False) if kind.model is Identity else None
    if left is None or not left.update(**values):
        if not _parents_are_there(kind, step):
            return
        kind.model(pk=key, **values).save(force_insert=True)
    mine.steps.append(step)


def _parents_are_there(kind: Recorded, step: Step) -> bool:
    """A rejection of a portrait that is gone for good is not made again."""
    for name, value in step["values"].items():
        parent: Any = kind.column(name).related_model
        if parent and value is not None and not parent._default_manager.filter(pk=value).exists():
            return False
    return True


def _apply_delete(mine: Edit, change: Change, kind: Recorded, step: Step) -> None:
    values = {kind.attribute(name): kind.value(name, value) for name, value in step["values"].items()}
    gone, _ = kind.model._default_manager.filter(pk=kind.key(step["pk"]), **values).delete()
    if gone:
        mine.steps.append(step)
    else:
        _refuse_if_later(change, kind, step["pk"], None)


def _take_back_person(mine: Edit, change: Change, identity_id: UUID) -> None:
    """Somebody whom the change made goes again, if nothing came to them since."""
    later = Change.objects.filter(
        collection_id=change.collection_id, id__gt=change.pk, identities__contains=[identity_id]
    )
    refuse_what_came_later(change, later)
    row = mine.people[identity_id]
    count = Portrait.objects.filter(identity_id=identity_id).count()
    if count:
        raise ConflictError(f"{row.name!r} got {count} portraits since: move or remove them first.")
    mine.note(DELETE, row)
    follow_vectors(mine.steps)  # the portraits' vectors name them still, and would go with them
    if any(held for _, held in identity_held.send(Identity, identity_id=identity_id)):
        Identity.objects.filter(pk=identity_id).update(deleted_at=timezone.now())
    else:
        remove_person(row)


def remove_leftover(*, identity_id: UUID) -> bool:
    """Remove somebody whose making was undone, once nothing holds them any more; answers whether they are gone."""
    with transaction.atomic():
        row = lock_people([identity_id]).get(identity_id)
        if row is None:
            return True
        if not is_leftover(row) or any(held for _, held in identity_held.send(Identity, identity_id=identity_id)):
            return False
        remove_person(row)
    return True


def is_leftover(identity: Identity) -> bool:
    """Whether somebody is there only until what was seen of them has gone back where it was."""
    if identity.deleted_at is None:
        return False
    step = [{"op": DELETE, "model": "identity", "pk": str(identity.pk)}]
    rows = Change.objects.filter(identities__contains=[identity.pk], steps__contains=step)
    return any(is_standing(row) for row in rows.defer("steps"))


def _require_living_owners(change: Change, steps: Sequence[Step]) -> None:
    """No portrait goes back to somebody who was merged or deleted meanwhile."""
    owners = {step["after"] for step in steps if step["model"] == "portrait" and step.get("field") == "identity"}
    for owner in Identity.objects.filter(pk__in=owners).exclude(merged_into=None, deleted_at=None):
        name = "merged_into" if owner.merged_into_id else "deleted_at"
        _refuse_if_later(change, recorded(Identity), str(owner.pk), name)


def _refuse_if_later(change: Change, kind: Recorded, key: str, name: str | None) -> None:
    """Raise if a later change that stands touched this column (or, without a name, this row)."""
    step = {"model": kind.label, "pk": key} | ({"field": name} if name else {})
    rows = Change.objects.filter(collection_id=change.collection_id, id__gt=change.pk, steps__contains=[step])
    refuse_what_came_later(change, rows)


def refuse_what_came_later(change: Change, rows: "QuerySet[Change]") -> None:
    """Raise `ConflictError` if one of these changes was made, undone or done again since `change`, and that stands."""
    for each in rows.defer("steps").order_by("-pk"):
        chain = _chain_of(root_of(each))
        before = sum(one.pk < change.pk for one in chain)
        if before % 2 != len(chain) % 2:
            last = chain[-1]
            raise ConflictError(
                f"Something came later: undo change #{last.pk} first "
                f"({last.action} by {last.actor}, {last.at:%Y-%m-%d %H:%M:%S} UTC).",
                details={"change": last.pk},
            )


def _chain_of(change: Change) -> list[Change]:
    """A change, what undid it, what undid that ..."""
    chain = [change]
    while (undone := Change.objects.filter(undoes=chain[-1]).defer("steps").first()) is not None:
        chain.append(undone)
    return chain


def root_of(change: Change) -> Change:
    """The edit that a chain of undoing and doing again is about."""
    while change.undoes is not None:
        change = change.undoes
    return change


def latest_of(change: Change) -> Change:
    """The last of those that undo each other, from this one on."""
    return _chain_of(change)[-1]


def is_standing(change: Change) -> bool:
    """Whether nobody undid it, or somebody undid that. Of an undo: whether the edit it undid is undone still."""
    return len(_chain_of(change)) % 2 == 1


def in_effect(change: Change) -> bool:
    """Whether the edit behind a change is done at present."""
    return is_standing(root_of(change))


def _in_the_way(error: IntegrityError) -> str:
    told = str(error)
    if "one_identity_an_external_id" in told:
        return "Its external_id is somebody else's by now: change that one's first."
    if "one_portrait_an_image" in told:
        return "The person has this very picture again by now: remove that portrait first."
    return "Something that came later stands in its way."
