"""One result a frame: twice delivered, poisoned, abandoned, with servers away."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.utils import timezone

from inference.errors import InvalidInferenceResponseError, ServerUnavailableError
from inference.faces.pipeline import FacePipeline
from portrait.cameras.incoming import IncomingFrame
from portrait.cameras.models import Camera, Frame, FrameState
from portrait.cameras.services import ledger
from portrait.cameras.services.accept import accept_frame, accept_frames
from portrait.core.storage import FsyncStorage
from portrait.demo.photos import PhotoSet
from portrait.gallery.models import Collection
from portrait.sightings.models import Detection, DetectionEmbedding, Timeline
from portrait.sightings.services import processing, timeline
from tests.api_clients import plain_jpeg
from tests.portrait.sightings.scenes import BEGIN, make_camera

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def camera(collection: Collection) -> Camera:
    return make_camera(collection, "door")


@pytest.fixture
def face(photos: PhotoSet) -> bytes:
    return photos.people["Eileen Collins"][0].data


def accept(camera: Camera, *pictures: bytes) -> list[int]:
    incoming = [IncomingFrame(data, BEGIN + timedelta(seconds=index / 5), index) for index, data in enumerate(pictures)]
    outcomes = accept_frames(camera=camera, incoming=incoming)
    return [outcome.frame.pk for outcome in outcomes]  # type: ignore[union-attr]


def states(ids: list[int]) -> list[str]:
    found = dict(Frame.objects.filter(pk__in=ids).values_list("pk", "state"))
    return [found[key] for key in ids]


def break_pipeline(monkeypatch: pytest.MonkeyPatch, when: Callable[[Any], Exception | None]) -> None:
    """A fault in the networks' place, for those batches that `when` names one for."""
    real = FacePipeline.analyse

    def analyse(self: FacePipeline, images: Any, **options: Any) -> Any:
        error = when(images)
        if error is not None:
            raise error
        return real(self, images, **options)

    monkeypatch.setattr(FacePipeline, "analyse", analyse)


def test_a_frame_is_analysed_and_stored(camera: Camera, face: bytes) -> None:
    [frame_id] = accept(camera, face)
    assert processing.process(frame_ids=[frame_id]) == 1
    frame = Frame.objects.get(pk=frame_id)
    detection = Detection.objects.get()
    assert (frame.state, frame.attempts, frame.lease, frame.error_code) == (FrameState.DONE, 1, None, "")
    assert frame.finished_at is not None
    assert (detection.frame_id, detection.camera_id, detection.captured_at) == (frame_id, camera.pk, BEGIN)
    assert detection.box[2] > 60
    assert detection.acceptable
    assert len(DetectionEmbedding.objects.get().vector) == 128
    assert Timeline.objects.get().latest == BEGIN


def test_however_often_it_is_delivered_a_frame_has_one_result(camera: Camera, face: bytes) -> None:
    ids = accept(camera, *[face] * 4)

    def deliver(frame_id: int) -> None:
        try:
            processing.process(frame_ids=[frame_id])
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(deliver, ids * 4))
    assert states(ids) == [FrameState.DONE] * 4
    assert sorted(Detection.objects.values_list("frame_id", flat=True)) == ids


def test_waiting_frames_are_taken_along(camera: Camera) -> None:
    ids = accept(camera, *[plain_jpeg()] * 12)
    assert processing.process(frame_ids=[ids[5]]) == processing.BATCH
    assert states(ids).count(FrameState.DONE) == processing.BATCH
    assert states(ids)[5] == FrameState.DONE
    assert processing.process(frame_ids=[ids[5]]) == 0


