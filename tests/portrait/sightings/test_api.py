"""`/sightings` and `/frames`: filters, pages, pictures, rights."""

import io
import uuid
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from PIL import Image
from rest_framework.test import APIClient

from inference.codec import decode
from portrait.cameras.models import Frame, FrameState, frame_storage
from portrait.cameras.services import ledger
from portrait.core.models import Scope
from portrait.core.services import create_api_key
from portrait.gallery.models import Collection, Identity
from portrait.sightings.models import Detection, Sighting, Timeline, Track
from portrait.sightings.services import pictures
from tests.api_clients import MakeClient
from tests.portrait.sightings import seen
from tests.portrait.sightings.seen import BOTH, NOON, STRANGER

pytestmark = pytest.mark.django_db


def camera_client(*cameras: Any, scope: Scope = Scope.READ) -> APIClient:
    ids = [camera.id for camera in cameras]
    _, key = create_api_key(name="camera", scope=scope, collection_ids=[cameras[0].collection_id], camera_ids=ids)
    return APIClient(HTTP_AUTHORIZATION=f"Api-Key {key}")


def ids(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.json()
    return [row["id"] for row in answer.json()["results"]]


@pytest.fixture
def hopper(collection: Collection) -> Identity:
    return Identity.objects.create(collection=collection, name="Grace Hopper", external_id="gh")


@pytest.fixture
def nobody(collection: Collection) -> Identity:
    return Identity.objects.create(collection=collection, name="unknown_person_1", kind=Identity.Kind.UNKNOWN)


def image_of(answer: Any) -> Any:
    assert (answer.status_code, answer["Content-Type"]) == (200, "image/jpeg")
    assert answer["Cache-Control"] == "private, no-store"
    return Image.open(io.BytesIO(answer.content))


def test_a_sighting_tells_who_was_where_and_when(reader: APIClient, collection: Collection, hopper: Identity) -> None:
    camera = seen.make_camera(collection)
    row = seen.seen_once(camera, "hopper", hopper, seconds=30, hits=7)
    answer = reader.get(f"/api/v1/sightings/{row.id}").json()
    assert answer == {
        "id": str(row.id),
        "camera": {"id": str(camera.id), "name": "door"},
        "identity": {"id": str(hopper.id), "external_id": "gh", "name": "Grace Hopper", "kind": "known"},
        "first_seen": "2026-03-01T12:00:00Z",
        "last_seen": "2026-03-01T12:00:30Z",
        "hits": 7,
        "similarity": 0.9,
        "open": False,
        "picture_url": f"/api/v1/sightings/{row.id}/picture",
        "best": {"frame": row.best.frame_id, "detection": row.best_id, "box": row.best.box},
    }
    assert reader.get("/api/v1/sightings").json()["results"] == [answer]


def test_filters(reader: APIClient, collection: Collection, hopper: Identity, nobody: Identity) -> None:
    door, yard = seen.make_camera(collection), seen.make_camera(collection, "yard")
    first = seen.seen_once(door, "hopper", hopper, NOON, seconds=60, hits=9)
    second = seen.seen_once(door, STRANGER, nobody, NOON + timedelta(minutes=5))
    third = seen.seen_once(yard, "hopper", hopper, NOON + timedelta(minutes=10))
    one, two, three = str(first.id), str(second.id), str(third.id)
    cases = {
        "": [three, two, one],
        f"collection={collection.name}": [three, two, one],
        f"camera={door.id}": [two, one],
        f"camera={door.id}&camera={yard.id}": [three, two, one],
        f"identity={hopper.id}": [three, one],
        f"identity={hopper.id}&identity={nobody.id}": [three, two, one],
        "kind=unknown": [two],
        "kind=known": [three, one],
        "name=HOPP": [three, one],
        "min_hits=6": [one],
        "since=2026-03-01T12:01:00Z": [three, two, one],  # the first lasts until then
        "since=2026-03-01T12:01:01Z": [three, two],
        "until=2026-03-01T12:05:00Z": [two, one],
        "since=2026-03-01T12:04:00Z&until=2026-03-01T12:06:00Z": [two],
        "open=true": [],
        "open=false": [three, two, one],
    }
    for query, expected in cases.items():
        assert (query, ids(reader.get(f"/api/v1/sightings?{query}"))) == (query, expected)


def test_hidden_people_are_left_out_unless_asked_for(reader: APIClient, collection: Collection) -> None:
    shy = Identity.objects.create(collection=collection, name="Shy", hidden=True)
    row = seen.seen_once(seen.make_camera(collection), "hopper", shy)
    assert ids(reader.get("/api/v1/sightings")) == []
    assert ids(reader.get("/api/v1/sightings?hidden=true")) == [str(row.id)]
    assert ids(reader.get(f"/api/v1/sightings?identity={shy.id}")) == [str(row.id)]


def test_open_means_there_until_a_moment_ago_on_a_camera_that_goes_on(
    reader: APIClient, collection: Collection, hopper: Identity
) -> None:
    camera = seen.make_camera(collection, gap_s=10)
    now = timezone.now()
    row = seen.seen_once(camera, "hopper", hopper, now - timedelta(seconds=20), seconds=15)

    def is_open(latest: Any, advanced_at: Any) -> bool:
        Timeline.objects.filter(camera=camera).update(latest=latest, advanced_at=advanced_at)
        opened = bool(reader.get(f"/api/v1/sightings/{row.id}").json()["open"])
        assert ids(reader.get(f"/api/v1/sightings?open={opened}")) == [str(row.id)]
        return opened

    assert is_open(now - timedelta(seconds=4), now)
    assert not is_open(row.last_seen + timedelta(seconds=11), now)
    assert not is_open(row.last_seen, now - timedelta(seconds=60))
    Timeline.objects.all().delete()
    assert reader.get(f"/api/v1/sightings/{row.id}").json()["open"] is False


def test_pages_by_cursor_hold_each_sighting_once(reader: APIClient, collection: Collection, hopper: Identity) -> None:
    camera = seen.make_camera(collection)
    rows = [
        Sighting.objects.create(
            collection=collection, camera=camera, identity=hopper, first_seen=at, last_seen=at, hits=1
        )
        for at in (NOON + timedelta(seconds=index) for index in range(7))
    ]
    found: list[str] = []
    address = "/api/v1/sightings?page_size=3"
    while address:
        answer = reader.get(address)
        found += ids(answer)
        address = answer.json()["next"]
    assert found == [str(row.id) for row in reversed(rows)]


def test_lists_cost_the_same_however_many_rows_they_show(
    reader: APIClient, collection: Collection, hopper: Identity, nobody: Identity
) -> None:
    camera = seen.make_camera(collection)
    counts = []
    for who, picture in ((hopper, "hopper"), (nobody, STRANGER)):
        seen.seen_once(camera, picture, who)
        for address in ("/api/v1/sightings", "/api/v1/frames"):
            reader.get(address)
            with CaptureQueriesContext(
                connection,
            ) as queries:
                assert reader.get(address).status_code == 200
            counts.append(len(queries))
    assert counts[:2] == counts[2:]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("camera=x", "camera"),
        ("identity=1", "identity"),
        ("since=yesterday", "since"),
        ("until=2026-13-01", "until"),
        ("since=2026-03-02T00:00:00Z&until=2026-03-01T00:00:00Z", "since"),
        ("kind=robot", "kind"),
        ("open=perhaps", "open"),
        ("min_hits=0", "min_hits"),
        ("min_hits=99999999999", "min_hits"),
        ("name=%00", "name"),
    ],
)
def test_a_filter_that_cannot_be_is_named(reader: APIClient, query: str, field: str) -> None:
    answer = reader.get(f"/api/v1/sightings?{query}")
    assert (answer.status_code, answer.json()["error"]["field"].partition(".")[0]) == (400, field)


