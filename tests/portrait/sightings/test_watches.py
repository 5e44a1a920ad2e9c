"""The watchlist and its alerts."""

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from rest_framework.test import APIClient

from portrait.cameras.models import Camera
from portrait.cameras.services.cameras import delete_camera
from portrait.core.models import Scope
from portrait.core.services import create_api_key
from portrait.gallery.models import Collection, Identity, Portrait
from portrait.sightings.models import Alert, Sighting, Watch
from tests.api_clients import MakeClient, b64
from tests.portrait.sightings import scenes, seen
from tests.portrait.sightings.seen import BOTH, NOON, STRANGER
from tests.portrait.sightings.test_timeline import record, walk

pytestmark = pytest.mark.django_db


def post(client: APIClient, status: int = 201, **body: Any) -> Any:
    answer = client.post("/api/v1/watches", {"name": "Look", **body}, format="json")
    assert answer.status_code == status, answer.content
    return answer.json()


def test_an_identity_is_watched(enroller: APIClient, collection: Collection) -> None:
    hopper = Identity.objects.create(collection=collection, name="Grace")
    camera = seen.make_camera(collection)
    made = post(enroller, identity=str(hopper.id), cameras=[str(camera.id)], min_similarity=0.7)
    assert (made["resolved"], made["identity"]["id"], made["collection"]) == (
        "existing",
        str(hopper.id),
        collection.name,
    )
    assert (made["cameras"], made["min_similarity"], made["enabled"]) == (
        [{"id": str(camera.id), "name": "door"}],
        0.7,
        True,
    )
    address = f"/api/v1/watches/{made['id']}"
    assert enroller.get(address).json() == {name: value for name, value in made.items() if name != "resolved"}
    changed = enroller.patch(address, {"name": "New", "enabled": False, "cameras": []}, format="json").json()
    assert (changed["name"], changed["enabled"], changed["cameras"], changed["min_similarity"]) == (
        "New",
        False,
        [],
        0.7,
    )
    assert [row["id"] for row in enroller.get("/api/v1/watches").json()["results"]] == [made["id"]]
    assert enroller.delete(address).status_code == 204
    assert enroller.get(address).status_code == 404
    assert Identity.objects.filter(pk=hopper.pk).exists()


def test_a_picture_of_somebody_known_watches_them(enroller: APIClient, collection: Collection) -> None:
    hopper = seen.enrol(collection, "Grace", "hopper")
    made = post(enroller, collection=collection.name, image=b64(seen.pictures()["dark"]))
    assert (made["resolved"], made["identity"]["id"]) == ("existing", str(hopper.id))
    assert Portrait.objects.filter(identity=hopper).count() == 1


def test_a_picture_of_somebody_new_enrols_them_under_the_watchs_name(
    enroller: APIClient, collection: Collection
) -> None:
    made = post(enroller, name="Mia", collection=collection.name, image=b64(seen.pictures()["collins"]))
    assert (made["resolved"], made["identity"]["name"], made["identity"]["kind"]) == ("enrolled", "Mia", "known")
    assert Portrait.objects.filter(identity_id=made["identity"]["id"]).count() == 1
    again = post(enroller, name="Mia 2", collection=collection.name, image=b64(seen.pictures()["flipped"]))
    assert (again["resolved"], again["identity"]["id"]) == ("existing", made["identity"]["id"])


def test_a_form_does_as_well(enroller: APIClient, collection: Collection) -> None:
    body = {
        "name": "Mia",
        "collection": collection.name,
        "image": SimpleUploadedFile("p.jpg", seen.pictures()["collins"]),
    }
    made = enroller.post("/api/v1/watches", body, format="multipart").json()
    assert (made["resolved"], made["enabled"]) == ("enrolled", True)


def test_which_face_and_how_good(enroller: APIClient, collection: Collection) -> None:
    picture = b64(seen.pictures()[BOTH])
    assert post(enroller, 422, collection=collection.name, image=picture)["error"]["code"] == "several_faces"
    assert post(enroller, collection=collection.name, image=picture, face="largest")["resolved"] == "enrolled"
    coffee = b64(seen.pictures()["a cup of coffee"])
    assert post(enroller, 422, collection=collection.name, image=coffee)["error"]["code"] == "no_face"
    poor = b64(seen.pictures()[STRANGER])  # a camera hides half of the face
    refused = post(enroller, 422, collection=collection.name, image=poor)["error"]
    assert (refused["code"], bool(refused["reasons"])) == ("poor_quality", True)
    assert post(enroller, collection=collection.name, image=poor, force=True)["resolved"] == "enrolled"


