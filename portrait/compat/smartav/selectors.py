"""Samples of the first-generation API among our identities."""

from django.db.models import QuerySet

from portrait.compat.smartav.shapes import UNKNOWN_PREFIX, unknown_number
from portrait.core.errors import NotFoundError
from portrait.gallery.models import Collection, Identity
from portrait.gallery.selectors import as_uuid
from portrait.gallery.services.people import survivor


def sample_id(identity: Identity) -> str:
    """The `id` by which old clients know a person: the caller's own, else ours."""
    return identity.external_id or str(identity.id)


def is_stranger(identity: Identity) -> bool:
    """Whether somebody bears the name `unknown_person_N` that we gave."""
    return identity.kind == Identity.Kind.UNKNOWN and unknown_number(identity.name) is not None


def find_sample(collection: Collection, wanted: str) -> Identity | None:
    """The person with this `id`: the caller's own, a stranger's name that cameras gave, or our id."""
    if "\0" in wanted:  # PostgreSQL stores no such text
        return None
    there: QuerySet[Identity] = Identity.objects.filter(collection=collection, deleted_at=None)
    people = there.filter(merged_into=None)
    found = there.filter(external_id=wanted).select_related("merged_into").first()
    if found is not None:  # the id of somebody who was merged is one of whom they are a part of
        found = survivor(found)
        return found if found.deleted_at is None else None
    if unknown_number(wanted) is not None:
        found = people.filter(external_id=None, kind=Identity.Kind.UNKNOWN, name=wanted).first()
    if found is None and (wanted_id := as_uuid(wanted)):
        found = people.filter(id=wanted_id).first()
    return found


def require_sample(collection: Collection, wanted: str) -> Identity:
    """As `find_sample`.

    Raises:
        NotFoundError: none such.
    """
    found = find_sample(collection, wanted)
    if found is None:
        raise NotFoundError(f'Could not find "{wanted[:200]}" in database.', field="sample_id")
    return found


def highest_unknown(collection: Collection) -> int:
    """The highest N of the ids `unknown_person_N` that are taken; 0: none is."""
    ids = Identity.objects.filter(collection=collection, external_id__startswith=UNKNOWN_PREFIX)
    numbers = (unknown_number(each or "") for each in ids.values_list("external_id", flat=True))
    return max((number for number in numbers if number is not None), default=0)