@pytest.mark.parametrize("query", ["state=gone", "camera=x", "since=x"])
def test_a_frame_filter_that_cannot_be_is_named(reader: APIClient, query: str) -> None:
    answer = reader.get(f"/api/v1/frames?{query}")
    assert (answer.status_code, answer.json()["error"]["field"].partition(".")[0]) == (400, query.partition("=")[0])


def test_a_cursor_of_nonsense_is_refused(reader: APIClient, collection: Collection) -> None:
    for path in ("sightings", "frames", "alerts", "watches"):
        assert reader.get(f"/api/v1/{path}?cursor=%00%ff").status_code in (200, 400, 404)


def test_a_frame_tells_what_was_found_in_it(reader: APIClient, collection: Collection, hopper: Identity) -> None:
    camera = seen.make_camera(collection)
    frame = seen.make_frame(camera, BOTH)
    unnamed, named = seen.see(frame, BOTH, [None, hopper])
    answer = reader.get(f"/api/v1/frames/{frame.id}").json()
    assert answer["camera"] == {"id": str(camera.id), "name": "door"}
    assert (answer["state"], answer["attempts"], answer["error"]) == ("done", 1, None)
    assert (answer["width"], answer["height"]) == (frame.width, frame.height)
    assert answer["metadata"] == {"by": "a test"}
    assert answer["captured_at"] == "2026-03-01T12:00:00Z"
    first, second = answer["detections"]
    assert (first["id"], first["identity"], first["similarity"]) == (unnamed.id, None, None)
    assert (second["identity"]["name"], second["similarity"]) == ("Grace Hopper", 0.9)
    assert second["box"] == named.box
    assert second["track"] == named.track_id
    assert {"left_eye", "nose"} < set(second["landmarks"])
    assert second["quality"]["reasons"] == []


