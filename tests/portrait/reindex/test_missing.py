"""Vectors that are missing: what can be made, what never can, and what is told of it."""

import random
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework.test import APIClient

from portrait.cameras.models import Camera, Frame
from portrait.core.models import Scope
from portrait.gallery.models import Collection, EmbeddingModel
from portrait.gallery.services.identities import default_embedding_model
from portrait.jobs import services as jobs
from portrait.jobs.models import Job
from portrait.reindex import gaps, tasks
from portrait.reindex.models import Chunk, Reindex, State
from portrait.reindex.services import learning, pictures, starting, switching
from portrait.reindex.services.filling import Filled, Wanted, fill
from portrait.sightings.models import Detection
from tests.api_clients import MakeClient
from tests.portrait.reindex.conftest import made_ready, make_projection
from tests.portrait.reindex.population import enrol, people
from tests.portrait.sightings import seen

pytestmark = pytest.mark.django_db
URL = "/api/v1/reindexes"


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Whose pictures were looked for, one by one."""
    found: list[int] = []
    look = pictures.of_detections

    def told(rows: Any, network: Any) -> Any:
        rows = list(rows)
        found.extend(row.pk for row in rows)
        return look(rows, network)

    monkeypatch.setattr(pictures, "of_detections", told)
    return found


def old_faces(collection: Collection, count: int, picture: str) -> Camera:
    """Faces without any vector, in a frame whose picture is gone, or cannot be read."""
    camera = seen.make_camera(collection)
    frame = seen.make_frame(camera, "collins")
    Frame.objects.filter(pk=frame.pk).update(picture=picture)
    Detection.objects.bulk_create(
        Detection(
            frame=frame, camera=camera, captured_at=seen.NOON, box=[0, 0, 9, 9], score=1, quality={}, quality_score=1,
            acceptable=True,
        )
        for _ in range(count)
    )  # fmt: skip
    return camera


# --- what can never be made ---------------------------------------------------------------------------------


def test_faces_whose_picture_is_gone_are_not_read_again_and_again(
    collection: Collection, projection: EmbeddingModel, looked_at: list[int]
) -> None:
    old_faces(collection, 40, "")
    for _ in range(2):
        assert fill(Wanted(collection.pk, projection)) == Filled()
    assert looked_at == []
    found = gaps.count_gaps(collection.pk, projection)
    assert (found.detections, found.lost) == (40, 40)
    reindex = starting.start(collection=collection, model=projection)
    assert not reindex.chunks.exists()


def test_pictures_that_cannot_be_used_are_bounded_and_keep_nobody_from_his_vector(
    collection: Collection, projection: EmbeddingModel, looked_at: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    old_faces(collection, 40, "frames/nowhere.jpg")
    for _ in range(3):
        assert fill(Wanted(collection.pk, projection), most=10) == Filled(made=0, impossible=10)
    assert len(looked_at) == 30
    first, last = (Detection.objects.order_by(order).values_list("pk", flat=True)[0] for order in ("pk", "-pk"))
    looked_at.clear()
    monkeypatch.setattr(random, "randint", lambda *_: last)
    fill(Wanted(collection.pk, projection), most=10)
    assert looked_at[:2] == [last, first], "it begins anywhere, and goes round"


def test_a_switch_by_hand_looks_at_few_pictures_while_somebody_waits(
    admin: APIClient,
    collection: Collection,
    projection: EmbeddingModel,
    looked_at: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What the worker found to be of no use is known by then; nobody looks at all of it again."""
    monkeypatch.setattr(switching, "MOST_BY_HAND", 5)
    old_faces(collection, 40, "frames/nowhere.jpg")
    reindex = made_ready(collection, projection, unusable=40)
    looked_at.clear()
    answer = admin.post(f"{URL}/{reindex.pk}/switch")
    assert (answer.status_code, answer.json()["state"]) == (200, "switched"), answer.content
    assert answer.json()["report"]["lacked"] == 40
    assert admin.post(f"{URL}/{reindex.pk}/rollback").status_code == 200
    assert len(looked_at) == 10


