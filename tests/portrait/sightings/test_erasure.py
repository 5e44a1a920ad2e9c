"""Whoever is erased leaves nothing behind: no face, no vector, no sighting, no picture that shows them."""

import threading
from datetime import timedelta
from typing import Any

import cv2
import numpy as np
import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, OperationalError, connection, transaction
from rest_framework.test import APIClient

from inference.codec import decode, encode_jpeg
from inference.types import Box
from portrait.cameras.incoming import IncomingFrame
from portrait.cameras.models import Camera, Frame, FrameState
from portrait.cameras.services.accept import accept_frame
from portrait.core.files import atomic_with_files
from portrait.gallery.face_json import quality_json
from portrait.gallery.models import Collection, Identity
from portrait.gallery.services.grace import grace_began
from portrait.gallery.services.identities import delete_identity, purge_deleted
from portrait.gallery.services.photos import prepare_face
from portrait.sightings import files
from portrait.sightings.models import Alert, Detection, DetectionEmbedding, Sighting, Stranger, Timeline, Track, Watch
from portrait.sightings.services import erasure, pictures, processing, strangers
from tests.api_clients import b64
from tests.live.conftest import wait_for
from tests.portrait.sightings import seen
from tests.portrait.sightings.seen import BOTH, NOON, STRANGER, ago

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def camera(collection: Collection) -> Camera:
    return seen.make_camera(collection)


@pytest.fixture
def collins(collection: Collection) -> Identity:
    return seen.enrol(collection, "Eileen", "collins")


@pytest.fixture
def hopper(collection: Collection) -> Identity:
    return seen.enrol(collection, "Grace", "hopper")


class Scene:
    """Both people in one frame, each with a sighting that it is the best of; and each alone in another."""

    def __init__(self, camera: Camera, collins: Identity, hopper: Identity) -> None:
        self.both = seen.make_frame(camera, BOTH, ago(hours=1))
        left, right = seen.see(self.both, BOTH, [collins, hopper])
        self.collins, self.hopper = seen.make_sighting(left), seen.make_sighting(right)
        self.alone = seen.make_frame(camera, "hopper", ago(minutes=5))
        seen.see(self.alone, "hopper", [hopper])
        self.others = seen.make_frame(camera, STRANGER, ago(minutes=4))
        seen.see(self.others, STRANGER, [None])
        watch = Watch.objects.create(collection=camera.collection, name="w", identity=hopper)
        Alert.objects.create(
            watch=watch,
            camera=camera,
            identity=hopper,
            sighting=self.hopper,
            captured_at=ago(hours=1),
            last_hit_at=ago(hours=1),
            similarity=0.9,
        )
        Stranger.objects.create(identity=hopper, camera=camera, met_at=ago(hours=1))


@pytest.fixture
def scene(camera: Camera, collins: Identity, hopper: Identity) -> Scene:
    return Scene(camera, collins, hopper)


def assert_gone(identity: Identity, *, faces: int) -> None:
    assert not Identity.objects.filter(pk=identity.pk).exists()
    assert Detection.objects.count() == DetectionEmbedding.objects.count() == Track.objects.count() == faces
    assert not Alert.objects.exists()
    assert not Watch.objects.exists()
    assert not Stranger.objects.exists()


def test_a_person_goes_with_all_that_shows_them(
    enroller: APIClient, scene: Scene, hopper: Identity, collins: Identity
) -> None:
    files = seen.sighting_files()
    assert enroller.delete(f"/api/v1/identities/{hopper.id}?erase=true").status_code == 204
    assert_gone(hopper, faces=2)
    assert Sighting.objects.get() == scene.collins
    for frame, state in ((scene.both, "expired"), (scene.alone, "expired"), (scene.others, "done")):
        file = frame.picture.name
        frame.refresh_from_db()
        assert frame.state == state
        assert frame.picture.storage.exists(file) == (state == "done")
    assert (scene.both.error_code, scene.both.metadata) == ("erased", {})
    (saved,) = seen.sighting_files() - files
    picture = enroller.get(f"/api/v1/sightings/{scene.collins.id}/picture")
    found = seen.face_pipeline().analyse([decode(picture.content)])[0].faces
    assert len(found) == 1
    assert np.linalg.norm(found[0].embedding.vector - seen.faces(BOTH)[0].embedding.vector) < 0.4
    assert str(scene.collins.id) in saved
    answer = enroller.get(f"/api/v1/frames/{scene.both.id}/picture")
    assert (answer.status_code, answer.json()["error"]["code"]) == (410, "expired")
    assert [
        face["identity"]["name"] for face in enroller.get(f"/api/v1/frames/{scene.both.id}").json()["detections"]
    ] == ["Eileen"]


