"""Made-up people: identities with vectors of their own, written without any picture."""

import uuid
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from portrait.gallery.models import Collection, Distinct, Identity, Portrait, PortraitEmbedding, Rejection
from portrait.gallery.services.journal import Actor

ACTOR = Actor("a test")
DIMS = 128


def vector_of(person: int, face: int = 0) -> NDArray[np.float32]:
    """A person's face: two of them are about 0.2 apart, two people 1.4."""
    centre = np.random.default_rng(1000 + person).normal(size=DIMS)
    noise = np.random.default_rng([person, face]).normal(size=DIMS)
    return np.asarray(centre / np.linalg.norm(centre) + 0.15 * noise / np.linalg.norm(noise), dtype=np.float32)


def add_portrait(identity: Identity, vector: NDArray[np.float32], *, sha256: str | None = None) -> Portrait:
    portrait = Portrait.objects.create(
        identity=identity,
        image="none",
        thumbnail="none",
        width=1,
        height=1,
        box=[0, 0, 1, 1],
        detector="test",
        score=1,
        quality={},
        sha256=sha256 or uuid.uuid4().hex * 2,
    )
    PortraitEmbedding.objects.create(
        portrait=portrait,
        model_id=identity.collection.active_model_id,
        collection_id=identity.collection_id,
        identity=identity,
        vector=vector,
    )
    return portrait


def add(collection: Collection, person: int, *, faces: int = 2, **values: Any) -> Identity:
    """An identity with so many portraits of this made-up person."""
    identity = Identity.objects.create(collection=collection, **{"name": f"person {person}", **values})
    for face in range(faces):
        add_portrait(identity, vector_of(person, face))
    return identity


def portraits_of(identity: Identity) -> Sequence[Portrait]:
    return list(Portrait.objects.filter(identity=identity, deleted_at=None).order_by("pk"))


def snapshot(collection: Collection) -> dict[str, list[Any]]:
    """All that edits may change in a collection. Times of deletion count as whether."""
    people = Identity.objects.filter(collection=collection)
    identities = [
        (*row[:-1], row[-1] is not None)
        for row in people.order_by("pk").values_list(
            "pk",
            "name",
            "external_id",
            "metadata",
            "action",
            "kind",
            "hidden",
            "merged_into",
            "consent",
            "keep_until",
            "deleted_at",
        )
    ]
    portraits = Portrait.objects.filter(identity__in=people).order_by("pk")
    vectors = PortraitEmbedding.objects.filter(collection=collection).order_by("portrait")
    return {
        "identities": identities,
        "portraits": [(*row[:2], row[2] is not None) for row in portraits.values_list("pk", "identity", "deleted_at")],
        "vectors": list(vectors.values_list("portrait", "model", "identity", "live")),
        "rejections": sorted(Rejection.objects.filter(identity__in=people).values_list("pk", "identity", "portrait")),
        "distinct": sorted(Distinct.objects.filter(first__in=people).values_list("pk", "first", "second")),
    }
