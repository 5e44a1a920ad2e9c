"""People made for suggestions: out of vectors, or out of real faces."""

import uuid
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from portrait.curation.models import Kind, State, Suggestion
from portrait.curation.services.starting import start_scan
from portrait.gallery.models import Collection, Identity, Portrait, PortraitEmbedding
from portrait.gallery.services.journal import Actor
from portrait.jobs.models import Job
from portrait.jobs.services import close_if_finished
from portrait.jobs.tasks import run_item

DIMS = 128
Vector = NDArray[np.float32]
ANNA, BEN = Actor("Anna"), Actor("Ben")


def person(
    collection: Collection, name: str, vectors: Sequence[Vector], *, kind: str = "unknown", **values: Any
) -> Identity:
    """An identity with a portrait a vector; `quality` and `sha256` are of all portraits, the rest of the identity."""
    quality, sha256 = values.pop("quality", 0.9), values.pop("sha256", None)
    identity = Identity.objects.create(collection=collection, name=name, kind=kind, **values)
    for vector in vectors:
        add_portrait(identity, vector, quality=quality, sha256=sha256)
    return identity


def add_portrait(identity: Identity, vector: Vector, *, quality: float = 0.9, sha256: str | None = None) -> Portrait:
    portrait = Portrait.objects.create(
        identity=identity,
        image="none",
        thumbnail="none",
        width=1,
        height=1,
        box=[0, 0, 1, 1],
        detector="test",
        score=1,
        quality={"score": quality, "reasons": []},
        sha256=sha256 or uuid.uuid4().hex * 2,
    )
    PortraitEmbedding.objects.create(
        portrait=portrait,
        model=identity.collection.active_model,
        collection=identity.collection,
        identity=identity,
        vector=vector,
    )
    return portrait


def face(who: int, *, off: float = 0.1, seed: int = 0) -> Vector:
    """A face of one of 64 people, who are 0.99 apart; two faces of one are `off` * 1.4 apart."""
    vector = np.zeros(DIMS, dtype=np.float32)
    vector[who] = 0.7
    rng = np.random.default_rng(1000 * who + seed + 1)
    noise = np.zeros(DIMS)
    noise[64:] = rng.normal(size=DIMS - 64)
    return np.asarray(vector + off * noise / np.linalg.norm(noise), dtype=np.float32)


def run(job: Job) -> Job:
    for item in job.items.order_by("index"):
        run_item(item.pk)
    close_if_finished(job_id=job.pk)  # it waits for a commit, which many tests have none of
    job.refresh_from_db()
    assert set(job.items.values_list("state", "error_message")) == {("done", "")}
    return job


def scan(collection: Collection, *, full: bool = False) -> Job:
    """As a worker would."""
    job, started = start_scan(collection=Collection.objects.get(pk=collection.pk), full=full)
    assert started
    return run(job)


def waiting(collection: Collection, *kinds: str) -> list[Suggestion]:
    rows = Suggestion.objects.filter(collection=collection, state=State.OPEN)
    return list(rows.filter(kind__in=kinds or Kind.values))


def asked(collection: Collection, *kinds: str) -> set[frozenset[uuid.UUID]]:
    """Whom the open suggestions of these kinds name."""
    return {frozenset(row.identities) for row in waiting(collection, *kinds)}


def ids(*people: Identity) -> frozenset[uuid.UUID]:
    return frozenset(each.pk for each in people)
