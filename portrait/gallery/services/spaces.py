"""Which embedding models a collection's faces get vectors of, so that a change of the model never misses a face.

A collection has one active model, by which it is searched, and keeps further ones: one that is being built, and those
it can go back to. Whoever stores vectors takes `lock_models` first; whoever changes what a collection keeps takes
`change_models`, which waits until all that were stored by the old rule are committed. So nobody stores by a rule that
is not in force, and neither waits for the other for longer than such a transaction takes.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from django.db import connection, transaction

from inference.codec import decode
from inference.faces.align import align
from inference.types import Embedding, Face, FaceDetection
from portrait.core.errors import NotFoundError
from portrait.core.pipelines import codec_limits, embedder
from portrait.gallery.models import Collection, EmbeddingModel, Portrait, PortraitEmbedding
from portrait.gallery.services.photos import PreparedPhoto
from portrait.gallery.vectors import network_of, stored_values, vector_of

GONE = "The collection was deleted meanwhile."


@dataclass(frozen=True, slots=True)
class Models:
    """What a collection's faces get vectors of: its active model's, and those of the `kept`."""

    collection: Collection
    kept: tuple[EmbeddingModel, ...]

    @property
    def active(self) -> EmbeddingModel:
        return self.collection.active_model

    @property
    def all(self) -> tuple[EmbeddingModel, ...]:
        return (self.active, *self.kept)

    @property
    def networks(self) -> frozenset[str]:
        return frozenset(network_of(model) for model in self.all)


def models_of(collection_id: UUID) -> Models:
    """The models of a collection now: without a lock it may be another rule in a moment.

    Raises:
        NotFoundError: the collection is gone.
    """
    collection = Collection.objects.select_related("active_model").filter(pk=collection_id).first()
    if collection is None:
        raise NotFoundError(GONE)
    kept = collection.kept_models.exclude(pk=collection.active_model_id).order_by("pk")
    return Models(collection, tuple(kept))


def networks_of(collection_ids: Iterable[UUID]) -> frozenset[str]:
    """The networks that have to see the faces of these collections."""
    ids = list(collection_ids)
    active = EmbeddingModel.objects.filter(pk__in=Collection.objects.filter(pk__in=ids).values("active_model"))
    kept = EmbeddingModel.objects.filter(kept_by__in=ids)
    return frozenset(network_of(model) for model in active.union(kept))


def lock_models(collection_id: UUID) -> Models:
    """The models of a collection, which stay so until the transaction ends. Any number of callers at once.

    Raises:
        NotFoundError: the collection is gone.
    """
    table = connection.ops.quote_name(Collection._meta.db_table)
    with connection.cursor() as cursor:  # Django has no word for this lock, which only `change_models` waits for
        cursor.execute(f"SELECT 1 FROM {table} WHERE id = %s FOR KEY SHARE", [collection_id])  # noqa: S608
    return models_of(collection_id)


@contextmanager
def change_models(collection_id: UUID, *, wait: str = "30s") -> Iterator[Collection]:
    """A transaction in which nobody stores vectors of the collection: all who did so have committed.

    wait: for them, at most; who wants to store meanwhile waits too. Searches wait for nobody.

    Raises:
        NotFoundError: the collection is gone.
        OperationalError: somebody stores for longer.
    """
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('lock_timeout', %s, true)", [wait])
        rows = Collection.objects.select_for_update(of=("self",)).select_related("active_model")
        found = rows.filter(pk=collection_id).first()
        if found is None:
            raise NotFoundError(GONE)
        yield found


def portrait_rows(models: Models, portrait: Portrait, face: Face, **values: Any) -> list[PortraitEmbedding]:
    """A portrait's vectors by all these models.

    Raises:
        NotEmbeddedError: a network did not see the face (`seen_by`).
    """
    return [
        PortraitEmbedding(portrait=portrait, model=model, **values, **stored_values(model, vector_of(model, face)))
        for model in models.all
    ]


def seen_by(photo: PreparedPhoto, networks: Iterable[str]) -> PreparedPhoto:
    """The photo with its face seen by these networks too. Slow where one has not seen it.

    Raises:
        ServerError: a network cannot be reached.
    """
    missing = [name for name in sorted(networks) if photo.face.embedding_by(name) is None]
    if not missing:
        return photo
    image = decode(photo.jpeg, limits=codec_limits())
    where = FaceDetection(photo.box, photo.face.score, photo.landmarks)
    others: list[Embedding] = []
    for name in missing:
        network = embedder(name)
        others += network.embed([align(image, where, network.spec)])
    return replace(photo, face=replace(photo.face, others=(*photo.face.others, *others)))
