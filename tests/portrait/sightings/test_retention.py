"""What cameras' rules keep, and what they do not; files and rows go together."""

import json
import os
import threading
import time
import uuid
from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.management import call_command
from django.db import connection, transaction
from django.utils import timezone
from rest_framework.test import APIClient

from portrait.cameras.models import Camera, Frame, FrameState, frame_storage
from portrait.cameras.services import ledger
from portrait.cameras.services.audit import Gap, audit_camera
from portrait.gallery.models import Collection, Identity, Portrait
from portrait.sightings.models import Alert, Detection, DetectionEmbedding, Sighting, Stranger, Timeline, Track, Watch
from portrait.sightings.services import pictures, retention
from portrait.sightings.services.retention import expire_due
from tests.portrait.sightings import seen
from tests.portrait.sightings.seen import NOON, STRANGER, ago

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def camera(collection: Collection) -> Camera:
    """Frames an hour, the unnamed a day, the named for ever."""
    return seen.make_camera(collection, keep_frames_h=1, keep_unnamed_h=24)


@pytest.fixture
def hopper(collection: Collection) -> Identity:
    return Identity.objects.create(collection=collection, name="Grace")


@pytest.fixture
def nobody(collection: Collection) -> Identity:
    return Identity.objects.create(collection=collection, name="unknown_person_1", kind=Identity.Kind.UNKNOWN)


def state_of(frame: Frame) -> str:
    return str(Frame.objects.get(pk=frame.pk).state)


def test_pictures_of_ended_frames_go_after_their_time(camera: Camera) -> None:
    kept_files = seen.frame_files()
    old = seen.make_frame(camera, "small", ago(hours=2))
    failed = seen.make_frame(camera, "small", ago(hours=2), state=FrameState.FAILED, error_code="corrupt")
    waiting = seen.make_frame(camera, "small", ago(hours=200), state=FrameState.WAITING, finished_at=None)
    late = seen.make_frame(camera, "small", ago(hours=2), finished_at=timezone.now())
    fresh = seen.make_frame(camera, "small", ago(minutes=50))
    done = expire_due()
    assert (done.pictures, done.unfinished) == (2, False)
    states = [state_of(frame) for frame in (old, failed, waiting, late, fresh)]
    assert states == ["expired", "expired", "waiting", "done", "done"]
    old.refresh_from_db()
    assert (old.picture.name, old.error_code, "1 hour" in old.error_message) == ("", "expired", True)
    left = {str(Frame.objects.get(pk=frame.pk).picture) for frame in (waiting, late, fresh)}
    assert seen.frame_files() - kept_files == left
    assert expire_due().pictures == 0


def test_a_sighting_keeps_its_best_picture(camera: Camera, hopper: Identity, reader: APIClient) -> None:
    row = seen.seen_once(camera, "hopper", hopper, ago(hours=2))
    before = reader.get(f"/api/v1/sightings/{row.id}/picture").content
    done = expire_due()
    assert (done.pictures, done.cut_outs) == (1, 1)
    row.refresh_from_db()
    assert row.best is not None  # the face of somebody known by name is kept
    assert seen.sighting_files() >= {row.picture.name}
    assert reader.get(f"/api/v1/sightings/{row.id}/picture").content == before
    assert reader.get(f"/api/v1/frames/{row.best.frame_id}/picture").status_code == 410


def test_a_better_picture_replaces_the_saved_one(camera: Camera, hopper: Identity) -> None:
    row = seen.seen_once(camera, "small", hopper, ago(hours=3))
    (better,) = seen.see(seen.make_frame(camera, "collins", ago(hours=2)), "collins", [hopper])
    expire_due(now=ago(hours=1.5))
    row.refresh_from_db()
    first = row.picture.name
    Sighting.objects.filter(pk=row.pk).update(best=better)
    files = seen.sighting_files()
    expire_due()
    row.refresh_from_db()
    assert row.picture.name != first
    assert seen.sighting_files() == files - {first} | {row.picture.name}


