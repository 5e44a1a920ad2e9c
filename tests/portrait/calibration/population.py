"""People drawn from a distribution whose error rates are known: centres and faces are normal in every direction.

With a variance of s^2 between and w^2 within people, the squared distance of two people's faces is 2 (s^2 + w^2) times
a chi-squared of as many degrees of freedom as there are dimensions; of two faces of one person 2 w^2 times one.
"""

import uuid
from typing import Any

import numpy as np
from scipy.spatial.distance import pdist
from scipy.stats import chi2

from benchmarks._search_population import Population
from portrait.calibration.sampling import Sample
from portrait.gallery.models import Collection, Identity, Portrait, PortraitEmbedding

DIMS = 16
BETWEEN, WITHIN = 0.2, 0.06


def faces(people: int, each: int, *, seed: int, dims: int = DIMS) -> np.ndarray[Any, np.dtype[np.float32]]:
    """(people, each, dims)."""
    rng = np.random.default_rng(seed)
    centres = BETWEEN * rng.normal(size=(people, 1, dims))
    return (centres + WITHIN * rng.normal(size=(people, each, dims))).astype(np.float32)


def false_match_rate(threshold: float, dims: int = DIMS) -> float:
    return float(chi2.cdf(threshold**2 / (2 * (BETWEEN**2 + WITHIN**2)), dims))


def missed_rate(threshold: float, dims: int = DIMS) -> float:
    return float(chi2.sf(threshold**2 / (2 * WITHIN**2), dims))


def sample_of(vectors: np.ndarray[Any, Any], groups: list[str | None] | None = None, **values: Any) -> Sample:
    people, each, dims = vectors.shape
    return Sample(
        vectors=vectors.reshape(-1, dims),
        owners=np.repeat(np.arange(people), each),
        people=values.get("ids") or [uuid.UUID(int=index + 1) for index in range(people)],
        groups=groups or [None] * people,
        known=people,
        distinct=values.get("distinct", frozenset()),
    )


def as_real_ones(many: int, single: int, *, each: int, seed: int) -> tuple[Sample, np.ndarray[Any, Any]]:
    """A sample of `many` people with `each` faces and `single` with one, as most collections are, and 3,000 faces of
    others to know the true rate by; they lie as real faces do (`benchmarks._search_population`)."""
    population, rng = Population(), np.random.default_rng(seed)
    people = np.concatenate(list(population.people(many + single + 3000)))
    enrolled, held_out = people[: many + single], people[many + single :]
    vectors = population.pictures(enrolled, each, rng)
    rows = [vectors[index, : each if index < many else 1] for index in range(many + single)]
    found = Sample(
        vectors=np.concatenate(rows),
        owners=np.repeat(np.arange(many + single), [len(row) for row in rows]),
        people=[uuid.UUID(int=index + 1) for index in range(many + single)],
        groups=[None] * (many + single),
        known=many + single,
        distinct=frozenset(),
    )
    return found, population.pictures(held_out, 1, rng)[:, 0]


def share_within(vectors: np.ndarray[Any, Any], threshold: float) -> float:
    """Of all pairs of these faces."""
    return float((pdist(vectors.astype(np.float64)) <= threshold).mean())


def enrol(collection: Collection, vectors: np.ndarray[Any, Any], metadata: list[dict[str, Any]] | None = None) -> None:
    """Known people with these faces (people, each, dims), in bulk; filled up with zeros to the model's dimensions."""
    people, each, dims = vectors.shape
    filled = np.zeros((people, each, collection.active_model.dims), dtype=np.float32)
    filled[:, :, :dims] = vectors
    rows = Identity.objects.bulk_create(
        Identity(collection=collection, name=f"person {index}", metadata=metadata[index] if metadata else {})
        for index in range(people)
    )
    values = {"image": "none", "thumbnail": "none", "width": 1, "height": 1, "box": [0, 0, 1, 1], "detector": "test"}
    portraits = Portrait.objects.bulk_create(
        Portrait(identity=row, score=1, quality={}, sha256=uuid.uuid4().hex * 2, **values)
        for row in rows
        for _ in range(each)
    )
    PortraitEmbedding.objects.bulk_create(
        PortraitEmbedding(
            portrait=portrait,
            model=collection.active_model,
            collection=collection,
            identity=portrait.identity,
            vector=filled[index // each, index % each],
        )
        for index, portrait in enumerate(portraits)
    )
