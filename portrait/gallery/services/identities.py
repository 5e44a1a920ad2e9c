"""Writes of collections and identities."""

from dataclasses import asdict
from datetime import timedelta
from typing import Any

from django.db import IntegrityError, OperationalError, transaction
from django.db.models import Model
from django.utils import timezone

from portrait.audit.models import Action
from portrait.audit.services import record, system
from portrait.core.errors import ConflictError, NotFoundError
from portrait.core.files import atomic_with_files
from portrait.core.pipelines import embedder_spec
from portrait.gallery.indexes import create_hnsw_index
from portrait.gallery.models import DEFAULT_COLLECTION, Collection, EmbeddingModel, Identity, Portrait
from portrait.gallery.services import journal
from portrait.gallery.services.people import survivor
from portrait.gallery.signals import collection_going, identity_going

DELETE_TRIES = 5
LEFTOVER_WAITS = timedelta(days=7)
"""Beyond the time of grace, for somebody whose making was undone: the job that gives their past back goes on by itself
until then (`sightings.services.history.resume`)."""


def ensure_defaults() -> None:
    """The embedding model that the settings name, its index and the default collection; safe to repeat."""
    spec = embedder_spec()
    model, _ = EmbeddingModel.objects.get_or_create(
        name=spec.name,
        version=spec.version,
        defaults={
            "dims": spec.dims,
            "calibration": asdict(spec.calibration),
            "state": EmbeddingModel.State.ACTIVE,
        },
    )
    create_hnsw_index(model)
    Collection.objects.get_or_create(name=DEFAULT_COLLECTION, defaults={"active_model": model})


def default_embedding_model() -> EmbeddingModel:
    """The model that new collections use."""
    spec = embedder_spec()
    return EmbeddingModel.objects.get(name=spec.name, version=spec.version)


def create_collection(*, name: str, **values: Any) -> Collection:
    """A new tenant.

    Raises:
        ConflictError: the name is taken.
    """
    try:
        with transaction.atomic():
            return Collection.objects.create(name=name, active_model=default_embedding_model(), **values)
    except IntegrityError:
        raise ConflictError(f"There is a collection {name!r} already.", field="name") from None


def update_collection(*, collection: Collection, **values: Any) -> Collection:
    """Change a tenant's own fields.

    Raises:
        ConflictError: the name is taken, or the default collection would lose its name.
    """
    if collection.name == DEFAULT_COLLECTION and values.get("name", DEFAULT_COLLECTION) != DEFAULT_COLLECTION:
        raise ConflictError("The default collection keeps its name.", field="name")
    taken = f"There is a collection {values.get('name')!r} already."
    _update(collection, values, ConflictError(taken, field="name"))
    return collection


def create_identity(*, collection: Collection, name: str, external_id: str | None, **values: Any) -> Identity:
    """A new identity.

    Raises:
        ConflictError: its collection has that `external_id` already.
    """
    try:
        with transaction.atomic():
            return Identity.objects.create(collection=collection, name=name, external_id=external_id, **values)
    except IntegrityError:
        raise ConflictError(
            f"The collection has an identity with the external_id {external_id!r} already.", field="external_id"
        ) from None


def get_or_create_identity(
    *, collection: Collection, name: str, external_id: str | None, **values: Any
) -> tuple[Identity, bool]:
    """The identity with this `external_id`, or a new one; True if new. Without an `external_id` always a new one.

    The id of somebody who was merged finds whom they are a part of.
    """
    if external_id is None:
        return create_identity(collection=collection, name=name, external_id=None, **values), True
    found, created = Identity.objects.get_or_create(
        collection=collection, external_id=external_id, defaults={"name": name, **values}
    )
    return survivor(found), created


def _update(row: Collection, values: dict[str, Any], taken: ConflictError) -> None:
    """Change exactly these columns of a row that still is there."""
    try:
        with transaction.atomic():
            found = type(row).objects.filter(pk=row.pk).update(**values, updated_at=timezone.now())
    except IntegrityError:
        raise taken from None
    if not found:
        raise NotFoundError("It was deleted meanwhile.")
    row.refresh_from_db()


def _delete(row: Identity | Portrait | Collection) -> None:
    """Delete a row with what hangs on it. An enrolment that is under way is waited for, and what it stored goes too.

    Files, and what lies in jobs, follow by `gallery.files`.
    """
    kind: type[Model] = type(row)
    for attempt in range(DELETE_TRIES):
        try:
            with atomic_with_files():  # what other apps write while they follow goes again if this fails
                for found in kind._default_manager.select_for_update(of=("self",)).filter(pk=row.pk):
                    found.delete()
        except (IntegrityError, OperationalError):  # something was added to it meanwhile; or a deadlock, ended by us
            if attempt + 1 == DELETE_TRIES:
                raise ConflictError("It is being added to at this very moment; try again.") from None
        else:
            return


def delete_identity(*, identity: Identity) -> None:
    """Remove a person: rows, vectors and, once that is committed, the files (`gallery.files`).

    Those who were merged into them are the same person, and go first. Cut off in the middle, the person is still there,
    and less was seen of them: delete them again.
    """
    for part in Identity.objects.filter(merged_into=identity).order_by("pk"):
        delete_identity(identity=part)
    identity_going.send(Identity, identity_id=identity.pk)
    _delete(identity)


def delete_portrait(*, portrait: Portrait) -> None:
    """Remove one portrait: row, vectors and, once that is committed, its files."""
    _delete(portrait)


def purge_deleted() -> int:
    """Remove for good whoever and whatever was deleted and whose time of grace is over; answers how many those were.

    Safe to run twice and at the same time: nobody is restored once that time is over, so what is found stays found.
    """
    over = journal.grace_began()
    purged = 0
    for identity in Identity.objects.filter(deleted_at__lte=over).order_by("pk"):
        if Identity.objects.filter(pk=identity.pk, deleted_at__lte=over).exists() and not _is_awaited(identity):
            record(
                principal=system("purge"),
                action=Action.ERASE,
                collection_id=identity.collection_id,
                details={"why": "deleted, and the time of grace is over"},
                identities=[identity.pk],
            )
            delete_identity(identity=identity)
            purged += 1
    for portrait in Portrait.objects.filter(deleted_at__lte=over).order_by("pk"):
        if Portrait.objects.filter(pk=portrait.pk, deleted_at__lte=over).exists():
            delete_portrait(portrait=portrait)
            purged += 1
    return purged


def _is_awaited(identity: Identity) -> bool:
    """Whether what was seen of somebody whose making was undone is on its way back to others; not for ever."""
    if identity.deleted_at is None or not journal.is_leftover(identity):
        return False
    if identity.deleted_at > journal.grace_began() - LEFTOVER_WAITS:
        return True
    try:
        return journal.remove_leftover(identity_id=identity.pk)  # what nothing holds is gone without any erasure
    except ConflictError:
        return False


def delete_collection(*, collection: Collection) -> None:
    """Remove a tenant with everything in it. Cut off in the middle, it is still there with less: delete it again.

    Raises:
        ConflictError: it is the default collection.
    """
    if collection.name == DEFAULT_COLLECTION:
        raise ConflictError("The default collection cannot be deleted; delete its identities instead.")
    collection_going.send(Collection, collection_id=collection.pk)
    _delete(collection)