def test_a_frame_that_cannot_be_read_does_not_stop_the_others(camera: Camera, hopper: Identity) -> None:
    lost, broken, good = (seen.seen_once(camera, "hopper", hopper, ago(hours=2, minutes=index)) for index in range(3))
    frame_storage().delete(lost.best.frame.picture.name)
    with frame_storage().open(broken.best.frame.picture.name, "wb") as file:
        file.write(b"\xff\xd8\xff nothing")
    assert (expire_due().pictures, Sighting.objects.exclude(picture="").get()) == (3, good)


def test_a_fault_in_the_middle_leaves_file_and_row_together(
    camera: Camera, hopper: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen.seen_once(camera, "hopper", hopper, ago(hours=2))
    frames, sightings = seen.frame_files(), seen.sighting_files()

    def fail(**kwargs: Any) -> None:
        assert seen.sighting_files() > sightings, "the cut-out was written by now"
        raise RuntimeError("injected")

    monkeypatch.setattr(ledger, "expire", fail)
    assert expire_due().pictures == 0
    assert (seen.frame_files(), seen.sighting_files()) == (frames, sightings)
    assert Sighting.objects.get().picture.name == ""
    monkeypatch.undo()
    assert expire_due().cut_outs == 1


def test_a_store_that_does_not_answer_removes_nothing(
    camera: Camera, hopper: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = seen.seen_once(camera, "hopper", hopper, ago(hours=2))

    def fail(*args: Any) -> None:
        raise ConnectionError("injected")

    monkeypatch.setattr(type(frame_storage()), "_open", fail)
    assert expire_due().pictures == 0
    assert state_of(row.best.frame) == "done"


def test_one_camera_that_fails_does_not_stop_the_others(camera: Camera, monkeypatch: pytest.MonkeyPatch) -> None:
    other = seen.make_camera(camera.collection, "yard", keep_frames_h=1)
    seen.make_frame(camera, "small", ago(hours=2))
    frame = seen.make_frame(other, "small", ago(hours=2))
    remove = retention._remove_pictures

    def fail_for_one(run: Any, each: Camera) -> int:
        if each.pk == camera.pk:
            raise RuntimeError("injected")
        return remove(run, each)

    monkeypatch.setattr(retention, "_remove_pictures", fail_for_one)
    assert expire_due().pictures == 1
    assert state_of(frame) == "expired"


def test_faces_of_nobody_known_by_name_go(camera: Camera, hopper: Identity, nobody: Identity) -> None:
    old = [
        face
        for who in (None, nobody, hopper)
        for face in seen.see(seen.make_frame(camera, "hopper", ago(hours=25)), "hopper", [who])
    ]
    fresh = seen.see(seen.make_frame(camera, "hopper", ago(hours=23)), "hopper", [None])
    done = expire_due()
    assert done.faces == 2
    left = {old[2].pk, *(face.pk for face in fresh)}
    assert set(Detection.objects.values_list("pk", flat=True)) == left
    assert set(DetectionEmbedding.objects.values_list("detection_id", flat=True)) == left
    assert set(Track.objects.values_list("pk", flat=True)) == {old[2].track_id, fresh[0].track_id}


def test_sightings_of_unknown_people_go_with_their_pictures(camera: Camera, hopper: Identity, nobody: Identity) -> None:
    files = seen.sighting_files()
    seen.seen_once(camera, STRANGER, nobody, ago(hours=26))
    named = seen.seen_once(camera, "hopper", hopper, ago(hours=26))
    expire_due(now=ago(hours=20))
    assert len(seen.sighting_files() - files) == 2
    assert expire_due().sightings == 1
    assert Sighting.objects.get() == named
    named.refresh_from_db()
    assert seen.sighting_files() - files == {named.picture.name}
    assert Detection.objects.get() == named.best


def test_a_sighting_that_lasts_keeps_all_of_its_faces(camera: Camera, nobody: Identity) -> None:
    begun = ago(hours=30)
    row = seen.seen_once(camera, STRANGER, nobody, begun, last_seen=ago(hours=1), hits=2)
    (inside,) = seen.see(seen.make_frame(camera, STRANGER, begun + timedelta(minutes=1)), STRANGER, [nobody])
    (before,) = seen.see(seen.make_frame(camera, STRANGER, begun - timedelta(minutes=1)), STRANGER, [nobody])
    done = expire_due()
    assert (done.sightings, done.faces, done.cut_outs) == (0, 1, 1)
    assert set(Detection.objects.all()) == {row.best, inside}
    assert before.pk not in Detection.objects.values_list("pk", flat=True)
    assert expire_due(now=timezone.now() + timedelta(hours=24)).sightings == 1
    assert not Detection.objects.exists()


def test_known_people_are_kept_as_long_as_the_camera_says(camera: Camera, hopper: Identity) -> None:
    seen.seen_once(camera, "hopper", hopper, ago(hours=100))
    later = seen.seen_once(camera, "hopper", hopper, ago(hours=40))
    assert expire_due().sightings == 0
    Camera.objects.filter(pk=camera.pk).update(keep_named_h=48)
    done = expire_due()
    assert (done.sightings, done.faces) == (1, 1)
    assert Sighting.objects.get() == later
    assert Identity.objects.filter(pk=hopper.pk).exists()


def test_a_name_given_in_time_keeps_a_stranger(camera: Camera, nobody: Identity, enroller: APIClient) -> None:
    seen.seen_once(camera, STRANGER, nobody, ago(hours=30))
    Stranger.objects.create(identity=nobody, camera=camera, met_at=ago(hours=30))
    enroller.patch(f"/api/v1/identities/{nobody.id}", {"name": "Mia"}, format="json")
    done = expire_due()
    assert (done.sightings, done.strangers, done.faces) == (0, 0, 0)
    assert Sighting.objects.get().identity.name == "Mia"


@pytest.fixture
def stranger(collection: Collection, camera: Camera) -> Identity:
    """Met two days ago, with a portrait."""
    identity = seen.enrol(collection, "unknown_person_7", "collins", kind=Identity.Kind.UNKNOWN)
    Stranger.objects.create(identity=identity, camera=camera, met_at=ago(hours=48))
    return identity


def test_a_stranger_who_was_not_seen_again_is_forgotten(camera: Camera, stranger: Identity) -> None:
    portrait = Portrait.objects.get(identity=stranger)
    seen.seen_once(camera, "collins", stranger, ago(hours=48))
    assert expire_due().strangers == 1
    assert not Identity.objects.filter(pk=stranger.pk).exists()
    assert not portrait.image.storage.exists(portrait.image.name)
    assert not Sighting.objects.exists()
    assert not Detection.objects.exists()


def test_a_stranger_who_came_again_is_kept(camera: Camera, stranger: Identity) -> None:
    yard = seen.make_camera(camera.collection, "yard", keep_unnamed_h=1000)
    seen.see(seen.make_frame(yard, "collins", ago(hours=100)), "collins", [stranger])
    assert expire_due().strangers == 0
    Detection.objects.all().delete()
    watch = Watch.objects.create(collection=camera.collection, name="w", identity=stranger)
    assert expire_due().strangers == 0, "somebody looks for them"
    watch.delete()
    Stranger.objects.update(met_at=ago(hours=23))
    assert expire_due().strangers == 0, "met too lately"
    Stranger.objects.update(met_at=ago(hours=25))
    assert expire_due().strangers == 1


def test_strangers_outlive_their_camera_only_for_a_while(camera: Camera, stranger: Identity) -> None:
    camera.delete()
    assert expire_due().strangers == 0
    Stranger.objects.update(met_at=ago(days=31))
    assert expire_due().strangers == 1


def test_alerts_without_a_sighting_go_too(camera: Camera, hopper: Identity, nobody: Identity) -> None:
    made = {}
    for who in (hopper, nobody):
        watch = Watch.objects.create(collection=camera.collection, name="w", identity=who)
        for hours in (10, 30):
            made[who, hours] = Alert.objects.create(
                watch=watch, camera=camera, identity=who, captured_at=ago(hours=hours), last_hit_at=NOON, similarity=0.9
            )
    assert expire_due().alerts == 1
    assert not Alert.objects.filter(pk=made[nobody, 30].pk).exists()
    Camera.objects.filter(pk=camera.pk).update(keep_named_h=20)
    assert expire_due().alerts == 1
    assert not Alert.objects.filter(pk=made[hopper, 30].pk).exists()


def test_rows_of_empty_frames_go_a_month_after_their_pictures(camera: Camera, hopper: Identity) -> None:
    empty = seen.make_frame(camera, "a cup of coffee", ago(days=32))
    someone = seen.seen_once(camera, "hopper", hopper, ago(days=32)).best.frame
    lately = seen.make_frame(camera, "a cup of coffee", ago(days=20))
    done = expire_due()
    assert (done.pictures, done.frames) == (3, 1)
    assert not Frame.objects.filter(pk=empty.pk).exists()
    assert {state_of(frame) for frame in (someone, lately)} == {"expired"}


def test_no_time_no_work(camera: Camera) -> None:
    seen.make_frame(camera, "small", ago(hours=2))
    done = expire_due(budget_s=0)
    assert (done.pictures, done.unfinished) == (0, True)


def test_many_are_done_in_small_steps(camera: Camera, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "FRAMES_A_STEP", 2)
    monkeypatch.setattr(retention, "ROWS_A_STEP", 2)
    for index in range(5):
        seen.see(seen.make_frame(camera, "small", ago(hours=30 + index)), "small", [None])
    done = expire_due()
    assert (done.pictures, done.faces) == (5, 5)


def test_two_runs_at_once_do_it_once(camera: Camera, hopper: Identity, nobody: Identity) -> None:
    for index in range(12):
        seen.seen_once(camera, "hopper", hopper if index % 2 else nobody, ago(hours=30 + index))
    totals = _at_once(expire_due, expire_due)
    assert sum(done.pictures for done in totals) == 12
    assert sum(done.sightings for done in totals) == 6
    assert sum(done.faces for done in totals) == 6
    assert Sighting.objects.exclude(picture="").count() == 6
    saved = set(Sighting.objects.values_list("picture", flat=True))
    assert {name for name in seen.sighting_files() if str(camera.id) in name} == saved


def _at_once(*calls: Callable[[], Any]) -> list[Any]:
    results: list[Any] = []

    def run(call: Callable[[], Any]) -> None:
        try:
            results.append(call())
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=[call], daemon=True) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)  # who waits for ever shows below
    assert len(results) == len(calls)
    return results


