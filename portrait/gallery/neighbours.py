"""The portraits nearest to a face: by an exact scan of a small collection, else by the index of the model.

An index holds the vectors as they are; of a model with very many portraits, reduced vectors (`reduction.py`). Then a
shortlist comes from the index, and the distances of the whole vectors rank it.
"""

import time
import uuid
from functools import lru_cache

import numpy as np
from django.conf import settings
from django.db import connection
from django.db.models import ExpressionWrapper, FloatField, Q, QuerySet, Value
from numpy.typing import NDArray

from portrait.gallery.models import EmbeddingModel, PortraitEmbedding
from portrait.gallery.reduction import reduced_distance_to, reduced_index_name, reduction_of
from portrait.gallery.vectors import distance_to, only_of

EXACT_BELOW = 10_000
"""Collections with at most so many portraits are scanned exactly: that takes about as long as a walk through the index
of 100,000 (`benchmarks/search.py`), and misses nobody."""
SHARE_COST = 5_500
"""An index that many collections share has to be walked the farther for one of them, the smaller its part is. A walk
for a part n of N portraits takes about as long as a scan of so many times N / n portraits."""
SIZE_CHECKED_EVERY_S = 30
SHORTLIST, SHORTLIST_A_ROW = 96, 6
"""Portraits that are ranked again: at least, and for each that is asked for."""
EF_REDUCED = 130
"""Candidates that a walk through an index of reduced vectors keeps in mind, at least; else as many as are ranked again.
Through whole ones: HNSW_EF_SEARCH of the settings."""
MOST_EF = 1000
"""pgvector's largest; for more rows a walk goes on where it was."""
MOST_SHORTLISTED = 4_000
"""For more the collection is scanned exactly: that takes no longer, and misses nobody."""

Rows = list[tuple[uuid.UUID, float]]


def nearest_portraits(
    collection_id: uuid.UUID,
    model: EmbeddingModel,
    vector: NDArray[np.float32],
    limit: int,
    *,
    without: Q | None = None,
) -> Rows:
    """(identity, distance) of the live portraits of a collection that are nearest to a face, nearest first.

    vector: float32, shape (dims,), by this model. without: which portraits are not asked for.
    """
    rows = PortraitEmbedding.objects.filter(model_id=model.pk, live=True)
    if without is not None:
        rows = rows.exclude(without)
    distance, reduction = distance_to(model, vector), reduction_of(model)
    shortlist = max(SHORTLIST, SHORTLIST_A_ROW * limit)
    if _is_scanned(collection_id, model, shortlist):
        exactly = ExpressionWrapper(distance + Value(0.0), FloatField())  # a sum is not what the index is made for
        rows = rows.filter(collection_id=collection_id).annotate(distance=exactly).order_by("distance")
        return list(rows.values_list("identity_id", "distance")[:limit])
    rows = rows.filter(only_of(collection_id)).annotate(distance=distance)
    if reduction is None:
        return list(rows.order_by("distance").values_list("identity_id", "distance")[:limit])
    rows = rows.order_by(reduced_distance_to(model, reduction, vector))
    found = _walked(rows.values_list("identity_id", "distance")[:shortlist], min(max(EF_REDUCED, shortlist), MOST_EF))
    return sorted(found, key=lambda row: row[1])[:limit]


def _walked(rows: "QuerySet[PortraitEmbedding, tuple[uuid.UUID, float]]", ef: int) -> Rows:
    """The answer of a walk that keeps so many candidates in mind; by one round trip. Whatever the planner knows of the
    table, it does not reduce all of it and sort."""
    statement, values = rows.query.sql_with_params()
    setting = "SELECT set_config('hnsw.ef_search', %s, true), set_config('enable_sort', %s, true)"
    with connection.cursor() as cursor:
        # The last one, as they count to the end of the transaction, which may be the caller's.
        asked = [str(ef), "off", *values, str(settings.HNSW_EF_SEARCH), "on"]
        cursor.execute(f"{setting}; {statement}; {setting}", asked)
        cursor.nextset()
        return list(cursor.fetchall())


def _is_scanned(collection_id: uuid.UUID, model: EmbeddingModel, shortlist: int) -> bool:
    """Whether a collection is scanned exactly; both ways are right at any time."""
    period = int(time.monotonic() / SIZE_CHECKED_EVERY_S)
    if _is_small(collection_id, model.pk, EXACT_BELOW, period):
        return True
    if model.reduced_at is None:
        return False
    enough = _worth_a_scan(reduced_index_name(model), period)
    return shortlist > MOST_SHORTLISTED or _is_small(collection_id, model.pk, enough, period)


@lru_cache(maxsize=1024)
def _is_small(collection_id: uuid.UUID, model_id: int, limit: int, period: int) -> bool:
    """Whether a collection has at most `limit` vectors; asked once a `period`."""
    rows = PortraitEmbedding.objects.filter(model_id=model_id, collection_id=collection_id)
    return not rows.values("pk")[limit : limit + 1].exists()


@lru_cache(maxsize=64)
def _worth_a_scan(index: str, period: int) -> int:
    """Up to so many portraits a part of those in an index is scanned as quickly as the index is walked for it."""
    with connection.cursor() as cursor:  # as VACUUM and ANALYZE counted them
        cursor.execute("SELECT reltuples FROM pg_class WHERE oid = to_regclass(%s)", [index])
        row = cursor.fetchone()
    return int((SHARE_COST * max(0.0, row[0])) ** 0.5) if row else 0