def test_frames_are_listed_by_camera_state_and_time(reader: APIClient, collection: Collection) -> None:
    door, yard = seen.make_camera(collection), seen.make_camera(collection, "yard")
    one = seen.make_frame(door, "small")
    two = seen.make_frame(yard, "small", NOON + timedelta(minutes=1), state=FrameState.FAILED, error_code="corrupt")
    cases = {
        "": [two.id, one.id],
        f"camera={door.id}": [one.id],
        "state=failed": [two.id],
        "since=2026-03-01T12:00:30Z": [two.id],
        "until=2026-03-01T12:00:30Z": [one.id],
    }
    for query, expected in cases.items():
        assert (query, ids(reader.get(f"/api/v1/frames?{query}"))) == (query, expected)
    first = reader.get("/api/v1/frames?page_size=1").json()
    assert ids(reader.get(first["next"])) == [one.id]
    assert reader.get(f"/api/v1/frames/{two.id}").json()["error"]["code"] == "corrupt"


def test_the_pictures_of_a_frame(reader: APIClient, collection: Collection) -> None:
    names = ["Żółć 山田 Шевченко", "José"]
    camera = seen.make_camera(collection)
    people = [Identity.objects.create(collection=collection, name=name) for name in names]
    frame = seen.make_frame(camera, BOTH)
    seen.see(frame, BOTH, people)
    plain = image_of(reader.get(f"/api/v1/frames/{frame.id}/picture"))
    assert plain.size == (frame.width, frame.height)
    drawn = image_of(reader.get(f"/api/v1/frames/{frame.id}/annotated"))
    assert drawn.size == plain.size
    changed = np.abs(np.asarray(drawn, dtype=int) - np.asarray(plain, dtype=int)).sum(axis=2) > 60
    for face in seen.faces(BOTH):
        edge = changed[int(face.box.y) : int(face.box.bottom), int(face.box.x)]
        assert edge.mean() > 0.9
    assert changed.mean() < 0.2


def test_an_annotated_frame_says_unknown_and_not_decided(collection: Collection, reader: APIClient) -> None:
    """Two words that differ: the same frame is drawn differently."""
    frame = seen.make_frame(seen.make_camera(collection), "hopper")
    (face,) = seen.see(frame, "hopper", [None])
    decided = reader.get(f"/api/v1/frames/{frame.id}/annotated").content
    Track.objects.filter(pk=face.track_id).update(template=[])
    assert reader.get(f"/api/v1/frames/{frame.id}/annotated").content != decided


def test_an_expired_picture_is_gone_and_says_why(reader: APIClient, collection: Collection, hopper: Identity) -> None:
    row = seen.seen_once(seen.make_camera(collection), "hopper", hopper)
    frame = row.best.frame
    ledger.expire(frames=[frame], code="expired", message="Kept for 1 hour.")
    for address in (f"frames/{frame.id}/picture", f"frames/{frame.id}/annotated", f"sightings/{row.id}/picture"):
        answer = reader.get(f"/api/v1/{address}")
        assert (address, answer.status_code, answer.json()["error"]["code"]) == (address, 410, "expired")
    assert "Kept for 1 hour." in reader.get(f"/api/v1/frames/{frame.id}/picture").json()["error"]["message"]
    assert reader.get(f"/api/v1/frames/{frame.id}").json()["state"] == "expired"


