"""Edits of people, each a change in the journal that can be undone (`journal.undo`).

Everything that people change of identities goes through here, whoever asks: API, admin, commands.
"""

from typing import Any

from django.db import IntegrityError
from django.utils import timezone

from portrait.core.errors import ConflictError, NotFoundError
from portrait.gallery.models import Change, Distinct, Identity, Portrait
from portrait.gallery.services import journal
from portrait.gallery.services.journal import Actor, Edit
from portrait.gallery.services.merging import merge
from portrait.gallery.services.people import fresh, owner_of, require_living, require_portraits
from portrait.gallery.services.splitting import move, reject, split

__all__ = [
    "delete",
    "delete_portrait",
    "distinct",
    "merge",
    "move",
    "reject",
    "restore",
    "restore_portrait",
    "split",
    "update",
]


def update(*, identity: Identity, actor: Actor, **values: Any) -> Change | None:
    """Change an identity's own fields; None where nothing changes. A name given to an unknown person makes it known.

    Raises:
        ConflictError: its collection has that `external_id` already; it was deleted or merged.
        NotFoundError: it was erased meanwhile.
    """
    details: dict[str, Any] = {}
    try:
        with journal.edit(
            action=_action(identity, values), actor=actor, identities=[identity], details=details
        ) as edit:
            row = require_living(edit.people[identity.pk])
            if row.kind == Identity.Kind.UNKNOWN and values.get("name", row.name) != row.name:
                values.setdefault("kind", Identity.Kind.KNOWN)
                details["named"] = values["kind"] == Identity.Kind.KNOWN
            for name, value in values.items():
                edit.set([row], name, value)
    except IntegrityError:
        raise ConflictError(
            f"The collection has an identity with the external_id {values.get('external_id')!r} already.",
            field="external_id",
        ) from None
    identity.refresh_from_db()
    return edit.change


def _action(identity: Identity, values: dict[str, Any]) -> str:
    """What a reader of the journal is told: by what really changes."""
    changed = {name for name, value in values.items() if getattr(identity, name) != value}
    if "name" in changed:
        return "rename"
    if changed == {"hidden"}:
        return "hide" if values["hidden"] else "show"
    return "edit"


def distinct(*, first: Identity, second: Identity, actor: Actor) -> Change | None:
    """Two people who are not one: never suggested as the same again; None where that was said before.

    Raises:
        ConflictError: they are one and the same, of two collections, deleted or merged.
    """
    if first.pk == second.pk:
        raise ConflictError("Nobody is distinct from themselves.")
    with journal.edit(action="distinct", actor=actor, identities=[first, second]) as edit:
        rows = sorted((require_living(row) for row in edit.people.values()), key=lambda row: row.pk)
        if not Distinct.objects.filter(first=rows[0], second=rows[1]).exists():
            edit.create(Distinct, first=rows[0], second=rows[1])
    return edit.change


def delete(*, identity: Identity, actor: Actor) -> Change:
    """Delete a person: hidden everywhere and no longer recognised, until restored, or erased after the time of grace.

    Its `external_id` is free from then on; restoring takes it back.

    Raises:
        ConflictError: it is deleted, or was merged.
        NotFoundError: it was erased meanwhile.
    """
    details = {"external_id": identity.external_id}
    with journal.edit(action="delete", actor=actor, identities=[identity], details=details) as edit:
        row = require_living(edit.people[identity.pk])
        details["external_id"] = row.external_id
        edit.set([row], "deleted_at", timezone.now())
        edit.set([row], "external_id", None)
    identity.refresh_from_db()
    return _made(edit)


def restore(*, identity: Identity, actor: Actor) -> Change:
    """Take the deletion of a person back, within the time of grace.

    Raises:
        ConflictError: it is not deleted; the time is over; its external_id is somebody else's by now.
        NotFoundError: it was erased.
    """
    row = fresh(identity)
    if row.deleted_at is None:
        raise ConflictError(f"{row.name!r} is not deleted.")
    journal.require_grace(row.deleted_at)
    change = _deletion(row, "identity")
    if change is None:
        raise ConflictError("The journal does not know how this person was deleted: it cannot be restored.")
    restored = journal.undo(change=change, actor=actor)
    identity.refresh_from_db()
    return restored


def delete_portrait(*, portrait: Portrait, actor: Actor) -> Change:
    """Delete one portrait: hidden and no longer compared with, until restored, or removed after the time of grace.

    Raises:
        ConflictError: it is deleted already.
        NotFoundError: it was removed for good meanwhile.
    """
    details = {"portrait": str(portrait.pk)}
    owner = Identity(pk=owner_of(portrait))
    with journal.edit(action="delete_portrait", actor=actor, identities=[owner], details=details) as edit:
        (row,) = require_portraits(owner, [portrait])
        edit.set([row], "deleted_at", timezone.now())
    return _made(edit)


def restore_portrait(*, portrait: Portrait, actor: Actor) -> Change:
    """Take the deletion of a portrait back, within the time of grace.

    Raises:
        ConflictError: it is not deleted, or the time is over.
    """
    row = Portrait.objects.filter(pk=portrait.pk).first()
    if row is None or row.deleted_at is None:
        raise ConflictError("This portrait is not deleted." if row else "This portrait was removed for good.")
    journal.require_grace(row.deleted_at)
    change = _deletion(row, "portrait")
    if change is not None and journal.root_of(change).action == "delete_portrait":
        return journal.undo(change=change, actor=actor)
    # Deleted by an edit that did more, like a split of a picture that both have: only this portrait comes back.
    owner = Identity(pk=row.identity_id)
    details = {"portrait": str(row.pk)}
    with journal.edit(action="restore_portrait", actor=actor, identities=[owner], details=details) as edit:
        require_living(edit.people[owner.pk])
        edit.set([row], "deleted_at", None)
    return _made(edit)


def _deletion(row: Identity | Portrait, label: str) -> Change | None:
    """The change that deleted a row, and stands."""
    step = [{"op": "set", "model": label, "pk": str(row.pk), "field": "deleted_at", "before": None}]
    owner = row.pk if isinstance(row, Identity) else row.identity_id
    changes = Change.objects.filter(steps__contains=step)
    # By its people, who have an index; only a portrait whose owner was merged since is not found by that.
    for rows in (changes.filter(identities__contains=[owner]), changes):
        for change in rows.order_by("-pk"):
            if journal.is_standing(change):
                return change
    return None


def _made(edit: Edit) -> Change:
    if edit.change is None:
        raise NotFoundError("Nothing was changed.")
    return edit.change
