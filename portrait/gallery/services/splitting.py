"""Faces that are somebody else's: taken out of an identity, to a new or another one."""

from collections.abc import Sequence
from typing import Any

from django.utils import timezone

from portrait.core.errors import ConflictError
from portrait.gallery.models import Change, Distinct, Identity, Portrait, Rejection
from portrait.gallery.services import journal
from portrait.gallery.services.journal import Actor, Edit
from portrait.gallery.services.people import next_unknown_name, owner_of, require_living, require_portraits


def split(
    *,
    identity: Identity,
    actor: Actor,
    portraits: Sequence[Portrait] = (),
    to: Identity | None = None,
    name: str | None = None,
    details: dict[str, Any] | None = None,
) -> Change:
    """Give some portraits of a person to another one, or to a new one: known by `name`, without it unknown.

    The two count as two people from then on (`Distinct`). details: what an app above adds to the change; with a true
    `pin` there need not be portraits, as sightings move with it (`sightings.services.history`). `details["to"]` of the
    change is whose they are now.

    Raises:
        ConflictError: nothing or everything would move; a portrait is not this person's; somebody is deleted, merged or
            of another collection.
        NotFoundError: somebody, or a portrait, was erased.
    """
    told: dict[str, Any] = details if details is not None else {}
    if not portraits and not told.get("pin"):
        raise ConflictError("Name at least one portrait that is to leave this person.", field="portraits")
    if to is not None and to.pk == identity.pk:
        raise ConflictError("Name another identity: these portraits are this one's.", field="to")
    involved = [identity] if to is None else [identity, to]
    action = "split" if to is None else "move"
    with journal.edit(action=action, actor=actor, identities=involved, details=told) as edit:
        owner = require_living(edit.people[identity.pk])
        rows = require_portraits(owner, portraits)
        if (
            rows
            and not Portrait.objects.filter(identity=owner, deleted_at=None)
            .exclude(pk__in=[row.pk for row in rows])
            .exists()
        ):
            raise ConflictError("No portrait would be left: merge the two, or rename this one.", field="portraits")
        receiver = _receiver(edit, owner, to, name)
        told |= {"from": str(owner.pk), "to": str(receiver.pk), "portraits": [str(row.pk) for row in rows]}
        _give(edit, rows, receiver)
        _tell_apart(edit, owner, receiver)
    return _made(edit)


def move(*, identity: Identity, actor: Actor, portraits: Sequence[Portrait], to: Identity) -> Change:
    """Give some portraits of a person to another one: `split` with a target."""
    return split(identity=identity, actor=actor, portraits=portraits, to=to)


def reject(*, identity: Identity, actor: Actor, portrait: Portrait, to: Identity | None = None) -> Change:
    """Not this person: a portrait leaves its identity, for a new unknown person unless `to` says whose it is, and faces
    that look more like it than like the person's own are no longer named so (`gallery.rejections`).

    A portrait that is somebody else's already stays there, and only counts against this person.

    Raises:
        ConflictError: it was rejected before; somebody is deleted, merged or of another collection.
        NotFoundError: it was removed meanwhile.
    """
    owner_id = owner_of(portrait)
    if to is not None and to.pk == identity.pk:
        raise ConflictError("Name another identity than the one whose face it is not.", field="to")
    involved = {each.pk: each for each in (identity, Identity(pk=owner_id), *([to] if to else []))}
    details: dict[str, Any] = {"portrait": str(portrait.pk), "from": str(identity.pk)}
    with journal.edit(action="reject", actor=actor, identities=list(involved.values()), details=details) as edit:
        not_this = require_living(edit.people[identity.pk])
        (row,) = require_portraits(Identity(pk=owner_id), [portrait])
        if Rejection.objects.filter(identity=not_this, portrait=row).exists():
            raise ConflictError("This portrait was rejected before.", field="portrait")
        edit.create(Rejection, identity=not_this, portrait=row)
        if row.identity_id == not_this.pk or to is not None:
            receiver = _receiver(edit, not_this, to, None)
            details["to"] = str(receiver.pk)
            _give(edit, [row], receiver)
            _tell_apart(edit, not_this, receiver)
    return _made(edit)


def _receiver(edit: Edit, owner: Identity, to: Identity | None, name: str | None) -> Identity:
    if to is not None:
        return require_living(edit.people[to.pk])
    kind = Identity.Kind.KNOWN if name else Identity.Kind.UNKNOWN
    made: Identity = edit.create(
        Identity,
        collection_id=owner.collection_id,
        name=name or next_unknown_name(owner.collection_id),
        kind=kind,
    )
    return made


def _give(edit: Edit, portraits: Sequence[Portrait], receiver: Identity) -> None:
    """A picture that the receiver has already goes from the one who had it wrongly, and no more."""
    have = {row.sha256: row for row in Portrait.objects.filter(identity=receiver)}
    edit.delete(Rejection.objects.filter(identity=receiver, portrait__in=portraits).order_by("pk"))
    edit.set([row for row in portraits if row.sha256 not in have], "identity", receiver.pk)
    twice = [row for row in portraits if row.sha256 in have]
    edit.set([have[row.sha256] for row in twice], "deleted_at", None)
    edit.set(twice, "deleted_at", timezone.now())


def _tell_apart(edit: Edit, one: Identity, other: Identity) -> None:
    first, second = sorted((one.pk, other.pk))
    if first != second and not Distinct.objects.filter(first_id=first, second_id=second).exists():
        edit.create(Distinct, first_id=first, second_id=second)


def _made(edit: Edit) -> Change:
    if edit.change is None:
        raise ConflictError("Nothing was changed.")
    return edit.change
