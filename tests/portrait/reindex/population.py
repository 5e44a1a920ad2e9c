"""Made-up people whose vectors are spread about as dlib's: 0.35 between one person's, 0.8 between two people's."""

import uuid

import numpy as np
from numpy.typing import NDArray

from portrait.gallery.models import Collection, Identity, Portrait, PortraitEmbedding
from portrait.gallery.services.identities import default_embedding_model

DIMS = 128
Vectors = NDArray[np.float32]


def people(count: int, each: int, seed: int = 1) -> Vectors:
    """float32 (count, each, 128). Faces vary in fewer directions than a vector has numbers."""
    random = np.random.default_rng(seed)
    axes = np.linalg.qr(np.random.default_rng(0).normal(size=(DIMS, DIMS)))[0]
    spread = np.exp(-np.arange(DIMS) / 20.0)
    spread *= 0.58 / np.linalg.norm(spread)
    centres = 0.1 + (random.normal(size=(count, DIMS)) * spread) @ axes.T
    within = spread * 0.35 / 0.8
    noise = (random.normal(size=(count, each, DIMS)) * within) @ axes.T
    return np.asarray(centres[:, None] + noise, dtype=np.float32)


def enrol(collection: Collection, vectors: Vectors, prefix: str = "person") -> list[Identity]:
    """Identities with portraits without pictures, by the usual network's vectors."""
    model = default_embedding_model()
    identities = Identity.objects.bulk_create(
        Identity(collection=collection, name=f"{prefix} {index}") for index in range(len(vectors))
    )
    owners = [identity for identity, own in zip(identities, vectors, strict=True) for _ in own]
    portraits = Portrait.objects.bulk_create(
        Portrait(
            identity=owner,
            image="none.jpg",
            thumbnail="none.jpg",
            width=10,
            height=10,
            box=[0, 0, 5, 5],
            detector="test",
            score=1,
            quality={},
            sha256=uuid.uuid4().hex * 2,
        )
        for owner in owners
    )
    PortraitEmbedding.objects.bulk_create(
        PortraitEmbedding(portrait=portrait, model=model, collection=collection, identity=portrait.identity, vector=row)
        for portrait, row in zip(portraits, vectors.reshape(-1, DIMS), strict=True)
    )
    return identities