def test_a_frame_that_is_retried_at_this_moment_keeps_its_picture(camera: Camera) -> None:
    """The retry holds the row: retention leaves it alone, and later finds that it waits."""
    frame = seen.make_frame(camera, "small", ago(hours=2), state=FrameState.FAILED)
    Timeline.objects.create(camera=camera)
    with transaction.atomic():
        assert ledger.retry(frames=Frame.objects.filter(pk=frame.pk)) == [frame.pk]
        (done,) = _at_once(expire_due)
        assert done.pictures == 0
    assert expire_due().pictures == 0
    frame.refresh_from_db()
    assert (frame.state, frame_storage().exists(frame.picture.name)) == ("waiting", True)


def test_an_old_dated_frame_with_a_high_sequence_does_not_blind_the_audit(camera: Camera) -> None:
    old = [seen.make_frame(camera, "a cup of coffee", ago(days=32)) for _ in range(2)]
    young = [seen.make_frame(camera, "a cup of coffee", ago(minutes=5)) for _ in range(3)]
    dated = seen.make_frame(camera, "a cup of coffee", ago(days=40))
    assert expire_due().frames == 2
    camera.refresh_from_db()
    assert camera.pruned_below == old[-1].sequence + 1
    assert Frame.objects.filter(pk=dated.pk).exists()
    assert audit_camera(camera=camera).missing == 0
    Frame.objects.filter(pk=young[1].pk).delete()
    assert audit_camera(camera=camera).gaps == (Gap(young[1].sequence, young[1].sequence),)


