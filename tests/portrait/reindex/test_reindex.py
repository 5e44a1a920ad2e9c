"""A collection changes its embedding model while everything goes on: on PostgreSQL with pgvector."""

import threading
import uuid
import zlib
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from django.db import connection
from django.utils import timezone

from inference.types import Box, Embedding, Face, Quality
from portrait.core.errors import ConflictError
from portrait.gallery import indexes, neighbours
from portrait.gallery.indexes import index_name
from portrait.gallery.models import Collection, EmbeddingModel, Identity, Portrait, PortraitEmbedding
from portrait.gallery.reduction import reduced_index_name
from portrait.gallery.selectors import nearest_identities
from portrait.gallery.services.enrolment import store_photo
from portrait.gallery.services.identities import create_collection, default_embedding_model
from portrait.gallery.services.photos import PreparedPhoto
from portrait.gallery.vectors import distance_to, project
from portrait.jobs import services as jobs
from portrait.jobs.models import ItemState, Job, JobItem
from portrait.jobs.tasks import run_item
from portrait.reindex import gaps, tasks
from portrait.reindex.models import Reindex, State
from portrait.reindex.services import checking, filling, learning, planning, retiring, starting, switching
from tests.portrait.reindex.population import enrol, people

pytestmark = pytest.mark.django_db(transaction=True)
VECTORS = people(60, 10)


@pytest.fixture
def crowd(monkeypatch: pytest.MonkeyPatch) -> Collection:
    """60 people with 10 portraits each. Its chunks are small, as is what is looked at before the switch."""
    monkeypatch.setattr(checking, "SAMPLE", 60)
    monkeypatch.setattr(planning, "VECTORS_A_CHUNK", 100)
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
        soon = timezone.now() + timedelta(minutes=5)  # a try that waits for its next one; the last item waits longer
        JobItem.objects.filter(job_id=job_id, paused_until__lte=soon).update(paused_until=None)
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


def expire_leases(job_id: Any) -> int:
    """The workers that have its items are gone; what they had waits again, as `sweep` would make it."""
    items = JobItem.objects.filter(job_id=job_id, state=ItemState.RUNNING)
    return items.update(state=ItemState.WAITING, lease=None, leased_until=None, paused_until=None)


def photo(name: str) -> PreparedPhoto:
    """Somebody's picture, as enrolment prepares it; of the same name always the same face."""
    vector = people(1, 1, seed=zlib.crc32(name.encode()))[0, 0]
    quality = Quality(0.9, 80.0, 30.0, 100.0, 0.9, 0.0, 0.0, 1.0)
    face = Face(Box(0, 0, 5, 5), 0.9, None, quality, Embedding("dlib_resnet", vector))
    return PreparedPhoto(uuid.uuid4().hex * 2, 10, 10, b"jpeg", b"jpeg", face.box, None, face)


def store(collection: Collection, name: str) -> Portrait:
    """Enrol somebody, as everybody does."""
    identity = Identity.objects.create(collection=collection, name=name)
    report = store_photo(identity=identity, photo=photo(name))
    assert report.portrait is not None
    return report.portrait


def who(collection: Collection, name: str) -> str | None:
    return answers(collection, photo(name).face.embedding.vector[None])[0]


def filled_elsewhere() -> None:
    try:
        tasks.fill_missing()
    finally:
        connection.close()


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


def test_faces_that_come_meanwhile_get_both_vectors_and_rollback_finds_them(
    crowd: Collection, small: EmbeddingModel
) -> None:
    """Between the start and the switch, between the switch and the rollback: nobody is missed."""
    reindex = starting.start(collection=crowd, model=small)
    during = store(crowd, "during")
    work(reindex.job_id)
    reindex.refresh_from_db()
    assert reindex.state == State.SWITCHED
    after = store(crowd, "after")
    for model in (small, default_embedding_model()):
        assert PortraitEmbedding.objects.filter(portrait__in=[during, after], model=model).count() == 2
    assert who(crowd, "during") == "during"
    switching.roll_back(reindex)
    assert fresh(crowd).active_model == default_embedding_model()
    assert [who(crowd, "during"), who(crowd, "after")] == ["during", "after"]
    assert answers(crowd, VECTORS[:, 0]) == [f"person {index}" for index in range(60)]
    with pytest.raises(ConflictError, match="rolled back"):
        switching.roll_back(reindex)


def test_deleted_portraits_get_vectors_too_and_are_not_found(crowd: Collection, small: EmbeddingModel) -> None:
    gone = Identity.objects.get(collection=crowd, name="person 7")
    Identity.objects.filter(pk=gone.pk).update(deleted_at=timezone.now())
    PortraitEmbedding.objects.filter(identity=gone).update(live=False)
    reindexed(crowd, small)
    assert PortraitEmbedding.objects.filter(identity=gone, model=small, live=False).count() == 10
    assert "person 7" not in answers(crowd, VECTORS[7])


