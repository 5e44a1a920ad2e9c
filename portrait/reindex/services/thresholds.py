"""A collection's own threshold is a distance of its model: what it is by another model's vectors."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from inference.types import FloatArray
from portrait.gallery.models import Collection, EmbeddingModel, PortraitEmbedding
from portrait.gallery.vectors import as_array, own_calibration

PORTRAITS = 2000
LEAST_HITS = 20
"""So many pairs of two people have to be nearer than the threshold for their share to say something."""


@dataclass(frozen=True, slots=True)
class Translated:
    """A threshold by another model. method: `equal_far`: as many pairs of two people of the collection are nearer as
    before; `equal_similarity`: by the two models' curves; `own`: the collection uses the model's own."""

    threshold: float | None
    method: str


def translated(collection: Collection, old: EmbeddingModel, new: EmbeddingModel) -> Translated:
    """The collection's threshold, a distance of `old`, as a distance of `new`.

    Where the collection has vectors by both, by equal false-match rate on pairs of different people, measured; else,
    or where too few pairs are so near, by equal similarity of the models' own curves.
    """
    if collection.threshold is None:
        return Translated(None, "own")
    measured = _equal_far(collection, old, new)
    if measured is not None:
        return Translated(measured, "equal_far")
    by_curve = own_calibration(old).translated(collection.threshold, own_calibration(new))
    return Translated(min(2.0, max(0.01, by_curve)), "equal_similarity")


def _equal_far(collection: Collection, old: EmbeddingModel, new: EmbeddingModel) -> float | None:
    people, before = vectors_of(collection.pk, old, PORTRAITS)
    _, after = vectors_of(collection.pk, new, PORTRAITS, only=list(people))
    both = [key for key in people if key in after]
    if len(both) < 2:
        return None
    who = np.array([str(people[key]) for key in both])
    one, other = np.triu_indices(len(both), 1)
    apart = who[one] != who[other]
    distances_old = _distances(np.stack([before[key] for key in both]))[one, other][apart]
    near = int((distances_old <= collection.threshold).sum())
    if near < LEAST_HITS:
        return None
    distances_new = _distances(np.stack([after[key] for key in both]))[one, other][apart]
    return float(min(2.0, max(0.01, np.partition(distances_new, near - 1)[near - 1])))


def vectors_of(
    collection_id: UUID, model: EmbeddingModel, most: int, only: Sequence[Any] | None = None
) -> tuple[dict[Any, UUID], dict[Any, FloatArray]]:
    """(identity by portrait, vector by portrait) of live portraits: a random sample, as portraits' ids are random."""
    rows = PortraitEmbedding.objects.filter(collection_id=collection_id, model_id=model.pk, live=True)
    if only is not None:
        rows = rows.filter(portrait_id__in=only)
    found = list(rows.order_by("portrait_id").values_list("portrait_id", "identity_id", "vector", "half")[:most])
    vectors = {row[0]: as_array(row[2] if row[2] is not None else row[3]) for row in found}
    return {row[0]: row[1] for row in found}, vectors


def _distances(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    squares = (vectors**2).sum(axis=1)
    return np.asarray(np.sqrt(np.maximum(squares[:, None] + squares[None] - 2 * vectors @ vectors.T, 0.0)))
