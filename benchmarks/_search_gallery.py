"""Collections of any size full of synthetic people. Import only once Django is set up.

Every gallery has an embedding model of its own, so that its index holds nothing else; those with a hundred
collections share one index among them, as a service with a hundred tenants does.
"""

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from django.db import connection, transaction
from numpy.typing import NDArray

from benchmarks import _search_copy as rows
from benchmarks._search_population import DIMS, PORTRAITS_A_PERSON, Population, Vectors
from inference.config import DLIB_RESNET
from portrait.gallery.indexes import (
    BUILD_MEMORY,
    BUILD_WORKERS,
    REDUCED_ABOVE,
    build_reduced_index,
    create_hnsw_index,
    drop_live_indexes,
    index_name,
)
from portrait.gallery.models import Collection, EmbeddingModel, Identity, Portrait, PortraitEmbedding
from portrait.gallery.neighbours import EXACT_BELOW
from portrait.gallery.reduction import reduced_index_name

Numbers = NDArray[np.int64]

TENANTS = 100
LARGEST_SHARED = 100_000
"""Above, collections that are each scanned exactly get no index among them: none would read it."""
MICROSECONDS_TO_2026 = 26 * 365 * 86_400_000_000


@dataclass(frozen=True, slots=True)
class Gallery:
    """`size` portraits in one collection, or in several of the same size."""

    size: int
    tenants: int = 1

    @property
    def name(self) -> str:
        return f"bench-{self.size}-in-{self.tenants}"

    @property
    def indexed(self) -> bool:
        return self.tenants == 1 or self.size <= LARGEST_SHARED or self.walked

    @property
    def walked(self) -> bool:
        """Whether a search goes by the index: the collection is too large for an exact scan."""
        return self.size // self.tenants > EXACT_BELOW

    @property
    def reduced(self) -> bool:
        """Whether its index is made of reduced vectors."""
        return self.indexed and self.size > REDUCED_ABOVE

    def model(self) -> EmbeddingModel:
        return EmbeddingModel.objects.get(name=self.name)

    def collection(self, number: int = 0) -> Collection:
        return Collection.objects.select_related("active_model").get(name=f"{self.name}-{number}")


@dataclass(frozen=True, slots=True)
class Built:
    """What it took, and what it takes."""

    loading_s: float
    index_s: float
    table_mb: float
    index_mb: float


def build(gallery: Gallery, kept: Path) -> Built:
    """Load a gallery and build its index, unless an earlier run did; the figures are of whenever it was done.

    Vectors first, their index at the end: of the vectors as they are, or of reduced ones as a service's upkeep builds
    it. What a build that was broken off has left goes first.
    """
    note = kept / f"{gallery.name}.json"
    if EmbeddingModel.objects.filter(name=gallery.name).exists():
        if note.exists():
            return Built(**json.loads(note.read_text()))
        remove(gallery)
    before = _size_mb(PortraitEmbedding._meta.db_table)
    started = time.perf_counter()
    with transaction.atomic():
        model = _load(gallery)
        loaded = time.perf_counter()
        table_mb = _size_mb(PortraitEmbedding._meta.db_table) - before
        _execute(f"SET LOCAL maintenance_work_mem = '{BUILD_MEMORY}'")
        _execute(f"SET LOCAL max_parallel_maintenance_workers = {BUILD_WORKERS}")
        if gallery.indexed and not gallery.reduced:
            create_hnsw_index(model)
    if gallery.reduced:
        build_reduced_index(model)
    done = time.perf_counter()
    name = reduced_index_name(model) if gallery.reduced else index_name(model)
    index_mb = _size_mb(name) if gallery.indexed else 0.0
    built = Built(round(loaded - started, 1), round(done - loaded, 1), round(table_mb, 1), round(index_mb, 1))
    note.write_text(json.dumps(asdict(built)))
    return built


def remove(gallery: Gallery) -> None:
    """Everything of a gallery again."""
    model = gallery.model()
    tenants = Collection.objects.filter(active_model=model)
    drop_live_indexes(model)
    with transaction.atomic():
        for table in (Identity, Portrait, PortraitEmbedding):  # else the planner takes them for small
            _execute(f"ANALYZE {table._meta.db_table}")
        PortraitEmbedding.objects.filter(model=model)._raw_delete(using="default")
        Portrait.objects.filter(identity__collection__in=tenants)._raw_delete(using="default")
        Identity.objects.filter(collection__in=tenants)._raw_delete(using="default")
        tenants._raw_delete(using="default")
        model.delete()


def _load(gallery: Gallery) -> EmbeddingModel:
    _execute("SET LOCAL session_replication_role = replica")  # keys are right by construction: no check a row
    model = EmbeddingModel.objects.create(
        name=gallery.name, version="1", dims=DIMS, calibration=asdict(DLIB_RESNET.calibration), state="active"
    )
    tenants = [
        Collection.objects.create(name=f"{gallery.name}-{number}", active_model=model)
        for number in range(gallery.tenants)
    ]
    keys = np.array([list(tenant.pk.bytes) for tenant in tenants], np.uint8)
    random = np.random.default_rng([gallery.size, gallery.tenants])
    first = 0
    for pictures in Population().portraits(gallery.size):
        numbers = np.arange(first, first + len(pictures))
        _copy(model, numbers, keys[numbers % gallery.tenants], pictures, random)  # all tenants grow at the same time
        first += len(pictures)
    return model


def _copy(
    model: EmbeddingModel, numbers: Numbers, tenants: rows.Bytes, pictures: Vectors, random: np.random.Generator
) -> None:
    """One chunk of people: their numbers, collections (people, 16) and pictures (people, each, DIMS)."""
    now = np.array([MICROSECONDS_TO_2026], ">i8").tobytes()
    people, count = len(pictures), pictures.shape[0] * PORTRAITS_A_PERSON
    person, portrait = rows.uuids(people, random), rows.uuids(count, random)
    name = rows.texts("p", numbers.astype(">u4").view(np.uint8).reshape(people, 4))
    owner = person.repeat(PORTRAITS_A_PERSON, axis=0)
    dates: dict[str, rows.Column] = {"created_at": now, "updated_at": now}
    rows.copy(
        Identity,
        people,
        {"id": person, **dates, "collection_id": tenants, "name": name}
        | {"metadata": b"\1{}", "action": b"", "kind": b"known", "hidden": b"\0", "consent": b""},
    )
    one = np.array([1], ">i4").tobytes()
    rows.copy(
        Portrait,
        count,
        {"id": portrait, **dates, "identity_id": owner, "image": b"none", "thumbnail": b"none", "width": one}
        | {"height": one, "box": rows.float_array([0.0, 0.0, 1.0, 1.0]), "detector": b"bench", "quality": b"\1{}"}
        | {"score": np.array([1], ">f8").tobytes(), "sha256": rows.texts("", portrait.repeat(2, axis=1))},
    )
    rows.copy(
        PortraitEmbedding,
        count,
        {"portrait_id": portrait, "model_id": np.array([model.pk], ">i8").tobytes(), "identity_id": owner}
        | {"collection_id": tenants.repeat(PORTRAITS_A_PERSON, axis=0), "live": b"\1"}
        | {"vector": rows.vectors(pictures.reshape(count, -1))},
    )


def _execute(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


def _size_mb(relation: str) -> float:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_total_relation_size(%s) / 2.0 ^ 20", [relation])
        return float(cursor.fetchone()[0])
