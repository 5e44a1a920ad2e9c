"""Who is nearest: on PostgreSQL with pgvector, against an exact answer computed here."""

import uuid

import numpy as np
import pytest
from django.db import connection
from numpy.typing import NDArray

from portrait.gallery import neighbours
from portrait.gallery.indexes import index_name
from portrait.gallery.models import Collection, EmbeddingModel, Identity, Portrait, PortraitEmbedding
from portrait.gallery.selectors import calibration_of, nearest_identities
from portrait.gallery.services.identities import create_collection
from portrait.gallery.vectors import distance_to

pytestmark = pytest.mark.django_db
DIMS = 128
Vector = NDArray[np.float32]


def add(collection: Collection, name: str, vectors: Vector) -> Identity:
    """An identity with these vectors (n, 128), written in bulk."""
    identity = Identity.objects.create(collection=collection, name=name)
    portraits = Portrait.objects.bulk_create(
        Portrait(
            identity=identity,
            image="none",
            thumbnail="none",
            width=1,
            height=1,
            box=[0, 0, 1, 1],
            detector="test",
            score=1,
            quality={},
            sha256=uuid.uuid4().hex * 2,
        )
        for _ in vectors
    )
    PortraitEmbedding.objects.bulk_create(
        PortraitEmbedding(
            portrait=portrait, model=collection.active_model, collection=collection, identity=identity, vector=vector
        )
        for portrait, vector in zip(portraits, vectors, strict=True)
    )
    return identity


def at(distance: float, axis: int = 0) -> Vector:
    """A vector at this distance from the origin."""
    vector = np.zeros(DIMS, dtype=np.float32)
    vector[axis] = distance
    return vector


ORIGIN = at(0.0)


def test_one_person_with_many_portraits_takes_one_place(collection: Collection) -> None:
    crowd = np.stack([at(0.1 + index * 1e-4, index % DIMS) for index in range(300)])
    many = add(collection, "many", crowd)
    second = add(collection, "second", at(0.3)[None])
    third = add(collection, "third", at(0.4, 3)[None])
    found = nearest_identities(collection, ORIGIN, top_k=3)
    assert [candidate.identity for candidate in found] == [many, second, third]
    assert found[0].distance == pytest.approx(0.1, abs=1e-6)
    similarities = [candidate.similarity for candidate in found]
    assert similarities == sorted(similarities, reverse=True)


def test_nobody_near_enough_is_unknown(collection: Collection) -> None:
    threshold = calibration_of(collection).threshold
    add(collection, "stranger", at(threshold + 0.01)[None])
    assert nearest_identities(collection, ORIGIN, top_k=5) == []
    near = add(collection, "near", at(threshold - 0.01, 1)[None])
    (found,) = nearest_identities(collection, ORIGIN, top_k=5)
    assert found.identity == near
    assert 0.5 < found.similarity < 0.6


def test_the_threshold_itself_is_similarity_one_half(collection: Collection) -> None:
    calibration = calibration_of(collection)
    assert calibration.similarity(calibration.threshold) == 0.5


def test_a_collection_may_have_its_own_threshold(collection: Collection) -> None:
    add(collection, "far", at(0.8)[None])
    assert nearest_identities(collection, ORIGIN) == []
    collection.threshold = 0.9
    assert len(nearest_identities(collection, ORIGIN)) == 1


def test_collections_and_models_do_not_mix(collection: Collection, other_collection: Collection) -> None:
    add(collection, "here", at(0.2)[None])
    add(other_collection, "there", at(0.1)[None])
    assert [found.identity.name for found in nearest_identities(collection, ORIGIN, top_k=9)] == ["here"]
    other_model = EmbeddingModel.objects.create(
        name="other", version="1", dims=DIMS, calibration={"threshold": 0.6, "slope": 16}
    )
    PortraitEmbedding.objects.filter(collection=other_collection).update(model=other_model)
    assert nearest_identities(other_collection, ORIGIN, top_k=9) == []


def test_an_empty_collection_knows_nobody(collection: Collection) -> None:
    assert nearest_identities(collection, ORIGIN, top_k=5, min_similarity=0) == []


@pytest.mark.parametrize("exact_below", [10_000, 0], ids=["small collection", "index"])
def test_ranking_equals_an_exact_scan(
    collection: Collection, exact_below: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """4,000 portraits of 800 people in two collections: pgvector's answers against NumPy's."""
    monkeypatch.setattr(neighbours, "EXACT_BELOW", exact_below)
    random = np.random.default_rng(7)
    # Faces vary in fewer directions than a vector has numbers.
    directions = np.linalg.qr(random.normal(size=(DIMS, 24)))[0].T
    decoys = create_collection(name=f"d-{uuid.uuid4().hex[:8]}")
    centres = random.normal(scale=0.15, size=(800, 24)) @ directions
    people: list[tuple[Identity, Vector]] = []
    for index, centre in enumerate(centres):
        vectors = (centre + random.normal(scale=0.02, size=(5, DIMS))).astype(np.float32)
        people.append((add(collection if index % 4 else decoys, f"p{index}", vectors), vectors))
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE gallery_portraitembedding")
    mine = [(identity, vectors) for identity, vectors in people if identity.collection_id == collection.id]
    right, recalled, asked = 0, 0, 40
    for index in random.choice(len(mine), asked, replace=False):
        probe = (mine[index][1][0] + random.normal(scale=0.02, size=DIMS)).astype(np.float32)
        exact = sorted(mine, key=lambda person: float(np.linalg.norm(person[1] - probe, axis=1).min()))[:10]
        found = nearest_identities(collection, probe, top_k=10, min_similarity=0)
        assert len(found) == 10
        right += found[0].identity == exact[0][0]
        recalled += len({candidate.identity for candidate in found} & {identity for identity, _ in exact})
    assert right == asked
    assert recalled >= (1.0 if exact_below else 0.97) * asked * 10


def test_the_search_can_use_the_models_own_index(collection: Collection) -> None:
    """The expression that the ORM writes is the one the partial index was made for."""
    model = collection.active_model
    add(collection, "somebody", np.stack([at(0.1 + index * 1e-3) for index in range(50)]))
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute("SET LOCAL enable_sort = off")
    rows = PortraitEmbedding.objects.filter(model_id=model.pk, live=True).annotate(distance=distance_to(model, ORIGIN))
    assert index_name(model) in rows.order_by("distance")[:5].explain()
