"""Frames are described by their camera's rule: one each stretch of time, in the transaction that ends them, and
whatever goes wrong there the frames are done."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError
from django.utils import timezone
from rest_framework.test import APIClient

from portrait.cameras.incoming import IncomingFrame
from portrait.cameras.models import Camera, Frame, FrameState
from portrait.cameras.services.accept import accept_frames
from portrait.core.models import Scope
from portrait.core.services import create_api_key
from portrait.gallery.models import Collection
from portrait.jobs import services as jobs
from portrait.jobs.models import Job, JobItem
from portrait.jobs.tasks import run_item, sweep
from portrait.scenes import following, tasks
from portrait.scenes.models import CameraScenes, Caption
from portrait.scenes.services import due
from portrait.sightings.services import processing
from tests.api_clients import MakeClient, plain_jpeg
from tests.portrait.sightings.scenes import BEGIN, make_camera

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def camera(collection: Collection) -> Camera:
    made = make_camera(collection, "door")
    CameraScenes.objects.create(camera=made, caption_model="describe", every_s=10)
    return made


def process(camera: Camera, *seconds: float) -> list[int]:
    """Accept and process frames of these capture times, together."""
    first = camera.frames.count()
    incoming = [
        IncomingFrame(plain_jpeg(64 + first + place), BEGIN + timedelta(seconds=at), first + place)
        for place, at in enumerate(seconds)
    ]
    ids = [outcome.frame.pk for outcome in accept_frames(camera=camera, incoming=incoming)]  # type: ignore[union-attr]
    processing.process(frame_ids=ids)
    assert set(Frame.objects.filter(pk__in=ids).values_list("state", flat=True)) == {FrameState.DONE}
    return ids


def chosen() -> list[int]:
    return [subject["frame"] for job in Job.objects.order_by("created_at") for subject in job.parameters["subjects"]]


def work() -> None:
    for item in JobItem.objects.filter(state="waiting"):
        JobItem.objects.filter(pk=item.pk).update(paused_until=None)
        run_item(item.pk)


def test_one_frame_of_each_stretch_is_described(camera: Camera) -> None:
    ids = process(camera, 0, 1, 9.9, 10, 25)
    assert chosen() == [ids[0], ids[3], ids[4]]
    job = Job.objects.get()
    assert (job.kind, job.queue, job.collection_id) == ("describe_frames", "scenes", camera.collection_id)
    work()
    assert sorted(Caption.objects.values_list("frame_id", flat=True)) == chosen()
    row = Caption.objects.first()
    assert row is not None
    assert (row.text, row.camera_id, row.collection_id) == ("No face was found.", camera.pk, camera.collection_id)


def test_late_frames_do_not_describe_a_stretch_twice(camera: Camera) -> None:
    [second] = process(camera, 5)
    process(camera, 3)
    process(camera, 9)
    [other] = process(camera, -1)
    assert chosen() == [second, other]


def test_a_stretch_whose_picture_expired_was_described_all_the_same(camera: Camera) -> None:
    [first] = process(camera, 5)
    Frame.objects.filter(pk=first).update(state=FrameState.EXPIRED, picture="")
    process(camera, 6)
    assert chosen() == [first]


@pytest.mark.parametrize("values", [{"caption_model": ""}, None])
def test_a_camera_without_a_rule_is_left_alone(camera: Camera, values: dict[str, Any] | None) -> None:
    rule = CameraScenes.objects.filter(camera=camera)
    rule.update(**values) if values else rule.delete()
    process(camera, 0)
    assert Job.objects.count() == 0


@pytest.mark.parametrize("fault", [RuntimeError("a bug"), IntegrityError("a rule of the database")])
def test_a_fault_in_the_description_is_not_the_frames_fault(
    camera: Camera, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fault: Exception
) -> None:
    def broken(**values: Any) -> None:
        CameraScenes.objects.update(skipped=99)
        raise fault

    monkeypatch.setattr(following, "describe_due", broken)
    process(camera, 0)
    assert CameraScenes.objects.get().skipped == 0, "what it wrote is taken back"
    assert "left out" in caplog.text


def test_a_broken_transaction_is_mended(camera: Camera, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(**values: Any) -> None:
        camera_id = camera.pk
        CameraScenes.objects.create(camera_id=camera_id)  # there is one

    monkeypatch.setattr(following, "describe_due", broken)
    process(camera, 0)


def test_the_job_is_there_exactly_when_the_frame_is_done(camera: Camera, monkeypatch: pytest.MonkeyPatch) -> None:
    real = due.create_job

    def and_then_the_power_fails(**values: Any) -> Any:
        real(**values)
        raise KeyboardInterrupt

    monkeypatch.setattr(due, "create_job", and_then_the_power_fails)
    incoming = [IncomingFrame(plain_jpeg(), BEGIN, 0)]
    [outcome] = accept_frames(camera=camera, incoming=incoming)
    with pytest.raises(KeyboardInterrupt):
        processing.process(frame_ids=[outcome.frame.pk])  # type: ignore[union-attr]
    assert (Frame.objects.get().state, Job.objects.count()) == (FrameState.WAITING, 0)


def test_the_sweep_gives_it_to_the_broker(camera: Camera) -> None:
    process(camera, 0)
    item = JobItem.objects.get()
    assert item.paused_until is not None, "the broker is nothing that frames wait for"
    sweep()
    item.refresh_from_db()
    assert item.paused_until is None


def test_too_much_work_is_left_out_and_counted(
    camera: Camera, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(due, "MOST_WAITING", 2)
    process(camera, 0, 10)
    process(camera, 20, 30, 40)
    assert len(chosen()) == 2
    assert CameraScenes.objects.get().skipped == 3
    assert "3 frames" in caplog.text


def test_a_full_queue_stops_no_frame(camera: Camera, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "MAX_OPEN_ITEMS", 0)
    process(camera, 0)
    assert (Job.objects.count(), CameraScenes.objects.get().skipped) == (0, 1)


def test_a_missing_model_fails_the_description_only(camera: Camera) -> None:
    CameraScenes.objects.update(caption_model="blip-large")
    process(camera, 0)
    work()
    item = JobItem.objects.get()
    assert (item.state, item.error_code) == ("failed", "model_not_installed")


def test_jobs_of_rules_that_went_well_are_tidied_away(camera: Camera) -> None:
    process(camera, 0)
    work()
    CameraScenes.objects.update(caption_model="blip-large")
    process(camera, 10)
    work()
    tasks.tidy()
    assert Job.objects.count() == 2, "not at once"
    Job.objects.update(finished_at=timezone.now() - timedelta(hours=2))
    tasks.tidy()
    assert [job.parameters["caption_model"] for job in Job.objects.all()] == ["blip-large"], "failed: for a day"
    Job.objects.update(finished_at=timezone.now() - timedelta(hours=25))
    tasks.tidy()
    assert Job.objects.count() == 0
    assert Caption.objects.count() == 1


def test_however_many_jobs_there_are_they_are_tidied_away(camera: Camera) -> None:
    Job.objects.bulk_create(
        Job(kind="describe_frames", queue="scenes", parameters={"camera": str(camera.pk)}, finished_at=BEGIN)
        for _ in range(1200)
    )
    asked_for = Job.objects.create(kind="describe_frames", queue="scenes", finished_at=BEGIN)
    tasks.tidy()
    assert list(Job.objects.values_list("pk", flat=True)) == [asked_for.pk]


def test_the_rule_is_set_through_the_api(admin: APIClient, camera: Camera, make_client: MakeClient) -> None:
    path = f"/api/v1/cameras/{camera.pk}/scenes"
    body = {"caption_model": "default", "segment_model": "yolact-base", "every_s": 2.5}
    assert admin.put(path, body, format="json").json() == body | {"skipped": 0}
    assert admin.get(path).json() == body | {"skipped": 0}
    assert admin.put(path, admin.get(path).json(), format="json").status_code == 200, "an answer can be sent again"
    for wrong in ({"caption_model": "yolact-base"}, {"segment_model": "describe"}, {"every_s": "nan"}, {"every": 1}):
        answer = admin.put(path, body | wrong, format="json")
        assert (answer.status_code, answer.json()["error"]["field"]) == (400, next(iter(wrong)))
    _, key = create_api_key(name="c", scope=Scope.ADMIN, collection_ids=[camera.collection_id], camera_ids=[camera.pk])
    bound = APIClient(HTTP_AUTHORIZATION=f"Api-Key {key}")
    assert bound.get(path).status_code == 200
    assert bound.put(path, body, format="json").status_code == 403
    assert make_client(Scope.ENROL).put(path, body, format="json").status_code == 403