def test_a_row_that_stayed_for_a_face_goes_once_the_face_is_gone(
    camera: Camera, hopper: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "ROWS_A_STEP", 2)
    first = seen.seen_once(camera, "hopper", hopper, ago(days=32)).best.frame
    for _ in range(4):
        seen.make_frame(camera, "a cup of coffee", ago(days=32))
    assert expire_due().frames == 4
    assert Frame.objects.get() == first
    assert (expire_due().frames, audit_camera(camera=camera).missing) == (0, 0)
    Sighting.objects.all().delete()
    Detection.objects.all().delete()
    assert expire_due().frames == 1
    assert audit_camera(camera=camera).missing == 0


def test_faces_of_an_old_frame_that_came_in_late_are_kept_as_long_as_any(camera: Camera, nobody: Identity) -> None:
    """A film of last month, read today: its strangers and their sightings are not gone at once."""
    late = seen.make_frame(camera, "small", ago(hours=400), finished_at=ago(hours=2))
    (unnamed,) = seen.see(late, "small", [None])
    row = seen.make_sighting(seen.see(late, "small", [nobody])[0])
    done = expire_due()
    assert (done.faces, done.sightings, done.pictures) == (0, 0, 1)
    assert Detection.objects.filter(pk=unnamed.pk).exists()
    assert Sighting.objects.filter(pk=row.pk).exists()
    done = expire_due(now=timezone.now() + timedelta(hours=23))
    assert (done.faces, done.sightings) == (2, 1)