def test_a_picture_whose_file_was_lost_is_no_server_error(
    reader: APIClient, collection: Collection, hopper: Identity
) -> None:
    row = seen.seen_once(seen.make_camera(collection), "hopper", hopper)
    frame_storage().delete(row.best.frame.picture.name)
    for address in (f"frames/{row.best.frame_id}/picture", f"sightings/{row.id}/picture"):
        assert reader.get(f"/api/v1/{address}").status_code == 410


def test_the_picture_of_a_sighting_shows_its_face_and_nobody_else(
    reader: APIClient, collection: Collection, hopper: Identity
) -> None:
    camera = seen.make_camera(collection)
    frame = seen.make_frame(camera, BOTH)
    _, face = seen.see(frame, BOTH, [None, hopper])
    row = seen.make_sighting(face)
    picture = image_of(reader.get(f"/api/v1/sightings/{row.id}/picture"))
    assert max(picture.size) <= 640
    assert picture.width < frame.width
    found = seen.face_pipeline().analyse([np.asarray(picture.convert("RGB"))])[0].faces
    assert len(found) == 1
    distance = np.linalg.norm(found[0].embedding.vector - seen.faces(BOTH)[1].embedding.vector)
    assert distance < 0.4


def test_other_peoples_faces_are_made_coarse(collection: Collection) -> None:
    from portrait.sightings.services.pictures import cut_out

    image = decode(seen.pictures()[BOTH])
    one, other = (face.box for face in seen.faces(BOTH))
    near = type(one)(other.x - other.width, other.y, other.width, other.height)
    shown = decode(cut_out(image, near, [other]))
    assert not seen.face_pipeline().analyse([shown])[0].faces
    assert seen.face_pipeline().analyse([decode(cut_out(image, near, []))])[0].faces


def test_a_name_given_later_renames_the_whole_history(
    enroller: APIClient, collection: Collection, nobody: Identity
) -> None:
    row = seen.seen_once(seen.make_camera(collection), STRANGER, nobody)
    assert enroller.patch(f"/api/v1/identities/{nobody.id}", {"name": "Mia"}, format="json").status_code == 200
    answer = enroller.get(f"/api/v1/sightings/{row.id}").json()
    assert (answer["identity"]["name"], answer["identity"]["kind"]) == ("Mia", "known")
    (face,) = enroller.get(f"/api/v1/frames/{row.best.frame_id}").json()["detections"]
    assert face["identity"]["name"] == "Mia"
    assert ids(enroller.get("/api/v1/sightings?name=mia")) == [str(row.id)]


def test_a_sighting_that_is_taken_back_leaves_faces_of_nobody(
    enroller: APIClient, collection: Collection, hopper: Identity
) -> None:
    camera = seen.make_camera(collection)
    row = seen.seen_once(camera, "hopper", hopper)
    later = seen.seen_once(camera, "hopper", hopper, NOON + timedelta(hours=1))
    assert enroller.delete(f"/api/v1/sightings/{row.id}").status_code == 204
    assert enroller.get(f"/api/v1/sightings/{row.id}").status_code == 404
    face = Detection.objects.get(pk=row.best_id)
    assert (face.identity_id, face.similarity, face.track_id) == (None, None, None)
    assert Track.objects.count() == 1
    assert Detection.objects.get(pk=later.best_id).identity == hopper
    assert ids(enroller.get("/api/v1/sightings")) == [str(later.id)]


def test_there_is_no_way_to_add_or_change_a_sighting(admin: APIClient) -> None:
    assert admin.post("/api/v1/sightings", {}, format="json").status_code == 405
    for method in ("put", "patch"):
        assert getattr(admin, method)(f"/api/v1/sightings/{uuid.uuid4()}", {}, format="json").status_code == 405