def test_what_cannot_be_watched(enroller: APIClient, collection: Collection, other_collection: Collection) -> None:
    hopper = Identity.objects.create(collection=collection, name="Grace")
    foreign = seen.make_camera(other_collection)
    picture = b64(seen.pictures()["hopper"])
    assert post(enroller, 400)["error"]["field"] == "image"
    assert post(enroller, 400, identity=str(hopper.id), image=picture)["error"]["field"] == "identity"
    assert post(enroller, 400, identity="x")["error"]["field"] == "identity"
    assert post(enroller, 400, identity=str(hopper.id), min_similarity=0.4)["error"]["field"] == "min_similarity"
    assert post(enroller, 404, identity=str(uuid.uuid4()))["error"]["code"] == "not_found"
    assert post(enroller, 404, identity=str(hopper.id), cameras=[str(foreign.id)])["error"]["code"] == "not_found"
    wrong = post(enroller, 400, identity=str(hopper.id), collection=other_collection.name)
    assert wrong["error"]["field"] == "identity"
    made = post(enroller, identity=str(hopper.id))
    body = {"cameras": [str(foreign.id)]}
    assert enroller.patch(f"/api/v1/watches/{made['id']}", body, format="json").status_code == 404
    assert Watch.objects.count() == 1


@pytest.fixture
def watched(collection: Collection) -> Alert:
    return alert_at(seen.make_camera(collection), Identity.objects.create(collection=collection, name="Grace"))


def alert_at(camera: Camera, identity: Identity, **values: Any) -> Alert:
    watch = Watch.objects.create(collection=camera.collection, name=f"for {identity}", identity=identity)
    row = seen.seen_once(camera, "hopper", identity)
    given = {"captured_at": NOON, "last_hit_at": NOON, "similarity": 0.91234, "sighting": row, "detection": row.best}
    return Alert.objects.create(watch=watch, camera=camera, identity=identity, **given | values)


def test_alerts_are_listed_and_acknowledged_once(enroller: APIClient, reader: APIClient, watched: Alert) -> None:
    (row,) = reader.get("/api/v1/alerts").json()["results"]
    assert row["watch"] == {"id": str(watched.watch_id), "name": "for Grace"}
    assert (row["sighting"], row["hit"]["detection"]) == (str(watched.sighting_id), watched.detection_id)
    assert (row["similarity"], row["acknowledged_at"]) == (0.9123, None)
    address = f"/api/v1/alerts/{watched.id}/acknowledge"
    assert reader.post(address).status_code == 403
    first = enroller.post(address).json()["acknowledged_at"]
    assert first is not None
    assert enroller.post(address).json()["acknowledged_at"] == first


def test_alerts_are_filtered(reader: APIClient, collection: Collection, watched: Alert) -> None:
    yard = seen.make_camera(collection, "yard")
    mia = Identity.objects.create(collection=collection, name="Mia")
    later = alert_at(yard, mia, captured_at=NOON + timedelta(hours=1), acknowledged_at=NOON)
    cases = {
        "": [later.id, watched.id],
        f"watch={later.watch_id}": [later.id],
        f"watch={later.watch_id}&watch={watched.watch_id}": [later.id, watched.id],
        f"camera={yard.id}": [later.id],
        f"identity={watched.identity_id}": [watched.id],
        f"collection={collection.name}": [later.id, watched.id],
        "since=2026-03-01T12:30:00Z": [later.id],
        "until=2026-03-01T12:30:00Z": [watched.id],
        "acknowledged=true": [later.id],
        "acknowledged=false": [watched.id],
        f"watch={uuid.uuid4()}": [],
    }
    for query, expected in cases.items():
        found = [row["id"] for row in reader.get(f"/api/v1/alerts?{query}").json()["results"]]
        assert (query, found) == (query, expected)
    assert reader.get("/api/v1/alerts?watch=x").status_code == 400


def test_another_collections_watches_and_alerts_do_not_exist(
    make_client: MakeClient, other_collection: Collection, watched: Alert
) -> None:
    client = make_client(Scope.ADMIN, [other_collection])
    assert client.get(f"/api/v1/watches/{watched.watch_id}").status_code == 404
    assert client.patch(f"/api/v1/watches/{watched.watch_id}", {"name": "mine"}, format="json").status_code == 404
    assert client.delete(f"/api/v1/watches/{watched.watch_id}").status_code == 404
    assert client.get(f"/api/v1/alerts/{watched.id}").status_code == 404
    assert client.post(f"/api/v1/alerts/{watched.id}/acknowledge").status_code == 404
    assert post(client, 404, identity=str(watched.identity_id))["error"]["code"] == "not_found"
    for path in ("watches", "alerts", f"alerts?watch={watched.watch_id}"):
        assert client.get(f"/api/v1/{path}").json()["results"] == []
    watched.refresh_from_db()
    assert (watched.acknowledged_at, watched.watch.name) == (None, "for Grace")


