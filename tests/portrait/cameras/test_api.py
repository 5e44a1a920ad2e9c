"""Cameras through the API: their fields and rules, what is told of them, and deletion with everything."""

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.db.models import QuerySet
from django.db.models.signals import pre_delete
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework.test import APIClient

from portrait.cameras.models import Camera, CaptureStatus, Frame, FrameState, frame_storage
from portrait.cameras.services import cameras
from portrait.cameras.services.cameras import create_camera, delete_camera
from portrait.core.models import Scope
from portrait.core.services import create_api_key
from portrait.gallery.models import Collection
from tests.api_clients import MakeClient
from tests.portrait.cameras.conftest import Accept

pytestmark = pytest.mark.django_db(transaction=True)

SOURCE = "rtsp://admin:geheim@10.0.0.7:554/stream?token=abc123"


def bound(*cameras: Camera, scope: Scope = Scope.ENROL) -> APIClient:
    """A client whose key is bound to cameras."""
    _, key = create_api_key(name="cam", scope=scope, camera_ids=[camera.pk for camera in cameras])
    return APIClient(HTTP_AUTHORIZATION=f"Api-Key {key}")


def test_a_camera_is_made_read_changed_and_deleted(admin: APIClient, collection: Collection) -> None:
    body = {"name": "hall", "collection": collection.name, "fps": 2.5, "window_s": 4, "gap_s": 8, "min_hits": 3}
    made = admin.post("/api/v1/cameras", body)
    assert made.status_code == 201
    told = made.json()
    assert {name: told[name] for name in body} == body
    assert told["status"]["state"] == "idle"
    assert told["backlog"] == {"waiting": 0, "oldest_at": None}
    address = f"/api/v1/cameras/{told['id']}"
    changed = admin.patch(address, {"enabled": False, "fps": None, "collection": str(collection.pk)}).json()
    assert (changed["enabled"], changed["fps"], changed["name"]) == (False, None, "hall")
    assert admin.get(address).json() == changed
    assert admin.delete(address).status_code == 204
    assert admin.get(address).status_code == 404


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": "two words"}, "name"),
        ({}, "name"),
        ({"name": "x", "window_s": 10, "gap_s": 5}, "gap_s"),
        ({"name": "x", "window_s": 11}, "gap_s"),
        ({"name": "x", "fps": 0}, "fps"),
        ({"name": "x", "fps": 1000}, "fps"),
        ({"name": "x", "fps": "nan"}, "fps"),
        ({"name": "x", "min_hits": 0}, "min_hits"),
        ({"name": "x", "window_mode": "sliding"}, "window_mode"),
        ({"name": "x", "keep_frames_h": 2_000_000_000}, "keep_frames_h"),
        ({"name": "x", "keep_named_h": -1}, "keep_named_h"),
        ({"name": "x", "source": "/etc/passwd"}, "source"),
        ({"name": "x", "source": "../../etc/passwd"}, "source"),
        ({"name": "x", "source": "file:///etc/passwd"}, "source"),
        ({"name": "x", "source": "concat:/etc/passwd"}, "source"),
        ({"name": "x", "source": "rtsp://admin:***@10.0.0.1/"}, "source"),
        ({"name": "x", "collection": "nowhere"}, "collection"),
    ],
)
def test_a_camera_that_cannot_be(admin: APIClient, body: dict[str, object], field: str) -> None:
    answer = admin.post("/api/v1/cameras", body)
    assert answer.status_code in (400, 404)
    assert answer.json()["error"]["field"] == field
    assert not Camera.objects.exists()


def test_a_name_is_unique_in_its_collection_only(
    admin: APIClient, camera: Camera, other_collection: Collection
) -> None:
    body = {"name": camera.name, "collection": camera.collection.name}
    taken = admin.post("/api/v1/cameras", body)
    assert (taken.status_code, taken.json()["error"]["field"]) == (409, "name")
    other = admin.post("/api/v1/cameras", body | {"collection": other_collection.name})
    assert other.status_code == 201
    second = create_camera(collection=camera.collection, name="yard")
    renamed = admin.patch(f"/api/v1/cameras/{second.pk}", {"name": camera.name})
    assert (renamed.status_code, renamed.json()["error"]["code"]) == (409, "conflict")


