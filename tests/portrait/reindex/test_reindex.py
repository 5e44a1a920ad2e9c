"""A collection changes its embedding model while everything goes on: on PostgreSQL with pgvector."""

import threading
import uuid
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from django.db import connection
from django.utils import timezone

from portrait.core.errors import ConflictError
from portrait.gallery import indexes, selectors
from portrait.gallery.indexes import index_name
from portrait.gallery.models import Collection, EmbeddingModel, Identity, Portrait, PortraitEmbedding
from portrait.gallery.selectors import nearest_identities
from portrait.gallery.services.identities import create_collection, default_embedding_model
from portrait.gallery.vectors import distance_to, project
from portrait.jobs import services as jobs
from portrait.jobs.models import ItemState, Job, JobItem
from portrait.jobs.tasks import run_item
from portrait.reindex import gaps, tasks
from portrait.reindex.models import Reindex, State
from portrait.reindex.services import filling, learning, retiring, starting, switching
from tests.portrait.reindex.population import enrol, people

pytestmark = pytest.mark.django_db(transaction=True)
VECTORS = people(60, 10)


@pytest.fixture
def crowd(monkeypatch: pytest.MonkeyPatch) -> Collection:
    """60 people with 10 portraits each. Its chunks are small."""
    monkeypatch.setattr(starting, "VECTORS_A_CHUNK", 100)
    monkeypatch.setattr(filling, "PROJECTED_STEP", 40)
    monkeypatch.setattr(retiring, "AFTER_SWITCH", timedelta())
    collection = create_collection(name=f"crowd-{uuid.uuid4().hex[:8]}")
    enrol(collection, VECTORS)
    return collection


@pytest.fixture
def small(crowd: Collection) -> EmbeddingModel:
    return learning.learn(collection=crowd, dims=64, half=True)


def work(job_id: Any) -> None:
    """What the worker does with a job, until nothing is left to do."""
    while True:
        JobItem.objects.filter(job_id=job_id, paused_until__lte=timezone.now()).update(paused_until=None)
        ready = JobItem.objects.filter(job_id=job_id, state=ItemState.WAITING, paused_until=None)
        ids = list(ready.values_list("pk", flat=True))
        if not ids:
            return
        for item_id in ids:
            run_item(item_id)


def reindexed(collection: Collection, model: EmbeddingModel, **values: Any) -> Reindex:
    reindex = starting.start(collection=collection, model=model, **values)
    work(reindex.job_id)
    reindex.refresh_from_db()
    return reindex


def fresh(collection: Collection) -> Collection:
    return Collection.objects.select_related("active_model").get(pk=collection.pk)


def answers(collection: Collection, vectors: np.ndarray) -> list[str | None]:
    """Who is found for vectors of the network, by whatever the collection is searched by."""
    collection = fresh(collection)
    found = [nearest_identities(collection, vector) for vector in project(collection.active_model, vectors)]
    return [each[0].identity.name if each else None for each in found]


def test_a_collection_changes_to_a_smaller_model(crowd: Collection, small: EmbeddingModel) -> None:
    names = {row.pk: row.name for row in Identity.objects.filter(collection=crowd)}
    before = answers(crowd, VECTORS[:, 0])
    reindex = reindexed(crowd, small)
    assert (reindex.state, reindex.error) == (State.SWITCHED, "")
    assert fresh(crowd).active_model == small
    assert gaps.count_gaps(crowd.pk, small).none
    rows = PortraitEmbedding.objects.filter(collection=crowd, model=small)
    assert rows.count() == 600
    assert rows.filter(half=None).count() == 0
    assert answers(crowd, VECTORS[:, 0]) == before == [f"person {index}" for index in range(60)]
    assert {row.pk: row.name for row in Identity.objects.filter(collection=crowd)} == names
    assert reindex.report["portraits"] == 600
    assert reindex.report["agreement"]["same"] >= 0.95
    assert reindex.report["agreement"]["self_match"] == 1.0
    job = Job.objects.get(pk=reindex.job_id)
    assert job.items.count() == 7
    assert set(job.items.values_list("state", flat=True)) == {ItemState.DONE}


def test_the_half_precision_index_serves_the_search(crowd: Collection, small: EmbeddingModel) -> None:
    reindexed(crowd, small)
    probe = project(small, VECTORS[:1, 0])[0]
    assert indexes.has_index(index_name(small))
    with connection.cursor() as cursor:
        cursor.execute("SELECT indexdef FROM pg_indexes WHERE indexname = %s", [index_name(small)])
        assert "halfvec(64)" in cursor.fetchone()[0]
        cursor.execute("SET enable_seqscan = off")
        cursor.execute("SET enable_sort = off")
        rows = PortraitEmbedding.objects.filter(model_id=small.pk, live=True)
        plan = rows.annotate(distance=distance_to(small, probe)).order_by("distance")[:5].explain()
        cursor.execute("RESET ALL")
    assert index_name(small) in plan