def test_a_cameras_key_sees_its_alerts_and_no_watches(collection: Collection, watched: Alert) -> None:
    yard = seen.make_camera(collection, "yard")
    other = alert_at(yard, Identity.objects.create(collection=collection, name="Mia"))
    _, key = create_api_key(name="yard", scope=Scope.ENROL, collection_ids=[collection.id], camera_ids=[yard.id])
    client = APIClient(HTTP_AUTHORIZATION=f"Api-Key {key}")
    assert [row["id"] for row in client.get("/api/v1/alerts").json()["results"]] == [other.id]
    assert client.get(f"/api/v1/alerts/{watched.id}").status_code == 404
    assert client.post(f"/api/v1/alerts/{watched.id}/acknowledge").status_code == 404
    assert client.post(f"/api/v1/alerts/{other.id}/acknowledge").status_code == 200
    assert client.get("/api/v1/watches").status_code == 403
    assert post(client, 403, identity=str(other.identity_id))["error"]["code"] == "forbidden"


def test_a_watch_whose_only_camera_was_deleted_does_not_watch_the_whole_collection(
    enroller: APIClient, collection: Collection
) -> None:
    ada = scenes.enrol(collection, 0, "Ada")
    door, yard = scenes.make_camera(collection, "door"), scenes.make_camera(collection, "yard")
    made = post(enroller, identity=str(ada.id), cameras=[str(door.id)])
    assert made["all_cameras"] is False
    delete_camera(camera=door)
    told = enroller.get(f"/api/v1/watches/{made['id']}").json()
    assert (told["all_cameras"], told["cameras"]) == (False, [])
    frames = scenes.seen_frames(yard, walk(4, [0]) + [(100 + second, people) for second, people in walk(4, [0])])
    half = len(frames) // 2
    record(yard, frames[:half])
    assert Sighting.objects.filter(identity=ada).exists()
    assert not Alert.objects.exists()
    body: dict[str, Any] = {"cameras": []}
    assert enroller.patch(f"/api/v1/watches/{made['id']}", body, format="json").json()["all_cameras"] is True
    record(yard, frames[half:])
    assert Alert.objects.count() == 1


def test_a_watch_without_cameras_watches_all_until_some_are_named(enroller: APIClient, collection: Collection) -> None:
    camera = seen.make_camera(collection)
    made = post(enroller, identity=str(Identity.objects.create(collection=collection, name="Grace").id))
    assert made["all_cameras"] is True
    address = f"/api/v1/watches/{made['id']}"
    assert enroller.patch(address, {"cameras": [str(camera.id)]}, format="json").json()["all_cameras"] is False
    assert enroller.patch(address, {"name": "Other"}, format="json").json()["all_cameras"] is False


def test_a_field_that_nobody_knows_is_refused_by_name(enroller: APIClient, collection: Collection) -> None:
    hopper = Identity.objects.create(collection=collection, name="Grace")
    error = post(enroller, 400, identity=str(hopper.id), camera=["x"])["error"]
    assert error["field"] == "camera"
    assert "cameras" in error["message"]
    form = {"name": "Mia", "collection": collection.name, "bogus": "1"}
    form["image"] = SimpleUploadedFile("p.jpg", seen.pictures()["collins"])  # type: ignore[assignment]
    answer = enroller.post("/api/v1/watches", form, format="multipart")
    assert (answer.status_code, answer.json()["error"]["field"]) == (400, "bogus")
    made = post(enroller, identity=str(hopper.id))
    answer = enroller.patch(f"/api/v1/watches/{made['id']}", {"enable": False}, format="json")
    assert (answer.status_code, answer.json()["error"]["field"]) == (400, "enable")
    assert enroller.get(f"/api/v1/watches/{made['id']}").json()["enabled"] is True
    camera = seen.make_camera(collection)
    indexed = {"name": "Mia", "identity": str(hopper.id), "cameras[0]": str(camera.id)}
    made = enroller.post("/api/v1/watches", indexed, format="multipart").json()
    assert [each["id"] for each in made["cameras"]] == [str(camera.id)]