def test_a_camera_stays_in_its_collection(admin: APIClient, camera: Camera, other_collection: Collection) -> None:
    answer = admin.patch(f"/api/v1/cameras/{camera.pk}", {"collection": other_collection.name})
    assert (answer.status_code, answer.json()["error"]["field"]) == (409, "collection")


def test_rules_of_several_fields_hold_for_a_change_of_one(admin: APIClient, camera: Camera) -> None:
    answer = admin.patch(f"/api/v1/cameras/{camera.pk}", {"window_s": camera.gap_s + 1})
    assert (answer.status_code, answer.json()["error"]["field"]) == (400, "gap_s")


def test_passwords_are_never_shown_and_survive_a_form(admin: APIClient, collection: Collection) -> None:
    made = admin.post("/api/v1/cameras", {"name": "gate", "collection": collection.name, "source": SOURCE})
    assert made.status_code == 201
    shown = made.json()["source"]
    assert "geheim" not in made.content.decode()
    assert "abc123" not in made.content.decode()
    address = f"/api/v1/cameras/{made.json()['id']}"
    kept = admin.patch(address, {"source": shown, "fps": 1})
    assert kept.status_code == 200
    assert Camera.objects.get().source == SOURCE
    assert "geheim" not in admin.get("/api/v1/cameras").content.decode()
    assert admin.patch(address, {"source": ""}).json()["source"] == ""
    assert Camera.objects.get().source == ""


def test_a_hidden_password_does_not_go_to_another_address(admin: APIClient, collection: Collection) -> None:
    camera = create_camera(collection=collection, name="gate", source=SOURCE)
    shown = admin.get(f"/api/v1/cameras/{camera.pk}").json()["source"]
    elsewhere = shown.replace("10.0.0.7", "10.6.6.6")
    answer = admin.patch(f"/api/v1/cameras/{camera.pk}", {"source": elsewhere})
    assert (answer.status_code, answer.json()["error"]["field"]) == (400, "source")
    camera.refresh_from_db()
    assert camera.source == SOURCE


def test_the_state_of_reading_is_told_and_not_set(admin: APIClient, camera: Camera) -> None:
    since = timezone.now() - timedelta(minutes=3)
    CaptureStatus.objects.filter(camera=camera).update(
        state="retrying", since=since, message="no route to host", lag_s=1.5, captured=7, not_taken=2, restarts=4
    )
    body = {"status": {"state": "running"}, "backlog": {"waiting": 5}}
    status = admin.patch(f"/api/v1/cameras/{camera.pk}", body).json()["status"]
    assert (status["state"], status["message"], status["lag_s"]) == ("retrying", "no route to host", 1.5)
    assert (status["captured"], status["not_taken"], status["restarts"]) == (7, 2, 4)
    answer = admin.patch(f"/api/v1/cameras/{camera.pk}", {"next_sequence": 99})
    assert (answer.status_code, answer.json()["error"]["field"]) == (400, "next_sequence")
    camera.refresh_from_db()
    assert camera.next_sequence == 0


def test_the_backlog_is_told(reader: APIClient, camera: Camera, accept: Accept) -> None:
    first, *_ = accept(3)
    told = reader.get(f"/api/v1/cameras/{camera.pk}").json()
    assert told["backlog"]["waiting"] == 3
    assert told["backlog"]["oldest_at"][:19] == first.waits_since.isoformat()[:19]
    assert told["status"]["last_frame_at"] is not None
    Frame.objects.update(state=FrameState.DONE)
    assert reader.get(f"/api/v1/cameras/{camera.pk}").json()["backlog"] == {"waiting": 0, "oldest_at": None}


def test_the_list_and_its_filters(
    admin: APIClient, camera: Camera, other_camera: Camera, other_collection: Collection
) -> None:
    def ids(query: str) -> list[str]:
        return [row["id"] for row in admin.get(f"/api/v1/cameras{query}").json()["results"]]

    Camera.objects.filter(pk=other_camera.pk).update(enabled=False)
    assert ids("") == [str(other_camera.pk), str(camera.pk)]
    assert ids(f"?collection={other_collection.name}") == [str(other_camera.pk)]
    assert ids("?enabled=true") == [str(camera.pk)]
    assert len(ids(f"?name={camera.name}")) == 2
    assert admin.get("/api/v1/cameras?collection=nowhere").status_code == 404
    assert admin.get("/api/v1/cameras/not-an-id").status_code == 404


