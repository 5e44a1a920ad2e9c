"""`async: true`: results in a job, which names nobody, outlives nobody, and can be retried."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from inference.errors import ServerUnavailableError
from portrait.core.models import Scope
from portrait.core.pipelines import inference_client
from portrait.gallery.models import Collection, Identity
from portrait.gallery.services.identities import delete_collection, delete_identity, delete_portrait
from portrait.jobs import services
from portrait.jobs.models import ItemState, Job, JobItem
from portrait.jobs.tasks import run_item
from portrait.scenes import tasks
from portrait.scenes.models import Caption
from portrait.scenes.services import looking
from tests.api_clients import MakeClient, b64, plain_jpeg
from tests.portrait.sightings.seen import BOTH, enrol, make_camera, make_frame, pictures, see

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def collins(collection: Collection) -> Identity:
    return enrol(collection, "Eileen Collins", "collins")


def start(client: APIClient, path: str = "caption", **values: Any) -> dict[str, Any]:
    body = {"model": "describe", "async": True, **values}
    answer = client.post(f"/api/v1/{path}", body, format="json")
    assert answer.status_code == 202, answer.content
    return dict(answer.json())


def work(job: dict[str, Any]) -> None:
    """What a worker of the queue `scenes` does."""
    for item in JobItem.objects.filter(job_id=job["id"]):
        run_item(item.pk)


def items(client: APIClient, job: dict[str, Any]) -> list[dict[str, Any]]:
    return list(client.get(f"/api/v1/jobs/{job['id']}").json()["items"])


def test_several_pictures_are_told_through_the_queue(
    enroller: APIClient, collection: Collection, collins: Identity
) -> None:
    images = [b64(pictures()[BOTH]), b64(b"no picture")]
    job = start(enroller, images=images, collection=collection.name)
    assert (job["kind"], job["state"], len(job["items"])) == ("caption", "waiting", 2)
    assert Job.objects.get().queue == "scenes"
    work(job)
    told, bad = items(enroller, job)
    assert told["result"]["caption_with_names"] == "Eileen Collins and another person."
    assert {"faces", "plan"}.isdisjoint(told["result"])
    assert (bad["state"], bad["error"]["code"], bad["result"]) == ("failed", "unsupported_image", None)


def test_a_result_names_nobody_and_is_read_with_todays_names(
    enroller: APIClient, collection: Collection, collins: Identity
) -> None:
    job = start(enroller, image=b64(pictures()["collins"]), collection=collection.name)
    work(job)
    assert "Collins" not in str(JobItem.objects.get().result)
    Identity.objects.filter(pk=collins.pk).update(name="$1 {0}")
    [item] = items(enroller, job)
    assert item["result"]["caption_with_names"] == "$1 {0}."
    assert item["result"]["people"][0]["identity"]["name"] == "$1 {0}"


def test_who_is_erased_is_gone_from_results(enroller: APIClient, collection: Collection, collins: Identity) -> None:
    other = enrol(collection, "Grace Hopper", "hopper")
    job = start(enroller, images=[b64(pictures()[BOTH]), b64(pictures()["hopper"])], collection=collection.name)
    work(job)
    delete_identity(identity=collins)
    assert str(collins.pk) not in str(list(JobItem.objects.values_list("result", flat=True)))
    first, second = items(enroller, job)
    assert [person["identity"]["id"] for person in first["result"]["people"]] == [str(other.pk)]
    assert first["result"]["caption_with_names"] is None
    assert "erased" in first["result"]["names_reason"]
    assert second["result"]["people"][0]["identity"]["id"] == str(other.pk)


def test_who_is_erased_while_a_worker_looks_is_not_in_the_result(
    enroller: APIClient, collection: Collection, collins: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = looking.tell

    def erased_meanwhile(**values: Any) -> Any:
        told = real(**values)
        delete_identity(identity=collins)
        return told

    monkeypatch.setattr(looking, "tell", erased_meanwhile)
    job = start(enroller, image=b64(pictures()["collins"]), collection=collection.name)
    work(job)
    assert JobItem.objects.get().state == ItemState.DONE
    assert str(collins.pk) not in str(JobItem.objects.get().result)
    assert items(enroller, job)[0]["result"]["people"] == []


def test_of_a_frame_the_result_is_what_is_stored_now(
    enroller: APIClient, collection: Collection, collins: Identity
) -> None:
    frame = make_frame(make_camera(collection), BOTH)
    see(frame, BOTH, [collins, None])
    job = start(enroller, frame=frame.pk)
    work(job)
    assert items(enroller, job)[0]["result"]["caption_with_names"] == "Eileen Collins and another person."
    delete_identity(identity=collins)
    assert Caption.objects.count() == 0
    assert items(enroller, job)[0]["result"] == {"status": "erased"}


def test_a_portraits_job_goes_with_the_person_and_its_result_with_the_portrait(
    enroller: APIClient, collection: Collection, collins: Identity
) -> None:
    portrait = collins.portraits.get()
    job = start(enroller, portrait=str(portrait.pk))
    work(job)
    assert items(enroller, job)[0]["result"]["caption_with_names"] == "Eileen Collins."
    delete_portrait(portrait=portrait)
    assert items(enroller, job)[0]["result"] == {"status": "erased"}
    delete_identity(identity=collins)
    assert not Job.objects.filter(pk=job["id"]).exists()


def test_a_collection_takes_its_jobs_along(enroller: APIClient, collection: Collection) -> None:
    start(enroller, image=b64(plain_jpeg()), collection=collection.name)
    delete_collection(collection=collection)
    assert Job.objects.count() == 0


@pytest.mark.parametrize(("path", "model"), [("caption", "blip-large"), ("segment", "yolact-im700")])
def test_a_missing_model_fails_the_item_and_keeps_its_picture_for_a_retry(
    enroller: APIClient, collection: Collection, path: str, model: str
) -> None:
    job = start(enroller, path, image=b64(plain_jpeg()), model=model, collection=collection.name)
    work(job)
    [item] = items(enroller, job)
    assert (item["state"], item["error"]["code"]) == ("failed", "model_not_installed")
    assert JobItem.objects.get().upload
    assert enroller.get(f"/api/v1/jobs/{job['id']}").json()["retryable"] == 1
    assert enroller.post(f"/api/v1/jobs/{job['id']}/retry").json()["state"] == "waiting"


def test_an_item_without_an_upload_is_retried_too(enroller: APIClient, collection: Collection) -> None:
    frame = make_frame(make_camera(collection), "collins")
    job = start(enroller, frame=frame.pk, model="blip-large")
    work(job)
    assert enroller.get(f"/api/v1/jobs/{job['id']}").json()["retryable"] == 1
    Job.objects.update(parameters={**Job.objects.get().parameters, "model": "describe"})
    enroller.post(f"/api/v1/jobs/{job['id']}/retry")
    work(job)
    assert items(enroller, job)[0]["result"]["caption"] == "A person."


def test_while_the_model_server_is_away_the_item_waits(
    enroller: APIClient, collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*args: Any, **values: Any) -> Any:
        raise ServerUnavailableError("nobody there")

    monkeypatch.setattr(looking, "_describe", away)
    job = start(enroller, image=b64(plain_jpeg()), collection=collection.name)
    work(job)
    item = JobItem.objects.get()
    assert (item.state, item.failures) == (ItemState.WAITING, 0)
    assert item.paused_until is not None
    monkeypatch.undo()
    JobItem.objects.update(paused_until=None)
    work(job)
    assert items(enroller, job)[0]["result"]["caption"] == "No face was found."


def test_a_bound_key_has_its_job_in_its_collection(
    make_client: MakeClient, collection: Collection, other_collection: Collection
) -> None:
    mine, theirs = make_client(Scope.ENROL, [collection]), make_client(Scope.ADMIN, [other_collection])
    job = start(mine, "segment", image=b64(plain_jpeg()), model="")
    assert mine.get(f"/api/v1/jobs/{job['id']}").status_code == 200
    assert theirs.get(f"/api/v1/jobs/{job['id']}").status_code == 404


def test_asked_for_as_a_picture_a_job_is_json_still(enroller: APIClient) -> None:
    body = {"image": b64(plain_jpeg()), "async": True}
    answer = enroller.post("/api/v1/segment", body, format="json", headers={"Accept": "image/png"})
    assert (answer.status_code, answer["Content-Type"]) == (202, "application/json")
    assert answer.json()["kind"] == "segment"


def test_a_prompt_goes_with_who_is_erased(enroller: APIClient, collection: Collection, collins: Identity) -> None:
    job = start(enroller, image=b64(pictures()["collins"]), collection=collection.name)
    work(job)
    item = JobItem.objects.get()  # as if a network had written it
    item.job.parameters["settings"]["prompt"] = "eileen collins"
    item.job.save()
    JobItem.objects.update(result=item.result | {"caption": "eileen collins in a suit"})

    delete_identity(identity=collins)

    left = str(Job.objects.get().parameters) + str(JobItem.objects.get().result)
    assert "eileen" not in left.lower()


def test_pictures_that_were_sent_are_not_kept_longer_than_a_day(enroller: APIClient, collection: Collection) -> None:
    failed = start(enroller, image=b64(plain_jpeg()), model="blip-large")
    work(failed)
    done = start(enroller, image=b64(plain_jpeg()))
    work(done)
    upload = JobItem.objects.get(job_id=failed["id"]).upload
    assert upload.storage.exists(upload.name)

    Job.objects.update(finished_at=timezone.now() - timedelta(hours=23))
    tasks.tidy()
    assert Job.objects.count() == 2
    Job.objects.update(finished_at=timezone.now() - timedelta(hours=25))
    tasks.tidy()
    assert Job.objects.count() == 0
    assert not upload.storage.exists(upload.name)


def test_of_a_stored_picture_nobody_is_told_who_did_not_ask(enroller: APIClient, collins: Identity) -> None:
    portrait = str(collins.portraits.get().pk)
    job = start(enroller, portrait=portrait, people=False)
    work(job)
    (item,) = items(enroller, job)
    assert item["result"]["people"] == []
    assert item["result"]["caption_with_names"] is None
    assert "Collins" not in str(item)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"model": "centerface"}, 400, "wrong_model"),
        ({"model": "yolact-mini"}, 400, "wrong_model"),
        ({"image": b64(b"no picture")}, 415, "unsupported_image"),
    ],
)
def test_what_can_only_fail_is_refused_at_once(
    enroller: APIClient, collection: Collection, body: dict[str, Any], status: int, code: str
) -> None:
    asked = {"image": b64(plain_jpeg()), "model": "describe", "async": True} | body
    answer = enroller.post("/api/v1/caption", asked, format="json")
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert not Job.objects.exists()


def test_a_queue_does_not_fill_another(
    enroller: APIClient, collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "MAX_OPEN_ITEMS", 2)
    for _ in range(2):
        start(enroller, image=b64(plain_jpeg()), collection=collection.name)
    full = {"image": b64(plain_jpeg()), "model": "describe", "async": True, "collection": collection.name}
    assert enroller.post("/api/v1/caption", full, format="json").status_code == 429
    person = enroller.post("/api/v1/identities", {"collection": collection.name, "name": "A"}, format="json").json()
    asked = {"image": b64(pictures()["hopper"]), "async": True}
    assert enroller.post(f"/api/v1/identities/{person['id']}/portraits", asked, format="json").status_code == 202


def test_a_job_waits_for_a_model_that_is_unloaded(enroller: APIClient, collection: Collection) -> None:
    inference_client().unload("blip-mini")
    try:
        job = start(enroller, image=b64(plain_jpeg()), model="blip-mini")
        work(job)
        assert JobItem.objects.get().state == ItemState.WAITING
    finally:
        inference_client().load("blip-mini")
    JobItem.objects.update(paused_until=None)
    work(job)
    assert JobItem.objects.get().state == ItemState.DONE