def test_what_the_workers_make_is_shown_searched_and_erased(
    enroller: APIClient, camera: Camera, hopper: Identity
) -> None:
    """The whole way, through the real processing of frames."""
    data, begin = seen.pictures()["hopper"], ago(minutes=1)
    frames = [
        accept_frame(camera=camera, incoming=IncomingFrame(data, captured_at=begin + timedelta(seconds=index))).frame
        for index in range(5)
    ]
    while Frame.objects.filter(state=FrameState.WAITING).exists():
        assert processing.process(frame_ids=[frame.pk for frame in frames])
    (row,) = enroller.get("/api/v1/sightings").json()["results"]
    assert (row["identity"]["id"], row["hits"]) == (str(hopper.id), 5)
    body = {"image": b64(seen.pictures()["dark"]), "collection": camera.collection.name}
    (found,) = enroller.post("/api/v1/search", body, format="json").json()["sightings"]
    assert (found["id"], found["matched_by"]) == (row["id"], "face")
    assert enroller.get(row["picture_url"]).status_code == 200
    assert enroller.delete(f"/api/v1/identities/{hopper.id}?erase=true").status_code == 204
    assert_gone(hopper, faces=0)
    assert not Sighting.objects.exists()
    assert set(Frame.objects.values_list("state", flat=True)) == {FrameState.EXPIRED}


def test_the_ledger_still_counts_every_frame(enroller: APIClient, scene: Scene, hopper: Identity) -> None:
    before = list(Frame.objects.order_by("id").values_list("sequence", flat=True))
    enroller.delete(f"/api/v1/identities/{hopper.id}?erase=true")
    assert list(Frame.objects.order_by("id").values_list("sequence", flat=True)) == before


def test_pictures_that_were_saved_earlier_go_too(enroller: APIClient, scene: Scene, hopper: Identity) -> None:
    from portrait.sightings.services.retention import expire_due

    files = seen.sighting_files()
    Camera.objects.update(keep_frames_h=0)
    assert expire_due().cut_outs == 2
    enroller.delete(f"/api/v1/identities/{hopper.id}?erase=true")
    scene.collins.refresh_from_db()
    assert seen.sighting_files() - files == {scene.collins.picture.name}


@pytest.mark.parametrize("way", ["one", "action"])
def test_from_the_admin_as_well(client: Any, scene: Scene, hopper: Identity, way: str) -> None:
    client.force_login(User.objects.create_superuser("root", password="pw"))
    if way == "one":
        address, body = f"/admin/gallery/identity/{hopper.pk}/delete/", {"post": "yes"}
    else:
        address = "/admin/gallery/identity/"
        body = {"action": "delete_selected", "_selected_action": [str(hopper.pk)], "post": "yes"}
    assert client.post(address, body).status_code == 302
    hopper.refresh_from_db()
    assert hopper.deleted_at is not None  # it can be restored, until the time of grace is over
    Identity.objects.filter(pk=hopper.pk).update(deleted_at=grace_began())
    assert purge_deleted() == 1
    assert_gone(hopper, faces=2)
    assert {frame.state for frame in Frame.objects.filter(pk__in=[scene.both.pk, scene.alone.pk])} == {"expired"}