def test_no_query_per_camera(reader: APIClient, collection: Collection) -> None:
    def queries(path: str) -> int:
        with CaptureQueriesContext(connection) as captured:
            assert reader.get(path).status_code == 200
        return len(captured)

    create_camera(collection=collection, name="c")
    paths = ("/api/v1/cameras", "/api/v1/backlog", "/api/v1/metrics")
    reader.get(paths[0])
    few = [queries(path) for path in paths]
    for number in range(20):
        create_camera(collection=collection, name=f"c-{number}")
    assert [queries(path) for path in paths] == few


def test_deleting_a_camera_takes_frames_and_files_along(
    admin: APIClient, camera: Camera, other_camera: Camera, accept: Accept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("portrait.cameras.services.cameras.FRAMES_AT_ONCE", 2)
    mine, others = accept(5), accept(1, of=other_camera)
    assert admin.delete(f"/api/v1/cameras/{camera.pk}").status_code == 204
    assert [frame.pk for frame in Frame.objects.all()] == [others[0].pk]
    assert not any(frame_storage().exists(frame.picture.name) for frame in mine)
    assert frame_storage().exists(others[0].picture.name)


def test_a_deletion_that_was_cut_off_goes_on(camera: Camera, accept: Accept, monkeypatch: pytest.MonkeyPatch) -> None:
    accept(4)
    monkeypatch.setattr(cameras, "FRAMES_AT_ONCE", 2)
    calls = iter([cameras._delete_some_frames])

    def dies(camera: Camera) -> bool:
        return next(calls)(camera)

    with monkeypatch.context() as patch:
        patch.setattr(cameras, "_delete_some_frames", dies)
        with pytest.raises(StopIteration):
            delete_camera(camera=camera)
    camera.refresh_from_db()
    assert not camera.enabled
    assert Frame.objects.count() == 2
    delete_camera(camera=camera)
    assert not Camera.objects.exists()


def test_a_cameras_key_sees_its_camera_and_sets_nothing_up(camera: Camera, accept: Accept) -> None:
    second = create_camera(collection=camera.collection, name="second")
    accept(2, of=second)
    client = bound(camera, scope=Scope.ADMIN)
    assert [row["id"] for row in client.get("/api/v1/cameras").json()["results"]] == [str(camera.pk)]
    assert client.get(f"/api/v1/cameras/{camera.pk}").status_code == 200
    assert client.get(f"/api/v1/cameras/{second.pk}").status_code == 404
    assert client.post("/api/v1/cameras", {"name": "x"}).status_code == 403
    assert client.patch(f"/api/v1/cameras/{camera.pk}", {"fps": 1}).status_code == 403
    assert client.delete(f"/api/v1/cameras/{camera.pk}").status_code == 403
    assert client.get("/api/v1/backlog").json()["total"]["waiting"] == 0
    assert str(second.pk) not in client.get("/api/v1/metrics").content.decode()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("get", "/api/v1/identities"),
        ("post", "/api/v1/identities"),
        ("get", "/api/v1/collections"),
        ("post", "/api/v1/recognize"),
        ("post", "/api/v1/detect"),
        ("get", "/api/v1/jobs"),
        ("get", f"/api/v1/portraits/{uuid.uuid4()}/image"),
    ],
)
def test_a_cameras_key_opens_nothing_of_the_gallery(camera: Camera, method: str, path: str) -> None:
    answer = getattr(bound(camera, scope=Scope.ADMIN), method)(path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "forbidden")


def test_another_collections_cameras_do_not_exist(
    make_client: MakeClient, collection: Collection, other_camera: Camera
) -> None:
    client = make_client(Scope.ADMIN, [collection])
    address = f"/api/v1/cameras/{other_camera.pk}"
    assert client.get("/api/v1/cameras").json()["results"] == []
    for answer in (client.get(address), client.patch(address, {"fps": 1}), client.delete(address)):
        assert answer.status_code == 404
    assert client.post(f"{address}/frames", {"image": "x"}).status_code == 404
    taken = client.post("/api/v1/cameras", {"name": "x", "collection": other_camera.collection.name})
    assert taken.status_code == 404


