"""Galleries of many people, whose vectors lie as real ones do. Import only once Django is set up."""

import time
import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import numpy as np
from django.db import connection, transaction
from numpy.typing import NDArray
from pgvector import Vector

from portrait.gallery.indexes import create_hnsw_index, index_name
from portrait.gallery.models import Collection, EmbeddingModel, Identity, Portrait, PortraitEmbedding
from portrait.gallery.services.identities import create_collection, default_embedding_model

Vectors = NDArray[np.float32]

PORTRAITS_A_PERSON = 5
CHUNK_PEOPLE = 2_000
BUILD_MEMORY, BUILD_WORKERS = "6GB", 2
# Of real faces by this embedder, in squares of its distance: two people are 0.82 apart, two portraits of one 0.45.
BETWEEN, WITHIN = 0.82**2 / 2 - 0.45**2 / 2, 0.45**2 / 2


def name_of(size: int) -> str:
    return f"gallery-{size}"


def ready(size: int) -> bool:
    """Whether an earlier run left this gallery."""
    return PortraitEmbedding.objects.filter(collection__name=name_of(size)).count() >= size


def build(sizes: Sequence[int], real: Vectors) -> dict[str, float]:
    """Make those galleries that are missing, each with everybody of `real` (n, dims) enrolled in it; seconds taken.

    Vectors first, their index at the end, with more memory than a server has by itself. All in one transaction: a
    build that is broken off leaves nothing.
    """
    missing = [size for size in sizes if not ready(size)]
    if not missing:
        return {}
    model, started = default_embedding_model(), time.perf_counter()
    with transaction.atomic():
        _execute("SET CONSTRAINTS ALL IMMEDIATE")  # an index cannot be made while checks are put off
        _execute(f'DROP INDEX IF EXISTS "{index_name(model)}"')
        for size in missing:
            _fill(create_collection(name=name_of(size)), model, size, real)
        loaded = time.perf_counter()
        _execute(f"SET LOCAL maintenance_work_mem = '{BUILD_MEMORY}'")
        _execute(f"SET LOCAL max_parallel_maintenance_workers = {BUILD_WORKERS}")
        create_hnsw_index(model)
    indexed = time.perf_counter()
    _execute("VACUUM ANALYZE")
    return {"loading_s": round(loaded - started, 1), "index_s": round(indexed - loaded, 1)}


def _execute(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


def _fill(collection: Collection, model: EmbeddingModel, size: int, real: Vectors) -> None:
    for people in _people(size, real):
        _copy(collection, model, people)


def _people(size: int, real: Vectors) -> Iterator[list[Vectors]]:
    """Each a person's vectors (portraits, dims), `size` portraits in all; those of `real` come first."""
    random = np.random.default_rng(size)
    dims = real.shape[1]
    mean, length = real.mean(axis=0), np.linalg.norm(real, axis=1).mean()
    axes = np.linalg.qr(random.normal(size=(dims, dims)))[0]
    spectrum = 1 / (np.arange(dims) + 10.0)
    shape = (np.sqrt(spectrum / spectrum.sum())[:, None] * axes.T).astype(np.float32)
    centre = mean * np.sqrt(max(0.0, length**2 - BETWEEN - WITHIN)) / np.linalg.norm(mean)
    yield [row[None] for row in real]
    left = size - len(real)
    while left > 0:
        count = min(CHUNK_PEOPLE, -(-left // PORTRAITS_A_PERSON))
        people = centre + np.sqrt(BETWEEN) * random.normal(size=(count, 1, dims)) @ shape
        rows = people + np.sqrt(WITHIN) * random.normal(size=(count, PORTRAITS_A_PERSON, dims)) @ shape
        rows *= length / np.linalg.norm(rows, axis=2, keepdims=True)
        chunk = [person[: max(0, left - PORTRAITS_A_PERSON * index)] for index, person in enumerate(rows)]
        left -= sum(map(len, chunk))
        yield [person.astype(np.float32) for person in chunk if len(person)]


def _copy(collection: Collection, model: EmbeddingModel, people: Sequence[Vectors]) -> None:
    now = datetime.now(UTC)
    owners = [uuid.uuid4() for _ in people]
    owned = [(owner, uuid.uuid4(), vector) for owner, rows in zip(owners, people, strict=True) for vector in rows]
    box, quality = [0.0, 0.0, 1.0, 1.0], "{}"
    identity = ("id", "created_at", "updated_at", "collection_id", "name", "metadata", "action", "kind", "hidden")
    portrait = ("id", "created_at", "updated_at", "identity_id", "image", "thumbnail", "width", "height", "box")
    portrait += ("detector", "score", "quality", "sha256")
    _load(
        Identity,
        identity,
        ((key, now, now, collection.pk, f"p{key.hex[:8]}", "{}", "", "known", False) for key in owners),
    )
    _load(
        Portrait,
        portrait,
        (
            (key, now, now, owner, "none", "none", 1, 1, box, "bench", 1.0, quality, key.hex * 2)
            for owner, key, _ in owned
        ),
    )
    _load(
        PortraitEmbedding,
        ("portrait_id", "model_id", "collection_id", "identity_id", "vector"),
        ((key, model.pk, collection.pk, owner, Vector(vector).to_text()) for owner, key, vector in owned),
    )


def _load(table: type, columns: Sequence[str], rows: Iterator[Sequence[object]]) -> None:
    statement = f"COPY {table._meta.db_table} ({', '.join(columns)}) FROM STDIN"
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for row in rows:
            copy.write_row(row)