@pytest.mark.parametrize(
    "path",
    [
        "sightings/1",
        "sightings/%00",
        "sightings/../../etc/passwd",
        "sightings/..%2f..%2fetc%2fpasswd/picture",
        "frames/x",
        "frames/-1",
        "frames/99999999999999999999999",
        "frames/1%00/picture",
        "frames/..%2f..%2fsecrets/annotated",
        "alerts/99999999999999999999999",
        "watches/x",
    ],
)
def test_what_is_no_id_is_not_found(admin: APIClient, path: str) -> None:
    assert admin.get(f"/api/v1/{path}").status_code == 404


def test_another_collection_is_as_if_it_did_not_exist(
    make_client: MakeClient, collection: Collection, other_collection: Collection
) -> None:
    stranger = Identity.objects.create(collection=other_collection, name="Foreign")
    camera = seen.make_camera(other_collection)
    row = seen.seen_once(camera, "hopper", stranger)
    client = make_client(Scope.ADMIN, [collection])
    for address in (
        f"sightings/{row.id}",
        f"sightings/{row.id}/picture",
        f"frames/{row.best.frame_id}",
        f"frames/{row.best.frame_id}/picture",
        f"frames/{row.best.frame_id}/annotated",
        f"sightings?camera={camera.id}",
        f"sightings?identity={stranger.id}",
        f"sightings?collection={other_collection.name}",
        f"frames?camera={camera.id}",
        f"frames?collection={other_collection.id}",
        f"alerts?camera={camera.id}",
    ):
        answer = client.get(f"/api/v1/{address}")
        assert (address, answer.status_code, answer.json()["error"]["code"]) == (address, 404, "not_found")
    assert client.delete(f"/api/v1/sightings/{row.id}").status_code == 404
    assert Sighting.objects.filter(pk=row.pk).exists()
    assert ids(client.get("/api/v1/sightings")) == []
    assert ids(client.get("/api/v1/frames")) == []


def test_a_cameras_key_sees_what_its_camera_saw(collection: Collection, hopper: Identity) -> None:
    door, yard = seen.make_camera(collection), seen.make_camera(collection, "yard")
    mine, other = seen.seen_once(door, "hopper", hopper), seen.seen_once(yard, "hopper", hopper)
    client = camera_client(door, scope=Scope.ADMIN)
    assert ids(client.get("/api/v1/sightings")) == [str(mine.id)]
    assert ids(client.get("/api/v1/frames")) == [mine.best.frame_id]
    assert client.get(f"/api/v1/sightings/{mine.id}/picture").status_code == 200
    for address in (
        f"sightings/{other.id}",
        f"sightings/{other.id}/picture",
        f"frames/{other.best.frame_id}",
        f"frames/{other.best.frame_id}/annotated",
        f"sightings?camera={yard.id}",
    ):
        assert (address, client.get(f"/api/v1/{address}").status_code) == (address, 404)
    assert client.delete(f"/api/v1/sightings/{other.id}").status_code == 404
    assert Sighting.objects.filter(pk=other.pk).exists()
    for address in ("identities", "watches", "collections"):
        assert (address, client.get(f"/api/v1/{address}").status_code) == (address, 403)


def test_rows_of_frames_without_a_picture_break_no_list(reader: APIClient, collection: Collection) -> None:
    frame = seen.make_frame(seen.make_camera(collection), "small")
    Frame.objects.filter(pk=frame.pk).update(picture="", state=FrameState.EXPIRED, error_code="expired")
    (row,) = reader.get("/api/v1/frames").json()["results"]
    assert (row["state"], row["error"]["code"]) == ("expired", "expired")


def test_a_frame_that_expires_while_its_sighting_is_shown(
    reader: APIClient, collection: Collection, hopper: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The frame's file goes between the read of its row and of its bytes; by then the cut-out was saved."""
    row = seen.seen_once(seen.make_camera(collection), "hopper", hopper)
    name = f"sightings/{row.camera_id}/x.jpg"
    frame_bytes = pictures.frame_bytes

    def late(frame: Frame) -> bytes:
        default_storage.save(name, ContentFile(seen.pictures()["small"]))
        Sighting.objects.filter(pk=row.pk).update(picture=name)
        frame_storage().delete(frame.picture.name)
        return frame_bytes(frame)

    monkeypatch.setattr(pictures, "frame_bytes", late)
    assert reader.get(f"/api/v1/sightings/{row.id}/picture").content == seen.pictures()["small"]