def test_a_switch_by_hand_waits_for_faces_that_nobody_looked_at(
    collection: Collection, projection: EmbeddingModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(switching, "MOST_BY_HAND", 5)
    old_faces(collection, 40, "frames/nowhere.jpg")
    with pytest.raises(switching.ConflictError, match="what is missing"):
        switching.switch_by_hand(made_ready(collection, projection))


def test_the_schedule_reads_what_was_whole_every_few_hours_only(
    collection: Collection, projection: EmbeddingModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    enrol(collection, people(2, 2))
    asked: list[EmbeddingModel] = []
    filled = tasks.fill

    def told(wanted: Wanted, **values: Any) -> Filled:
        if wanted.collection_id == collection.pk:
            asked.append(wanted.model)
        return filled(wanted, **values)

    monkeypatch.setattr(tasks, "fill", told)
    collection.kept_models.add(projection)
    network = collection.active_model
    for expected in ([network, projection], [projection], [], []):  # made, then whole
        asked.clear()
        tasks.fill_missing()
        assert asked == expected
    tasks.fill_missing(anew=True)
    assert asked == [network, projection]


# --- which model, by whom -----------------------------------------------------------------------------------


def test_of_models_learnt_by_one_name_the_version_has_to_be_named(collection: Collection) -> None:
    enrol(collection, people(50, 10))
    first, second = (learning.learn(collection=collection, dims=16, half=True, name="small") for _ in range(2))
    assert (first.version, second.version) == ("1", "2")
    with pytest.raises(starting.UnusableModelError, match="small@2, small@1"):
        starting.find_model("small")
    assert starting.find_model("small@1") == first
    first.delete()
    assert starting.find_model("small") == second
    assert learning.learn(collection=collection, dims=16, half=True, name="small").version == "3"


def test_back_to_a_network_whose_vectors_are_gone_needs_the_network(
    collection: Collection, projection: EmbeddingModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Absent:
        def ready(self, _: str) -> bool:
            return False

    network = default_embedding_model()
    monkeypatch.setattr(starting, "inference_client", Absent)
    assert starting.start(collection=collection, model=projection).state == State.BUILDING, "from stored vectors"
    Reindex.objects.all().delete()
    collection.kept_models.clear()
    Collection.objects.filter(pk=collection.pk).update(active_model=projection)
    collection.refresh_from_db()
    for model in (network, make_projection("further", 90)):
        with pytest.raises(starting.UnusableModelError, match="not loaded"):
            starting.start(collection=collection, model=model)


# --- what is told -------------------------------------------------------------------------------------------


def test_a_list_asks_as_often_for_many_as_for_one(
    admin: APIClient, collection: Collection, projection: EmbeddingModel
) -> None:
    counts = []
    for _ in range(3):
        made = Reindex.objects.create(
            collection=collection, from_model=collection.active_model, to_model=projection, state=State.FAILED
        )
        Chunk.objects.create(reindex=made, index=0, table="portraits", first="a", rows=7, done_at=timezone.now())
        with CaptureQueriesContext(connection) as queries:
            results = admin.get(URL).json()["results"]
        counts.append(len(queries))
        assert {(each["progress"]["rows"], each["progress"]["done"]) for each in results} == {(7, 7)}
    assert counts[1] == counts[2]


def test_a_look_settles_only_what_the_caller_may_see(
    make_client: MakeClient, other_collection: Collection, collection: Collection, projection: EmbeddingModel
) -> None:
    reindex = starting.start(collection=collection, model=projection)
    jobs.cancel(job=Job.objects.get(pk=reindex.job_id))
    for client, state in (
        (make_client(Scope.ADMIN, [other_collection]), State.BUILDING),
        (make_client(Scope.ADMIN, [collection]), State.CANCELLED),
    ):
        client.get(URL)
        reindex.refresh_from_db()
        assert reindex.state == state