def test_many_frames_in_small_steps(camera: Camera, hopper: Identity, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(erasure, "CHUNK", 1)
    for index in range(6):
        seen.see(seen.make_frame(camera, "small", ago(minutes=index + 1)), "small", [hopper])
    delete_identity(identity=hopper)
    assert set(Frame.objects.values_list("state", flat=True)) == {FrameState.EXPIRED}
    assert not Detection.objects.exists()


def test_an_erasure_cut_off_in_the_middle_goes_on_when_it_is_asked_for_again(
    scene: Scene, hopper: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasure, "CHUNK", 1)
    cut_after = 1

    def fail(frames: Any, prepared: Any, **values: Any) -> int:
        nonlocal cut_after
        cut_after -= 1
        if cut_after < 0:
            raise RuntimeError("injected")
        return remove(frames, prepared, **values)

    remove = erasure.remove_pictures
    monkeypatch.setattr(erasure, "remove_pictures", fail)
    with pytest.raises(RuntimeError, match="injected"):
        delete_identity(identity=hopper)
    assert Identity.objects.filter(pk=hopper.pk).exists()
    assert Frame.objects.filter(state=FrameState.EXPIRED).count() == 1
    assert set(Frame.objects.exclude(picture="").values_list("picture", flat=True)) <= seen.frame_files()
    monkeypatch.setattr(erasure, "remove_pictures", remove)
    delete_identity(identity=hopper)
    assert_gone(hopper, faces=2)
    assert Sighting.objects.get() == scene.collins


def test_a_step_that_fails_leaves_what_it_would_have_removed(
    scene: Scene, hopper: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames, sightings = seen.frame_files(), seen.sighting_files()

    def fail(**values: Any) -> None:
        assert seen.sighting_files() > sightings, "the cut-out was written by now"
        raise RuntimeError("injected")

    monkeypatch.setattr(erasure.ledger, "expire", fail)
    with pytest.raises(RuntimeError, match="injected"):
        delete_identity(identity=hopper)
    assert (seen.frame_files(), seen.sighting_files()) == (frames, sightings)
    assert Sighting.objects.count() == 2
    assert set(Frame.objects.values_list("state", flat=True)) == {FrameState.DONE}


def test_what_came_in_during_the_erasure_goes_with_the_identity(
    camera: Camera, hopper: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the steps a worker stores one more face; the last transaction finds it."""
    seen.seen_once(camera, "hopper", hopper, ago(hours=1))
    steps = files.erase_most

    def and_one_more(*, identity_id: Any) -> None:
        steps(identity_id=identity_id)
        assert not Detection.objects.exists()
        seen.seen_once(camera, "hopper", hopper, ago(minutes=1))

    monkeypatch.setattr(files, "erase_most", and_one_more)
    delete_identity(identity=hopper)
    assert not Detection.objects.exists()
    assert not Sighting.objects.exists()
    assert set(Frame.objects.values_list("state", flat=True)) == {FrameState.EXPIRED}


def test_cut_outs_are_made_before_the_camera_is_locked(
    scene: Scene, hopper: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unlocked(*args: Any) -> bytes:
        assert not connection.in_atomic_block
        return cut_out(*args)

    cut_out = pictures.cut_out
    monkeypatch.setattr(pictures, "cut_out", unlocked)
    delete_identity(identity=hopper)
    assert Sighting.objects.get().picture


def test_a_cut_out_that_fits_no_longer_is_made_again_under_the_lock(camera: Camera, hopper: Identity) -> None:
    """Its sighting has got a better face since it was prepared."""
    row = seen.seen_once(camera, "small", hopper, ago(minutes=2))
    (better,) = seen.see(seen.make_frame(camera, "hopper", ago(minutes=1)), "hopper", [hopper])
    frames = [row.best.frame_id, better.frame_id]
    prepared = pictures.prepare_cut_outs(frames)
    Sighting.objects.filter(pk=row.pk).update(best=better)
    with atomic_with_files():
        assert pictures.save_cut_outs(frames, prepared) == 1
    row.refresh_from_db()
    with row.picture.open("rb") as file:
        saved = file.read()
    assert saved != prepared[row.pk].jpeg
    assert saved == pictures.sighting_picture(row)


def test_a_strangers_portrait_shows_nobody_elses_face(camera: Camera) -> None:
    """Their neighbour stands so near that the portrait's surroundings would show the face."""
    whole = decode(seen.pictures()["collins"])
    box = seen.faces("collins")[0].box
    other, there = decode(seen.pictures()["hopper"]), seen.faces("hopper")[0].box
    near = other[
        int(there.y - 0.2 * there.height) : int(there.bottom + 0.2 * there.height), int(there.x) : int(there.right)
    ]
    scale = 0.45 * box.height / there.height
    small = cv2.resize(near, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    row, column = int(box.y), int(box.right) + 5
    both = np.hstack([whole[:, :column], np.full((whole.shape[0], 300, 3), 90, np.uint8)])
    both[row : row + small.shape[0], column : column + small.shape[1]] = small
    jpeg = encode_jpeg(both, quality=92)
    found = sorted(seen.face_pipeline().analyse([decode(jpeg)])[0].faces, key=lambda face: face.box.x)
    assert len(found) == 2
    frame = accept_frame(camera=camera, incoming=IncomingFrame(jpeg)).frame
    rows = [
        Detection.objects.create(
            frame=frame,
            camera=camera,
            captured_at=frame.captured_at,
            box=face.box.as_list(),
            landmarks=face.landmarks.as_dict() if face.landmarks else None,
            score=face.score,
            quality=quality_json(face.quality),
            quality_score=face.quality.score,
            acceptable=True,
        )
        for face in found
    ]
    for row, face in zip(rows, found, strict=True):
        DetectionEmbedding.objects.create(
            detection=row,
            model=camera.collection.active_model,
            collection=camera.collection,
            camera=camera,
            captured_at=frame.captured_at,
            vector=face.embedding.vector,
        )
    image = decode(jpeg)
    assert len(_faces_in(prepare_face(jpeg, image, found[0], alone=False).jpeg)) == 2, "else this proves nothing"
    (photo,) = strangers._photos(rows[:1], ())
    assert len(_faces_in(photo.jpeg)) == 1
    assert len(_faces_in(photo.thumbnail)) == 1
    left, top, right, bottom = (int(edge) for edge in (box.x, box.y, box.right, box.bottom))
    coarse = pictures.without_others(whole, Box(0, 0, 1, 1), [box])[top + 1 : bottom, left + 1 : right]
    assert len(np.unique(coarse.reshape(-1, 3), axis=0)) <= pictures.PIXELS_ACROSS**2


def _faces_in(jpeg: bytes) -> Any:
    return seen.face_pipeline().analyse([decode(jpeg)])[0].faces


def test_a_track_that_lost_its_best_faces_has_the_best_of_the_rest(camera: Camera, hopper: Identity) -> None:
    track = Track.objects.create(camera=camera, identity=hopper, similarity=0.9, first_seen=NOON, last_seen=NOON)
    rows = []
    for index in range(8):
        frame = seen.make_frame(camera, "small", NOON + timedelta(seconds=index))
        (face,) = seen.see(frame, "small", [hopper], tracks=False)
        Detection.objects.filter(pk=face.pk).update(track=track, grade=3, quality_score=0.9 - index / 100)
        rows.append(face.pk)
    DetectionEmbedding.objects.exclude(detection_id__in=rows[:5]).update(exemplar=False)
    Track.objects.filter(pk=track.pk).update(template=rows[:5], frames=8)
    erasure.delete_faces(rows[:2])
    track.refresh_from_db()
    assert track.template == rows[2:7]
    assert (track.frames, track.first_seen) == (6, NOON + timedelta(seconds=2))
    exemplars = DetectionEmbedding.objects.filter(exemplar=True).order_by("detection")
    assert list(exemplars.values_list("detection", flat=True)) == rows[2:7]
    assert track.identity == hopper


def test_a_sighting_taken_back_does_not_come_back_with_a_late_frame(camera: Camera, hopper: Identity) -> None:
    data, begin = seen.pictures()["hopper"], ago(minutes=5)

    def process(*seconds: float) -> None:
        for second in seconds:
            incoming = IncomingFrame(data, captured_at=begin + timedelta(seconds=second))
            accept_frame(camera=camera, incoming=incoming)
        while ids := list(Frame.objects.filter(state=FrameState.WAITING).values_list("pk", flat=True)):
            processing.process(frame_ids=ids)

    process(*(index / 4 for index in range(24)))  # so near that the late one links with many
    erasure.delete_sighting(sighting=Sighting.objects.get())
    process(3.1)
    assert not Sighting.objects.exists()
    assert Detection.objects.filter(dismissed=True, track=None, identity=None).count() == 24
    assert Detection.objects.get(dismissed=False).track is not None


@pytest.mark.parametrize("taken_for_the_person", [False, True])
def test_while_a_worker_stores_a_new_face(camera: Camera, hopper: Identity, taken_for_the_person: bool) -> None:
    """The erasure waits for the worker's transaction, or ends it: the frame is then done again. It never fails, and
    nothing of the person is left."""
    seen.seen_once(camera, "hopper", hopper, ago(hours=1))
    erased: list[BaseException | None] = []

    def erase() -> None:
        try:
            delete_identity(identity=hopper)
            erased.append(None)
        except BaseException as error:
            erased.append(error)
        finally:
            connection.close()

    eraser = threading.Thread(target=erase)
    worker_failed = False
    frame = seen.make_frame(camera, "dark", ago(minutes=1))
    try:
        with transaction.atomic():
            erasure.lock_timelines([camera.pk])
            eraser.start()
            wait_for(_somebody_waits_for_a_lock, "the erasure's wait")
            seen.see(frame, "dark", [hopper if taken_for_the_person else None])
    except (OperationalError, IntegrityError):
        worker_failed = True
    eraser.join()
    assert erased == [None]
    assert not Identity.objects.filter(pk=hopper.pk).exists()
    if not taken_for_the_person:
        assert (worker_failed, Detection.objects.count()) == (False, 1)
    else:
        assert not Detection.objects.exists()


def _somebody_waits_for_a_lock() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return bool(cursor.fetchone()[0])


def test_a_collection_goes_with_all_its_files(admin: APIClient, scene: Scene, collection: Collection) -> None:
    from portrait.sightings.services.retention import expire_due

    Camera.objects.update(keep_frames_h=0)
    expire_due()
    names = {row.picture.name for row in Sighting.objects.all()}
    assert names <= seen.sighting_files()
    seen.make_frame(Camera.objects.get(), BOTH, ago(minutes=1))
    files = {str(name) for name in Frame.objects.exclude(picture="").values_list("picture", flat=True)}
    assert admin.delete(f"/api/v1/collections/{collection.name}").status_code == 204
    for model in (Camera, Frame, Detection, DetectionEmbedding, Track, Sighting, Timeline, Watch, Alert, Stranger):
        assert not model.objects.exists(), model
    assert not names & seen.sighting_files()
    assert not files & seen.frame_files()


def test_no_cut_out_is_made_for_a_collection_that_goes(admin: APIClient, scene: Scene, collection: Collection) -> None:
    before = seen.sighting_files()
    assert admin.delete(f"/api/v1/collections/{collection.name}").status_code == 204
    assert seen.sighting_files() == before


def test_a_camera_goes_with_what_it_saw(scene: Scene, camera: Camera, hopper: Identity) -> None:
    from portrait.sightings.services.retention import expire_due

    Camera.objects.update(keep_frames_h=0)
    expire_due()
    yard = seen.make_camera(camera.collection, "yard")
    kept = seen.seen_once(yard, "hopper", hopper, ago(minutes=1))
    names = {row.picture.name for row in Sighting.objects.exclude(picture="")}
    camera.delete()
    assert Sighting.objects.get() == kept
    assert not names & seen.sighting_files()
    assert Identity.objects.filter(pk=hopper.pk).exists()


def test_a_deleted_sighting_takes_its_picture_along(enroller: APIClient, scene: Scene) -> None:
    from portrait.sightings.services.retention import expire_due

    Camera.objects.update(keep_frames_h=0)
    expire_due()
    scene.hopper.refresh_from_db()
    assert scene.hopper.picture.name in seen.sighting_files()
    assert enroller.delete(f"/api/v1/sightings/{scene.hopper.id}").status_code == 204
    assert scene.hopper.picture.name not in seen.sighting_files()
    assert Alert.objects.get().sighting is None
