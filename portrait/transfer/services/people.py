"""Who a folder is: the same person each time the import is run, never somebody else by chance.

1. `external_id` given: the collection's identity with it, or a new one.
2. The column `id` given (exports write it): whom it became before, or the identity itself where it is of this very
   collection, or a new one.
3. Otherwise the folder's name: whom that folder became before, and whoever is called exactly so. One: it is them. None:
   a new person. Several: `ambiguous_person`, and nobody is guessed.

Merged identities lead to whom they were merged into; deleted ones take nothing until they are restored. What is stored
of an identity that exists already is not changed.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from hashlib import sha256
from typing import Any
from uuid import UUID

from django.db import IntegrityError, connection, transaction
from django.db.models import Q

from portrait.gallery.models import Identity
from portrait.gallery.services.identities import get_or_create_identity
from portrait.transfer.models import Import, ImportedName, ImportPerson

LONGEST_MERGE = 50


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why nobody can be enrolled by a folder."""

    code: str
    message: str


ERASED = Refusal("person_erased", "This person was erased while the import waited: nothing is enrolled.")
DELETED = Refusal(
    "person_deleted", "This person was deleted: restore them, or wait until they are erased, and import again."
)


def ambiguous() -> Refusal:
    """Without the name: the report outlives whoever is erased."""
    return Refusal(
        "ambiguous_person",
        "Several people are called so: say who is meant by an external_id in people.csv.",
    )


def find_identity(run: Import, person: ImportPerson) -> Identity | Refusal | None:
    """Who a folder is; None: nobody yet. A look without locks: `resolve` decides."""
    if person.erased:
        return ERASED
    if person.problem_code:
        return Refusal(person.problem_code, person.problem_message)
    if person.identity_id is not None:
        return _led(Identity.objects.filter(id=person.identity_id))
    if person.external_id is not None:
        return _led(Identity.objects.filter(collection=run.collection_id, external_id=person.external_id))
    if person.key:
        before = ImportedName.objects.filter(collection=run.collection_id, key=_key_of(person)).values("identity")
        return _led(Identity.objects.filter(Q(id__in=before) | Q(id=person.key), collection=run.collection_id))
    return _by_name(run, person)


def _by_name(run: Import, person: ImportPerson) -> Identity | Refusal | None:
    people = Identity.objects.filter(collection=run.collection_id)
    before = ImportedName.objects.filter(collection=run.collection_id, key=_key_of(person)).values("identity")
    called = people.filter(name=person.name, kind=Identity.Kind.KNOWN)
    found = {each.pk: each for row in [*people.filter(id__in=before), *called] for each in _ends([row])}
    living = [each for each in found.values() if each.deleted_at is None]
    if len(living) > 1:
        return ambiguous()
    if living:
        return living[0]
    return DELETED if found else None


def _led(rows: Iterable[Identity]) -> Identity | Refusal | None:
    """The one that is left of rows that mean one person."""
    ends = _ends(rows)
    living = [each for each in ends if each.deleted_at is None]
    if living:
        return living[0]
    return DELETED if ends else None


def _ends(rows: Iterable[Identity]) -> list[Identity]:
    """Whom they were merged into, where they were."""
    ends = []
    for row in rows:
        at: Identity | None = row
        for _ in range(LONGEST_MERGE):
            if at is None or at.merged_into_id is None:
                break
            at = Identity.objects.filter(id=at.merged_into_id).first()
        if at is not None and at.merged_into_id is None:
            ends.append(at)
    return ends


def _key_of(person: ImportPerson) -> str:
    return f"id:{person.key}" if person.key else f"name:{person.name}"


def lock(person_ids: Iterable[int]) -> dict[int, ImportPerson]:
    """Folders and their identities, so that neither changes until the transaction ends. Identities before folders, as
    an erasure does it, and each in order: two that lock the same wait, and do not block each other."""
    ids = list(person_ids)
    _lock_names(ids)
    known = ImportPerson.objects.filter(id__in=ids, identity__isnull=False).values_list("identity_id", flat=True)
    rows = Identity.objects.filter(id__in=list(known)).order_by("id")
    list(rows.select_for_update(of=("self",), no_key=True))
    return {each.pk: each for each in ImportPerson.objects.filter(id__in=ids).order_by("id").select_for_update()}


def _lock_names(ids: list[int]) -> None:
    """Of those who are nobody yet: two imports of one zip at once make each of them once."""
    new = ImportPerson.objects.filter(id__in=ids, identity=None, external_id=None).select_related("run")
    numbers = {_number(f"{person.run.collection_id} {_key_of(person)}") for person in new}
    with connection.cursor() as cursor:
        for number in sorted(numbers):
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [number])


def _number(text: str) -> int:
    return int.from_bytes(sha256(text.encode()).digest()[:8], "big", signed=True)


def resolve(run: Import, person: ImportPerson) -> Identity | Refusal:
    """Who a folder is, made where it is nobody yet. Inside a transaction that has `person` by `lock`."""
    found = find_identity(run, person)
    if isinstance(found, Refusal):
        return found
    if found is None:
        found = _created(run, person)
    if person.identity_id != found.pk:
        person.identity = found
        person.save(update_fields=["identity"])
    if person.external_id is None:
        _remember(run, person, found)
    return found


def note(run: Import, person: ImportPerson) -> None:
    """Who a folder is already, although nothing of it was enrolled: so that their erasure finds the folder. Inside a
    transaction that has `person` locked."""
    if person.identity_id is not None or person.erased or person.problem_code:
        return
    found = find_identity(run, person)
    if isinstance(found, Identity) and Identity.objects.select_for_update(no_key=True).filter(pk=found.pk).exists():
        person.identity = found
        person.save(update_fields=["identity"])


def _created(run: Import, person: ImportPerson) -> Identity:
    values: dict[str, Any] = dict(person.values)
    if values.get("keep_until"):
        values["keep_until"] = date.fromisoformat(values["keep_until"])
    identity, _ = get_or_create_identity(
        collection=run.collection, name=person.name, external_id=person.external_id, **values
    )
    return identity


def _remember(run: Import, person: ImportPerson, identity: Identity) -> None:
    """The next import of this folder finds them, whatever they are called then."""
    try:
        with transaction.atomic():
            ImportedName.objects.update_or_create(
                collection_id=run.collection_id, key=_key_of(person), defaults={"identity": identity}
            )
    except IntegrityError:  # another import remembers the same at this moment
        return


def make_listed(run: Import, person_ids: Iterable[int]) -> None:
    """Everybody in people.csv becomes a person, with photos or without; some at a time."""
    with transaction.atomic():
        for person in lock(person_ids).values():
            if not person.problem_code:
                resolve(run, person)


def identities_of(run: Import, people: Iterable[ImportPerson]) -> dict[int, Identity | Refusal | None]:
    """`find_identity` of several, by the ids of their folders."""
    return {person.pk: find_identity(run, person) for person in people}


def portrait_owner_ids(found: Iterable[Identity | Refusal | None]) -> list[UUID]:
    return [each.pk for each in found if isinstance(each, Identity)]
