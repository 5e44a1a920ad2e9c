"""Writes of collections and identities."""

from dataclasses import asdict
from typing import Any

from django.db import IntegrityError, transaction

from portrait.core.errors import ConflictError
from portrait.core.pipelines import embedder_spec
from portrait.gallery.indexes import create_hnsw_index
from portrait.gallery.models import DEFAULT_COLLECTION, Collection, EmbeddingModel, Identity, Portrait


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
    for name, value in values.items():
        setattr(collection, name, value)
    try:
        with transaction.atomic():
            collection.save(update_fields=[*values, "updated_at"])
    except IntegrityError:
        raise ConflictError(f"There is a collection {values.get('name')!r} already.", field="name") from None
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
    """The identity with this `external_id`, or a new one; True if new. Without an `external_id` always a new one."""
    if external_id is None:
        return create_identity(collection=collection, name=name, external_id=None, **values), True
    return Identity.objects.get_or_create(
        collection=collection, external_id=external_id, defaults={"name": name, **values}
    )


def update_identity(*, identity: Identity, **values: Any) -> Identity:
    """Change an identity's own fields. A name given to an unknown person makes it known.

    Raises:
        ConflictError: its collection has that `external_id` already.
    """
    if "name" in values and identity.kind == Identity.Kind.UNKNOWN and values["name"] != identity.name:
        values["kind"] = Identity.Kind.KNOWN
    for name, value in values.items():
        setattr(identity, name, value)
    try:
        with transaction.atomic():
            identity.save(update_fields=[*values, "updated_at"])
    except IntegrityError:
        raise ConflictError(
            f"The collection has an identity with the external_id {values.get('external_id')!r} already.",
            field="external_id",
        ) from None
    return identity


def delete_identity(*, identity: Identity) -> None:
    """Remove a person: rows, vectors and, once that is committed, the files (`gallery.files`)."""
    identity.delete()


def delete_portrait(*, portrait: Portrait) -> None:
    """Remove one portrait: row, vectors and, once that is committed, its files."""
    portrait.delete()


def delete_collection(*, collection: Collection) -> None:
    """Remove a tenant with everything in it.

    Raises:
        ConflictError: it is the default collection.
    """
    if collection.name == DEFAULT_COLLECTION:
        raise ConflictError("The default collection cannot be deleted; delete its identities instead.")
    collection.delete()