@pytest.mark.parametrize(
    ("rule", "possible"),
    [
        ({"fps": 0.5}, False),
        ({"fps": 0.6}, True),
        ({"fps": None, "min_hits": 1000}, True),
        ({"fps": 1, "min_hits": 7}, False),
        ({"fps": 1, "min_hits": 6}, True),
        ({"fps": 0.1, "window_s": 30, "gap_s": 30}, True),
        ({"fps": 0.1, "window_s": 29, "gap_s": 30}, False),
    ],
)
def test_a_rule_that_can_never_open_a_sighting_is_refused(
    admin: APIClient, camera: Camera, rule: dict[str, object], possible: bool
) -> None:
    made = admin.post("/api/v1/cameras", {"name": "x", "collection": camera.collection.name, **rule})
    changed = admin.patch(f"/api/v1/cameras/{camera.pk}", rule)
    assert (made.status_code, changed.status_code) == ((201, 200) if possible else (400, 400))
    for answer in () if possible else (made, changed):
        error = answer.json()["error"]
        assert (error["field"], "Lower min_hits" in error["message"]) == ("min_hits", True)


def test_a_collections_cameras_go_in_steps_before_it(
    admin: APIClient, camera: Camera, accept: Accept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cameras, "FRAMES_AT_ONCE", 2)
    names = [str(frame.picture.name) for frame in accept(5)]
    together: list[int] = []
    delete = QuerySet.delete

    def note(rows: "QuerySet[Any]") -> Any:
        if rows.model is Frame:
            together.append(rows.count())
        return delete(rows)

    monkeypatch.setattr(QuerySet, "delete", note)
    assert admin.delete(f"/api/v1/collections/{camera.collection.name}").status_code == 204
    assert together == [2, 2, 1, 0]
    assert not Camera.objects.exists()
    assert not any(frame_storage().exists(name) for name in names)


@pytest.mark.parametrize("way", ["one", "action"])
def test_a_collection_is_deleted_from_the_admin_in_steps_too(
    client: Client, camera: Camera, accept: Accept, way: str
) -> None:
    accept(3)
    client.force_login(User.objects.create_superuser("root", password="pw"))
    collection = camera.collection
    if way == "one":
        address = f"/admin/gallery/collection/{collection.pk}/delete/"
        body = {"post": "yes"}
    else:
        address = "/admin/gallery/collection/"
        body = {"action": "delete_selected", "_selected_action": str(collection.pk), "post": "yes"}
    left: list[int] = []

    def note(**kwargs: Any) -> None:
        left.append(Camera.objects.count())

    pre_delete.connect(note, sender=Collection)
    try:
        assert client.post(address, body).status_code == 302
    finally:
        pre_delete.disconnect(note, sender=Collection)
    assert left == [0], "the cameras went before"
    assert not Collection.objects.filter(pk=collection.pk).exists()


def test_a_field_that_nobody_knows_is_refused_by_name(admin: APIClient, camera: Camera) -> None:
    body = {"name": "x", "collection": camera.collection.name, "keep_frame_h": 1}
    made = admin.post("/api/v1/cameras", body)
    changed = admin.patch(f"/api/v1/cameras/{camera.pk}", {"keep_frame_h": 1})
    for answer in (made, changed):
        error = answer.json()["error"]
        assert (answer.status_code, error["code"], error["field"]) == (400, "invalid", "keep_frame_h")
        assert "keep_frames_h" in error["message"]
        assert "backlog" not in error["message"], "what is only told is not offered"
    assert list(Camera.objects.all()) == [camera]
    told = admin.get(f"/api/v1/cameras/{camera.pk}").json()
    assert admin.patch(f"/api/v1/cameras/{camera.pk}", told).status_code == 200, "an answer may be sent back"


def test_a_query_parameter_that_nobody_knows_is_refused_by_name(reader: APIClient, camera: Camera) -> None:
    for name in ("cameras", "frames", "sightings", "alerts"):
        answer = reader.get(f"/api/v1/{name}?limit=2")
        error = answer.json()["error"]
        assert (name, answer.status_code, error["field"]) == (name, 400, "limit")
        assert "page_size" in error["message"]
        assert reader.get(f"/api/v1/{name}?page_size=2&format=json").status_code == 200
        assert reader.get(f"/api/v1/{name}?cursor=").status_code == 200
    assert reader.get(f"/api/v1/frames?camera[0]={camera.pk}").status_code == 200
    assert reader.get("/api/v1/frames?state[0]=done").status_code == 400
