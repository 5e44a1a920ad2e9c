"""Several people who are one."""

from collections.abc import Sequence
from typing import Any

from django.db.models import Q

from portrait.core.errors import ConflictError
from portrait.gallery.models import Change, Distinct, Identity, Portrait, Rejection
from portrait.gallery.services import journal
from portrait.gallery.services.journal import Actor, Edit
from portrait.gallery.services.people import require_living
from portrait.gallery.signals import people_merging


def merge(*, target: Identity, sources: Sequence[Identity], actor: Actor) -> Change:
    """Make several people one: what the sources have becomes the target's, and the sources are a part of it.

    The sources' rows stay, with their `external_id`, which finds the target from then on. An unknown target takes over
    name, metadata and action of the one known source. A picture that the target has already stays with its source.

    Raises:
        ConflictError: the target is among the sources; somebody is deleted, merged or of another collection; the target
            is unknown and the sources have several names.
        NotFoundError: somebody was erased.
    """
    chosen = {each.pk: each for each in sources}
    if not chosen:
        raise ConflictError("Name at least one identity to merge into this one.", field="identities")
    if target.pk in chosen:
        raise ConflictError("Nobody can be merged into themselves.", field="identities")
    details: dict[str, Any] = {"target": str(target.pk), "sources": [str(key) for key in chosen]}
    with journal.edit(action="merge", actor=actor, identities=[target, *chosen.values()], details=details) as edit:
        into = require_living(edit.people[target.pk])
        parts = [require_living(edit.people[key]) for key in chosen]
        details["named"] = _take_name(edit, into, parts)
        _move_portraits(edit, into, parts)
        _carry_rejections(edit, into, parts)
        _carry_distinctions(edit, into, parts)
        edit.set(parts, "merged_into", into.pk)
        people_merging.send(Identity, edit=edit, target=into, sources=parts)
    target.refresh_from_db()
    if edit.change is None:
        raise ConflictError(f"{target.name!r} could not be merged.")
    return edit.change


def _take_name(edit: Edit, into: Identity, parts: Sequence[Identity]) -> bool:
    """Known wins over unknown; True where people who were unknown got a name by this."""
    known = [each for each in parts if each.kind == Identity.Kind.KNOWN]
    if into.kind == Identity.Kind.KNOWN:
        return len(known) < len(parts)
    if len({each.name for each in known}) > 1:
        names = ", ".join(repr(each.name) for each in known)
        raise ConflictError(f"{into.name!r} is unknown and would get several names ({names}): merge into one of them.")
    if not known:
        return False
    edit.set([into], "name", known[0].name)
    edit.set([into], "kind", Identity.Kind.KNOWN)
    for name in ("metadata", "action", "consent", "keep_until"):
        if not getattr(into, name):
            edit.set([into], name, getattr(known[0], name))
    return True


def _move_portraits(edit: Edit, into: Identity, parts: Sequence[Identity]) -> None:
    """All but those whose very picture the target has; of two that are the same, a deleted one does not count."""
    have = {row.sha256: row for row in Portrait.objects.filter(identity=into)}
    moved = []
    for row in Portrait.objects.filter(identity__in=parts).order_by("deleted_at", "pk"):
        same = have.setdefault(row.sha256, row)
        if same is row:
            moved.append(row)
        elif same.deleted_at is not None and row.deleted_at is None:
            edit.set([same], "deleted_at", None)
    edit.set(moved, "identity", into.pk)


def _carry_rejections(edit: Edit, into: Identity, parts: Sequence[Identity]) -> None:
    """Faces that are not a source's are not the target's; but who is merged is no longer said to be somebody else."""
    everybody = [into, *parts]
    edit.delete(Rejection.objects.filter(identity__in=everybody, portrait__identity__in=everybody).order_by("pk"))
    have = set(Rejection.objects.filter(identity=into).values_list("portrait_id", flat=True))
    for row in Rejection.objects.filter(identity__in=parts).order_by("pk"):
        if row.portrait_id not in have:
            have.add(row.portrait_id)
            edit.create(Rejection, identity=into, portrait_id=row.portrait_id)


def _carry_distinctions(edit: Edit, into: Identity, parts: Sequence[Identity]) -> None:
    everybody = {into.pk, *(each.pk for each in parts)}
    edit.delete(Distinct.objects.filter(first__in=everybody, second__in=everybody).order_by("pk"))
    for row in Distinct.objects.filter(Q(first__in=parts) | Q(second__in=parts)).order_by("pk"):
        other = row.second_id if row.first_id in everybody else row.first_id
        first, second = sorted((into.pk, other))
        if not Distinct.objects.filter(first_id=first, second_id=second).exists():
            edit.create(Distinct, first_id=first, second_id=second)