def test_a_picture_that_cannot_be_read_fails_with_the_reason_and_stops_no_other(camera: Camera, face: bytes) -> None:
    ids = accept(camera, face, face[: len(face) // 3], plain_jpeg())
    processing.process(frame_ids=ids)
    assert states(ids) == [FrameState.DONE, FrameState.FAILED, FrameState.DONE]
    bad = Frame.objects.get(pk=ids[1])
    assert bad.error_code == "corrupt_image"
    assert "truncated or damaged" in bad.error_message
    assert "send the original file again, with another sequence" in bad.error_message
    assert bad.picture


def test_a_picture_that_is_gone_fails(camera: Camera) -> None:
    ids = accept(camera, plain_jpeg(), plain_jpeg())
    frame = Frame.objects.get(pk=ids[0])
    frame.picture.storage.delete(frame.picture.name)
    processing.process(frame_ids=ids)
    assert states(ids) == [FrameState.FAILED, FrameState.DONE]
    assert Frame.objects.get(pk=ids[0]).error_code == "picture_missing"


def test_a_frame_that_spoils_a_batch_fails_alone(camera: Camera, face: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = accept(camera, plain_jpeg(), plain_jpeg(80, 60), plain_jpeg(), face)
    odd = InvalidInferenceResponseError("an odd answer")
    break_pipeline(monkeypatch, lambda images: odd if any(image.shape[0] == 60 for image in images) else None)
    processing.process(frame_ids=ids)
    assert states(ids) == [FrameState.DONE, FrameState.FAILED, FrameState.DONE, FrameState.DONE]
    assert Frame.objects.get(pk=ids[1]).error_code == "inference_response_invalid"


def test_frames_wait_for_servers_that_are_away_as_long_as_it_takes(
    camera: Camera, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = accept(camera, plain_jpeg())
    with monkeypatch.context() as patch:
        break_pipeline(patch, lambda images: ServerUnavailableError("nothing answers"))
        pauses = []
        for _ in range(40):
            processing.process(frame_ids=ids)
            frame = Frame.objects.get(pk=ids[0])
            assert (frame.state, frame.lease, frame.failures) == (FrameState.WAITING, None, 0)
            assert frame.paused_until is not None
            pauses.append((frame.paused_until - timezone.now()).total_seconds())
            Frame.objects.update(paused_until=timezone.now())
    assert pauses[0] < 3
    assert pauses[-1] <= processing.LONGEST_PAUSE_S
    processing.process(frame_ids=ids)
    assert states(ids) == [FrameState.DONE]


def test_frames_wait_for_a_store_that_is_away_but_not_for_ever(camera: Camera, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = accept(camera, plain_jpeg(), plain_jpeg(), plain_jpeg())
    fine = Frame.objects.get(pk=ids[2]).picture.name
    real = FsyncStorage._open

    def away(self: FsyncStorage, name: str, mode: str = "rb") -> Any:
        if name == fine:
            return real(self, name, mode)
        raise OSError("the bucket does not answer")

    monkeypatch.setattr(FsyncStorage, "_open", away)
    processing.process(frame_ids=ids)
    assert states(ids) == [FrameState.WAITING, FrameState.WAITING, FrameState.DONE]
    assert set(Frame.objects.values_list("failures", flat=True)) == {0}
    Frame.objects.filter(pk=ids[0]).update(waits_since=timezone.now() - timedelta(hours=25))
    Frame.objects.update(paused_until=None)
    processing.process(frame_ids=ids)
    assert states(ids)[:2] == [FrameState.FAILED, FrameState.WAITING]
    assert Frame.objects.get(pk=ids[0]).error_code == "picture_unreadable"


def test_a_paused_frame_is_not_taken_before_its_time(camera: Camera) -> None:
    ids = accept(camera, plain_jpeg())
    Frame.objects.update(paused_until=timezone.now() + timedelta(hours=1))
    assert processing.process(frame_ids=ids) == 0


def test_an_error_nobody_foresaw_is_tried_again_and_then_told(camera: Camera, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = accept(camera, plain_jpeg(), plain_jpeg(80, 60))
    broken = ZeroDivisionError("oops")
    break_pipeline(monkeypatch, lambda images: broken if any(image.shape[0] == 60 for image in images) else None)
    for attempt in range(processing.MAX_FAILURES):
        assert Frame.objects.get(pk=ids[1]).failures == attempt
        processing.process(frame_ids=ids)
        Frame.objects.update(paused_until=None)
    bad = Frame.objects.get(pk=ids[1])
    assert states(ids) == [FrameState.DONE, FrameState.FAILED]
    assert bad.error_code == "internal_error"
    assert "ZeroDivisionError" in bad.error_message


def test_what_cannot_be_stored_does_not_stop_the_rest_and_leaves_nothing(
    camera: Camera, face: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = accept(camera, face, face, face)
    real = timeline.record

    def record(*, seen: Any, **values: Any) -> None:
        real(seen=seen, **values)
        if any(each.frame.pk == ids[1] for each in seen):
            raise ZeroDivisionError

    monkeypatch.setattr(timeline, "record", record)
    processing.process(frame_ids=ids)
    assert states(ids) == [FrameState.DONE, FrameState.WAITING, FrameState.DONE]
    assert sorted(Detection.objects.values_list("frame_id", flat=True)) == [ids[0], ids[2]]


def test_a_database_that_goes_away_while_storing_costs_a_try_and_no_failure(
    camera: Camera, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = accept(camera, plain_jpeg())

    def record(**values: Any) -> None:
        raise OperationalError("the connection is closed")

    with monkeypatch.context() as patch:
        patch.setattr(timeline, "record", record)
        processing.process(frame_ids=ids)
    frame = Frame.objects.get()
    assert (frame.state, frame.failures, frame.lease) == (FrameState.WAITING, 0, None)


def test_a_frame_whose_worker_vanished_is_taken_over_and_its_late_result_thrown_away(
    camera: Camera, face: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = accept(camera, face)
    real = FacePipeline.analyse
    once = []

    def analyse(self: FacePipeline, images: Any, **options: Any) -> Any:
        found = real(self, images, **options)
        if not once:
            once.append(True)
            Frame.objects.update(leased_until=timezone.now() - timedelta(seconds=1))  # it took too long
            assert processing.process(frame_ids=ids) == 1
        return found

    monkeypatch.setattr(FacePipeline, "analyse", analyse)
    processing.process(frame_ids=ids)
    frame = Frame.objects.get()
    assert (frame.state, frame.attempts, frame.crashes) == (FrameState.DONE, 2, 1)
    assert Detection.objects.count() == 1


def test_a_frame_that_kills_workers_is_tried_alone_and_then_given_up(camera: Camera) -> None:
    ids = accept(camera, plain_jpeg(), plain_jpeg())
    for crash in range(processing.MAX_CRASHES):
        claim = ledger.claim(frame_ids=[ids[0]], limit=1 if crash == 0 else 8)
        assert claim is not None
        assert claim.ids == [ids[0]]  # no other is taken along
        Frame.objects.filter(pk=ids[0]).update(leased_until=timezone.now() - timedelta(seconds=1))
    processing.process(frame_ids=[ids[0]])
    assert states(ids) == [FrameState.FAILED, FrameState.WAITING]
    assert Frame.objects.get(pk=ids[0]).error_code == "worker_lost"


def test_a_failed_frame_can_be_tried_again(camera: Camera) -> None:
    ids = accept(camera, plain_jpeg())
    claim = ledger.claim(frame_ids=ids, limit=1)
    assert claim is not None
    ledger.fail(lease=claim.lease, frame_ids=ids, code="worker_lost", message="for a test")
    assert ledger.retry(frames=Frame.objects.all()) == ids
    processing.process(frame_ids=ids)
    assert states(ids) == [FrameState.DONE]


def test_a_camera_that_is_deleted_meanwhile_is_no_error(
    camera: Camera, face: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = make_camera(camera.collection, "other")
    ids = accept(camera, face)
    kept = accept_frame(camera=other, incoming=IncomingFrame(plain_jpeg())).frame.pk
    real = FacePipeline.analyse

    def analyse(self: FacePipeline, images: Any, **options: Any) -> Any:
        Camera.objects.filter(pk=camera.pk).delete()
        return real(self, images, **options)

    monkeypatch.setattr(FacePipeline, "analyse", analyse)
    processing.process(frame_ids=ids)
    assert list(Frame.objects.values_list("pk", "state")) == [(kept, FrameState.DONE)]
    assert not Detection.objects.exists()


def test_under_a_long_backlog_more_are_taken_along(camera: Camera) -> None:
    accept(camera, *[plain_jpeg(64 + index % 3, 48) for index in range(ledger.LONG_BACKLOG + 40)])
    first = Frame.objects.order_by("id").values_list("id", flat=True)[0]
    assert processing.process(frame_ids=[first]) == processing.LARGE_BATCH
    assert Frame.objects.filter(state=FrameState.DONE).count() == processing.LARGE_BATCH


def test_what_this_process_has_done_needs_no_look_at_the_ledger(camera: Camera, django_assert_num_queries: Any) -> None:
    ids = accept(camera, plain_jpeg())
    processing.process(frame_ids=ids)
    with django_assert_num_queries(0):
        assert processing.process(frame_ids=ids) == 0