def test_a_merge_in_the_middle_is_followed(crowd: Collection, small: EmbeddingModel) -> None:
    """Its vectors are made from what was read before, and stored after: they are mended before the switch."""
    reindex = starting.start(collection=crowd, model=small)
    items = list(JobItem.objects.filter(job_id=reindex.job_id, paused_until=None).order_by("index"))
    for item in items:
        run_item(item.pk)
    first, second = (Identity.objects.get(collection=crowd, name=f"person {index}") for index in (0, 1))
    Portrait.objects.filter(identity=second).update(identity=first)
    PortraitEmbedding.objects.filter(identity=second).exclude(model=small).update(identity=first)
    assert gaps.count_gaps(crowd.pk, small).strays == 10
    work(reindex.job_id)
    assert gaps.count_gaps(crowd.pk, small).none
    assert set(answers(crowd, VECTORS[1])) == {"person 0"}


def test_a_worker_that_dies_loses_nothing_and_doubles_nothing(
    crowd: Collection, small: EmbeddingModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It dies after every few rows, before the end of a chunk; another one goes on with what is left."""
    reindex = starting.start(collection=crowd, model=small)
    keep, calls = filling._keep_portraits, [0]

    class KilledError(BaseException):
        """As a kill: no handler of errors sees it."""

    def dying(wanted: Any, found: Any) -> int:
        calls[0] += 1
        if calls[0] % 2 == 0:
            raise KilledError
        return keep(wanted, found)

    monkeypatch.setattr(filling, "_keep_portraits", dying)
    deaths = 0
    for _ in range(100):
        try:
            work(reindex.job_id)
        except KilledError:
            deaths += 1
        if not expire_leases(reindex.job_id):
            break
    reindex.refresh_from_db()
    assert deaths >= 6
    assert reindex.state == State.SWITCHED
    assert PortraitEmbedding.objects.filter(collection=crowd, model=small).count() == 600
    assert gaps.count_gaps(crowd.pk, small).none


def test_an_index_that_was_left_unfinished_is_built_again(crowd: Collection, small: EmbeddingModel) -> None:
    name = index_name(small)
    indexes.build_partial_index(name, PortraitEmbedding, small, only="live")
    with connection.cursor() as cursor:  # what a killed CREATE INDEX CONCURRENTLY leaves
        cursor.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = to_regclass(%s)", [name])
    assert not indexes.has_index(name)
    assert reindexed(crowd, small).state == State.SWITCHED
    assert indexes.has_index(name)


def test_a_model_of_very_many_is_built_and_searched_by_reduced_vectors(
    crowd: Collection, small: EmbeddingModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half precision, too; nobody is missed before, in between and after."""
    monkeypatch.setattr(indexes, "REDUCED_ABOVE", 500)
    monkeypatch.setattr(neighbours, "EXACT_BELOW", 0)
    reindex = reindexed(crowd, small)
    assert (reindex.state, reindex.error) == (State.SWITCHED, "")
    small.refresh_from_db()
    assert small.reduced_at is not None
    assert indexes.has_index(reduced_index_name(small))
    assert not indexes.has_index(index_name(small))
    names = [f"person {number}" for number in range(60)]
    assert answers(crowd, VECTORS[:, 0]) == names
    store(crowd, "later")
    assert who(crowd, "later") == "later"
    switching.roll_back(reindex)
    assert answers(crowd, VECTORS[:, 0]) == names
    reindex.refresh_from_db()
    work(retiring.retire(reindex=reindex).job_id)
    small.refresh_from_db()
    assert (small.state, small.reduced_at) == (EmbeddingModel.State.RETIRED, None)
    assert not indexes.has_index(reduced_index_name(small))


def test_two_at_once_are_refused_and_a_cancelled_one_makes_room(crowd: Collection, small: EmbeddingModel) -> None:
    reindex = starting.start(collection=crowd, model=small)
    with pytest.raises(ConflictError, match="open"):
        starting.start(collection=crowd, model=small)
    jobs.cancel(job=Job.objects.get(pk=reindex.job_id))
    again = reindexed(crowd, small)
    reindex.refresh_from_db()
    assert (reindex.state, again.state) == (State.CANCELLED, State.SWITCHED)
    with pytest.raises(ConflictError, match="already"):
        starting.start(collection=crowd, model=small)


def test_retire_removes_the_old_vectors_and_only_those(crowd: Collection, small: EmbeddingModel) -> None:
    network = default_embedding_model()
    other = create_collection(name=f"other-{uuid.uuid4().hex[:8]}")
    enrol(other, people(3, 2, seed=5))
    reindex = reindexed(crowd, small)
    retired = retiring.retire(reindex=reindex)
    work(retired.job_id)
    assert not PortraitEmbedding.objects.filter(collection=crowd, model=network).exists()
    assert PortraitEmbedding.objects.filter(collection=other, model=network).count() == 6
    assert PortraitEmbedding.objects.filter(collection=crowd, model=small).count() == 600
    assert indexes.has_index(index_name(network)), "new collections use it"
    assert list(fresh(crowd).kept_models.exclude(pk=small.pk)) == []
    store(crowd, "later")
    assert who(crowd, "later") == "later"
    assert PortraitEmbedding.objects.filter(collection=crowd, model=network).count() == 0
    with pytest.raises(ConflictError, match="retired"):
        switching.roll_back(reindex)
    with pytest.raises(ConflictError, match="already"):
        retiring.retire(reindex=retired)


def test_what_was_rolled_back_can_be_retired_with_its_index(crowd: Collection, small: EmbeddingModel) -> None:
    reindex = reindexed(crowd, small)
    switching.roll_back(reindex)
    reindex.refresh_from_db()
    work(retiring.retire(reindex=reindex).job_id)
    small.refresh_from_db()
    assert small.state == EmbeddingModel.State.RETIRED
    assert not PortraitEmbedding.objects.filter(model=small).exists()
    assert not indexes.has_index(index_name(small))
    assert answers(crowd, VECTORS[:5, 0]) == [f"person {index}" for index in range(5)]


def test_vectors_are_not_retired_while_requests_may_need_them(
    crowd: Collection, small: EmbeddingModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retiring, "AFTER_SWITCH", timedelta(minutes=2))
    with pytest.raises(ConflictError, match="try again in"):
        retiring.retire(reindex=reindexed(crowd, small))


def test_a_threshold_of_its_own_is_translated_and_comes_back(crowd: Collection, small: EmbeddingModel) -> None:
    """As many pairs of two people are nearer than the threshold by the new vectors as by the old."""
    Collection.objects.filter(pk=crowd.pk).update(threshold=0.5)
    reindex = reindexed(crowd, small)
    after = fresh(crowd).threshold
    assert reindex.report["threshold"] == {"before": 0.5, "after": after, "method": "equal_far"}
    assert after is not None
    flat = VECTORS.reshape(-1, 128)
    who_is = np.repeat(np.arange(60), 10)
    one, other = np.triu_indices(len(flat), 1)
    apart = who_is[one] != who_is[other]
    shares = [
        float((np.linalg.norm(rows[one[apart]] - rows[other[apart]], axis=1) <= limit).mean())
        for rows, limit in ((flat, 0.5), (learning.projected(small, flat), after))
    ]
    assert shares[1] == pytest.approx(shares[0], rel=0.02)
    switching.roll_back(reindex)
    assert fresh(crowd).threshold == 0.5


def test_a_threshold_with_too_few_pairs_goes_by_the_curves(crowd: Collection, small: EmbeddingModel) -> None:
    Collection.objects.filter(pk=crowd.pk).update(threshold=0.05)
    reindex = reindexed(crowd, small)
    assert reindex.report["threshold"]["method"] == "equal_similarity"
    assert 0.01 <= (fresh(crowd).threshold or 0) < small.calibration["threshold"]


def test_every_search_is_right_while_the_collection_switches_to_and_fro(
    crowd: Collection, small: EmbeddingModel
) -> None:
    """Callers search and enrol all the time; none of them ever meets a collection that is half of one model."""
    wrong: list[object] = []
    stop = threading.Event()
    counts = {"searches": 0, "enrolments": 0}

    def search(index: int) -> None:
        try:
            while not stop.wait(0.05):
                found = answers(crowd, VECTORS[index : index + 3, 1])
                counts["searches"] += 1
                if found != [f"person {each}" for each in range(index, index + 3)]:
                    wrong.append(found)
        except Exception as error:
            wrong.append(error)
        finally:
            connection.close()

    def add() -> None:
        try:
            while not stop.wait(0.1):
                name = f"new {counts['enrolments']}"
                store(crowd, name)
                counts["enrolments"] += 1
                if who(crowd, name) != name:
                    wrong.append(name)
        except Exception as error:
            wrong.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=search, args=(index,)) for index in (0, 20)] + [threading.Thread(target=add)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(2):
            reindex = reindexed(crowd, small)
            assert reindex.state == State.SWITCHED
            switching.roll_back(reindex)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert wrong == []
    assert counts["searches"] > 3
    assert counts["enrolments"] > 0
    reindex.refresh_from_db()
    for model in (small, default_embedding_model()):
        assert gaps.count_gaps(crowd.pk, model).none
        assert PortraitEmbedding.objects.filter(collection=crowd, model=model).count() == 600 + counts["enrolments"]


def test_what_a_crash_left_out_is_filled_in(crowd: Collection, small: EmbeddingModel) -> None:
    reindexed(crowd, small)
    lost = PortraitEmbedding.objects.filter(collection=crowd, model=small).order_by("pk").values("pk")[:30]
    PortraitEmbedding.objects.filter(pk__in=list(lost.values_list("pk", flat=True))).delete()
    threads = [threading.Thread(target=filled_elsewhere) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert gaps.count_gaps(crowd.pk, small).none
    assert PortraitEmbedding.objects.filter(collection=crowd, model=small).count() == 600


def test_a_last_item_that_nobody_let_go_is_let_go_by_the_schedule(crowd: Collection, small: EmbeddingModel) -> None:
    reindex = starting.start(collection=crowd, model=small)
    JobItem.objects.filter(job_id=reindex.job_id, paused_until=None).update(state=ItemState.FAILED)
    tasks.fill_missing()
    work(reindex.job_id)
    reindex.refresh_from_db()
    assert reindex.state == State.SWITCHED