def test_the_cut_outs_are_made_before_the_camera_is_locked(
    camera: Camera, hopper: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unlocked(*args: Any) -> bytes:
        assert not connection.in_atomic_block
        return cut_out(*args)

    cut_out = pictures.cut_out
    monkeypatch.setattr(pictures, "cut_out", unlocked)
    seen.seen_once(camera, "hopper", hopper, ago(hours=2))
    assert expire_due().cut_outs == 1


def test_the_audit_finds_pictures_that_no_sighting_names(camera: Camera, hopper: Identity) -> None:
    kept = seen.seen_once(camera, "hopper", hopper, ago(hours=2))
    expire_due()
    kept.refresh_from_db()
    gone = uuid.uuid4()
    strays = [f"sightings/{camera.pk}/{str(gone)[:2]}/{gone}.jpg", f"sightings/{camera.pk}/ab/{kept.pk}_x1.jpg"]
    for name in strays:
        default_storage.save(name, ContentFile(b"x"))
    fresh = default_storage.save(f"sightings/{camera.pk}/ab/arriving.jpg", ContentFile(b"x"))
    old = time.time() - 7200
    for name in (*strays, str(kept.picture.name)):
        os.utime(default_storage.path(name), (old, old))
    out = StringIO()
    call_command("frames", "audit", stdout=out)
    (told,) = [line for line in out.getvalue().splitlines() if "under sightings/" in line]
    assert told.startswith("2 are files under sightings/ that nothing names")
    assert all(name in told for name in strays)
    out = StringIO()
    call_command("frames", "audit", "--json", stdout=out)
    found = json.loads(out.getvalue())["orphans_elsewhere"]["sightings"]
    assert (sorted(found["files"]), found["count"]) == (sorted(strays), 2)
    call_command("frames", "audit", "--delete-orphans", stdout=StringIO())
    assert not any(default_storage.exists(name) for name in strays)
    assert default_storage.exists(str(kept.picture.name))
    assert default_storage.exists(fresh)
