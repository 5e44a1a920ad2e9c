"""Who may be edited: living people and their portraits."""

from collections.abc import Sequence
from uuid import UUID

from django.db.models import F

from portrait.core.errors import ConflictError, NotFoundError
from portrait.gallery.models import Collection, Identity, Portrait

LONGEST_CHAIN = 1000


def fresh(identity: Identity) -> Identity:
    """The row as it is now.

    Raises:
        NotFoundError: it was erased.
    """
    row = Identity.objects.filter(pk=identity.pk).first()
    if row is None:
        raise NotFoundError("There is no such identity any more.")
    return row


def require_living(identity: Identity) -> Identity:
    """Somebody who is neither deleted nor a part of somebody else.

    Raises:
        ConflictError: says what happened, and what to do.
    """
    if identity.deleted_at is not None:
        raise ConflictError(
            f"{identity.name!r} was deleted on {identity.deleted_at:%Y-%m-%d}: restore it first "
            f"(POST /api/v1/identities/{identity.pk}/restore)."
        )
    if identity.merged_into_id is not None:
        raise ConflictError(
            f"{identity.name!r} was merged into {identity.merged_into_id}: use that one, or undo the merge "
            f"(GET /api/v1/changes?identity={identity.pk})."
        )
    return identity


def survivor(identity: Identity) -> Identity:
    """Whom somebody is a part of by now, through any number of merges; mostly themselves."""
    for _ in range(LONGEST_CHAIN):
        if identity.merged_into is None:
            break
        identity = identity.merged_into
    return identity


def owner_of(portrait: Portrait) -> UUID:
    """Whose a portrait is now, whatever the row at hand says.

    Raises:
        NotFoundError: it was removed for good.
    """
    found = Portrait.objects.values_list("identity_id", flat=True).filter(pk=portrait.pk).first()
    if found is None:
        raise NotFoundError("There is no such portrait any more.")
    return found


def require_portraits(owner: Identity, portraits: Sequence[Portrait]) -> list[Portrait]:
    """Fresh rows of somebody's portraits, none of them deleted; the owner is locked.

    Raises:
        ConflictError: one is deleted, or somebody else's by now.
        NotFoundError: one was removed for good.
    """
    rows = Portrait.objects.in_bulk([each.pk for each in portraits])
    for portrait in portraits:
        row = rows.get(portrait.pk)
        if row is None:
            raise NotFoundError(f"There is no portrait {portrait.pk} any more.", field="portraits")
        if row.identity_id != owner.pk:
            raise ConflictError(f"The portrait {row.pk} is not this person's (any more).", field="portraits")
        if row.deleted_at is not None:
            raise ConflictError(f"The portrait {row.pk} is deleted; restore it first.", field="portraits")
    return [rows[key] for key in sorted(rows)]


def next_unknown_name(collection_id: UUID) -> str:
    """`unknown_person_N`, each once. Inside a transaction, which others who need one wait for."""
    rows = Collection.objects.filter(pk=collection_id)
    rows.update(unknown_counter=F("unknown_counter") + 1)
    return f"unknown_person_{rows.values_list('unknown_counter', flat=True).get()}"
