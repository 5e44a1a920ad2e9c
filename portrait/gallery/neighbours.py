"""The portraits nearest to a face: by an exact scan of a small collection, else by the index of the model.

An index holds the vectors as they are; of a model with very many portraits, reduced vectors (`reduction.py`). Then a
shortlist comes from the index, and the distances of the whole vectors rank it.
"""

import time
import uuid
from functools import lru_cache

import numpy as np
from django.db.models import ExpressionWrapper, FloatField, Q, Value
from numpy.typing import NDArray

from portrait.gallery.models import EmbeddingModel, PortraitEmbedding
from portrait.gallery.reduction import reduced_distance_to, reduction_of
from portrait.gallery.vectors import distance_to, only_of

EXACT_BELOW = 10_000
"""Collections with at most so many portraits are scanned exactly: that takes 8 ms alone and 15 ms among a hundred in a
table of a million, where a walk through the index of a million takes 18 (`benchmarks/search.py`); it misses nobody, and
an index that many collections share would have to be walked several times as far for one of them."""
SIZE_CHECKED_EVERY_S = 30
SHORTLIST, SHORTLIST_A_ROW = 64, 4
"""Portraits that are ranked again: at least, and for each that is asked for."""


def nearest_portraits(
    collection_id: uuid.UUID,
    model: EmbeddingModel,
    vector: NDArray[np.float32],
    limit: int,
    *,
    without: Q | None = None,
) -> list[tuple[uuid.UUID, float]]:
    """(identity, distance) of the live portraits of a collection that are nearest to a face, nearest first.

    vector: float32, shape (dims,), by this model. without: which portraits are not asked for.
    """
    rows = PortraitEmbedding.objects.filter(model_id=model.pk, live=True)
    if without is not None:
        rows = rows.exclude(without)
    distance = distance_to(model, vector)
    if _is_small(collection_id, model.pk, EXACT_BELOW, int(time.monotonic() / SIZE_CHECKED_EVERY_S)):
        exactly = ExpressionWrapper(distance + Value(0.0), FloatField())  # a sum is not what the index is made for
        rows = rows.filter(collection_id=collection_id).annotate(distance=exactly).order_by("distance")
        return list(rows.values_list("identity_id", "distance")[:limit])
    rows = rows.filter(only_of(collection_id)).annotate(distance=distance)
    reduction = reduction_of(model)
    if reduction is None:
        return list(rows.order_by("distance").values_list("identity_id", "distance")[:limit])
    by_index = rows.order_by(reduced_distance_to(model, reduction, vector))
    shortlist = by_index.values_list("identity_id", "distance")[: max(SHORTLIST, SHORTLIST_A_ROW * limit)]
    return sorted(shortlist, key=lambda row: row[1])[:limit]


@lru_cache(maxsize=1024)
def _is_small(collection_id: uuid.UUID, model_id: int, limit: int, period: int) -> bool:
    """Whether a collection has at most `limit` vectors; asked once a `period`, as both ways to search are right."""
    rows = PortraitEmbedding.objects.filter(model_id=model_id, collection_id=collection_id)
    return not rows.values("pk")[limit : limit + 1].exists()
