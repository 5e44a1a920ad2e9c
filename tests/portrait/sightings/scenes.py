"""Made-up camera scenes: people with vectors of their own, and frames in which they are seen well, badly or not."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

import numpy as np

from inference.types import Box, Embedding, Face, FaceAnalysis, Quality, QualityReason
from portrait.cameras.models import Camera, Frame
from portrait.gallery.models import Collection, Identity, Portrait, PortraitEmbedding
from portrait.gallery.services.identities import default_embedding_model
from portrait.sightings.models import Sighting
from portrait.sightings.services.tracks import SeenFrame

BEGIN = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
DIMS = 128
NOISE = 0.15
"""Length of what is added to a person's vector: two of its faces are about 0.2 apart, two people 1.4."""


@dataclass(frozen=True)
class Visible:
    """A person in a frame: which, where, and how well."""

    person: int
    x: float
    reasons: tuple[QualityReason, ...] = ()
    score: float = 0.8


LOOKALIKE = 100
"""Somebody who looks like person 0: near enough to be taken for them, not near enough to be mixed up on the way."""


def person_vector(person: int) -> np.ndarray:
    if person == LOOKALIKE:
        mixed = person_vector(0) + 0.5 * person_vector(5)
        return np.asarray(mixed / np.linalg.norm(mixed))
    vector = np.random.default_rng(1000 + person).normal(size=DIMS)
    return np.asarray(vector / np.linalg.norm(vector))


def face_of(visible: Visible, random: np.random.Generator) -> Face:
    noise = random.normal(size=DIMS)
    vector = person_vector(visible.person) + NOISE * noise / np.linalg.norm(noise)
    quality = Quality(visible.score, 80.0, 30.0, 100.0, 0.9, 0.0, 0.0, 1.0, visible.reasons)
    return Face(Box(visible.x, 40.0, 60.0, 80.0), 0.9, None, quality, Embedding("dlib_resnet", vector))


def make_camera(collection: Collection, name: str, **values: object) -> Camera:
    camera = Camera.objects.create(collection=collection, name=name, **values)
    return Camera.objects.select_related("collection__active_model").get(pk=camera.pk)


def enrol(collection: Collection, person: int, name: str) -> Identity:
    """A person of the gallery, whose portrait is the person's very vector."""
    identity = Identity.objects.create(collection=collection, name=name)
    portrait = Portrait.objects.create(
        identity=identity,
        image="none.jpg",
        thumbnail="none.jpg",
        width=10,
        height=10,
        box=[0, 0, 5, 5],
        detector="test",
        score=1,
        quality={},
        sha256=f"{person:064d}",
    )
    PortraitEmbedding.objects.create(
        portrait=portrait,
        model=default_embedding_model(),
        collection=collection,
        identity=identity,
        vector=person_vector(person),
    )
    return identity


def seen_frames(camera: Camera, scene: Sequence[tuple[float, Sequence[Visible]]], seed: int = 0) -> list[SeenFrame]:
    """Ledger rows without pictures, and what is seen in them; the same faces for the same seed."""
    frames = []
    for sequence, (second, people) in enumerate(scene):
        random = np.random.default_rng([seed, sequence])
        row = Frame.objects.create(
            camera=camera,
            sequence=sequence,
            captured_at=BEGIN + timedelta(seconds=second),
            sha256="0" * 64,
            size_bytes=1,
            width=640,
            height=360,
        )
        faces = tuple(map(partial(face_of, random=random), people))
        frames.append(SeenFrame(row, FaceAnalysis(640, 360, faces)))
    return frames


def sightings_of(camera: Camera) -> list[tuple[str, float, float, int, int | None, float]]:
    """(name, first and last second, hits, sequence of the best picture's frame, similarity)."""
    rows = Sighting.objects.filter(camera=camera).select_related("identity", "best__frame")
    return sorted(
        (
            row.identity.name,
            (row.first_seen - BEGIN).total_seconds(),
            (row.last_seen - BEGIN).total_seconds(),
            row.hits,
            row.best.frame.sequence if row.best else None,
            round(row.similarity or 0.0, 6),
        )
        for row in rows
    )
