"""Edits of people by the API: what they answer, who may make them, and how they are undone."""

import uuid
from typing import Any

import pytest
from rest_framework.test import APIClient

from portrait.core.models import Scope
from portrait.core.services import create_api_key
from portrait.gallery.models import Change, Collection, Identity, Portrait
from portrait.sightings.models import Detection, Sighting
from tests.api_clients import MakeClient
from tests.portrait.gallery.people import add, portraits_of
from tests.portrait.sightings.past import record, run_jobs
from tests.portrait.sightings.scenes import Visible, enrol, make_camera, seen_frames

pytestmark = pytest.mark.django_db


def seen_at_the_door(collection: Collection) -> Sighting:
    camera = make_camera(collection, "door")
    record(camera, seen_frames(camera, [(index / 5, [Visible(0, 100)]) for index in range(10)]))
    return Sighting.objects.get(camera=camera)


def post(client: APIClient, path: str, body: Any = None) -> Any:
    return client.post(f"/api/v1/{path}", body or {}, format="json")


def undo(client: APIClient, change: int) -> None:
    answer = post(client, f"changes/{change}/undo")
    assert answer.status_code == 200, answer.json()
    assert answer.json()["undoes"] == change


def test_a_name_is_noted_and_taken_back(enroller: APIClient, collection: Collection) -> None:
    one = add(collection, 1, name="Ada")
    answer = enroller.patch(f"/api/v1/identities/{one.pk}", {"name": "Eve", "consent": "signed"}, format="json")
    assert (answer.status_code, answer.json()["name"]) == (200, "Eve")
    again = enroller.patch(f"/api/v1/identities/{one.pk}", answer.json(), format="json")
    assert (again.status_code, again.json()["change"]) == (200, None)
    (change,) = enroller.get(f"/api/v1/changes?identity={one.pk}&action=rename").json()["results"]
    assert (change["id"], change["actor"]) == (answer.json()["change"], "API key test")
    undo(enroller, change["id"])
    assert enroller.get(f"/api/v1/identities/{one.pk}").json()["name"] == "Ada"
    told = enroller.get(f"/api/v1/changes/{change['id']}").json()
    assert told["undone_by"] == Change.objects.get(undoes=change["id"]).pk
    assert {step["field"] for step in told["steps"]} == {"name", "consent"}


def test_a_field_that_nobody_knows_is_refused(enroller: APIClient, collection: Collection) -> None:
    one = add(collection, 1)
    answer = enroller.patch(f"/api/v1/identities/{one.pk}", {"nmae": "Eve"}, format="json")
    assert answer.status_code == 400


def test_deleting_hides_until_restored(enroller: APIClient, reader: APIClient, collection: Collection) -> None:
    one = enrol(collection, 0, "Ada")
    sighting = seen_at_the_door(collection)
    answer = enroller.delete(f"/api/v1/identities/{one.pk}")
    assert answer.status_code == 200
    assert answer.json()["restore"] == f"/api/v1/identities/{one.pk}/restore"
    for path in (f"identities/{one.pk}", f"sightings/{sighting.pk}", f"identities/{one.pk}/portraits"):
        assert reader.get(f"/api/v1/{path}").status_code == 404
    faces = reader.get(f"/api/v1/frames/{Detection.objects.all()[0].frame_id}").json()["detections"]
    assert [face["identity"] for face in faces] == [None]
    assert reader.get("/api/v1/sightings").json()["results"] == []
    (there,) = reader.get("/api/v1/identities?deleted=true").json()["results"]
    assert (there["id"], there["deleted_at"] is not None) == (str(one.pk), True)
    assert enroller.delete(f"/api/v1/identities/{one.pk}").status_code == 404
    restored = post(enroller, f"identities/{one.pk}/restore")
    assert (restored.status_code, restored.json()["name"]) == (200, "Ada")
    assert reader.get(f"/api/v1/sightings/{sighting.pk}").json()["identity"]["name"] == "Ada"
    assert post(enroller, f"identities/{one.pk}/restore").status_code == 409


def test_erasing_leaves_nothing_to_restore(enroller: APIClient, collection: Collection) -> None:
    one = add(collection, 1)
    assert enroller.delete(f"/api/v1/identities/{one.pk}?erase=true").status_code == 204
    assert post(enroller, f"identities/{one.pk}/restore").status_code == 404


def test_a_portrait_is_deleted_and_restored(enroller: APIClient, collection: Collection) -> None:
    (portrait,) = portraits_of(add(collection, 1, faces=1))
    assert enroller.delete(f"/api/v1/portraits/{portrait.pk}").status_code == 200
    assert enroller.get(f"/api/v1/portraits/{portrait.pk}").status_code == 404
    assert post(enroller, f"portraits/{portrait.pk}/restore").status_code == 200
    assert enroller.get(f"/api/v1/portraits/{portrait.pk}").status_code == 200
    assert post(enroller, f"portraits/{portrait.pk}/restore").status_code == 409
    assert enroller.delete(f"/api/v1/portraits/{portrait.pk}?erase=true").status_code == 204
    assert not Portrait.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_merging_tells_first_and_then_does(enroller: APIClient, collection: Collection) -> None:
    ada, same = enrol(collection, 5, "Ada"), enrol(collection, 0, "Ada again")
    sighting = seen_at_the_door(collection)
    asked = {"identities": [str(same.pk)], "preview": True}
    answer = post(enroller, f"identities/{ada.pk}/merge", asked).json()
    assert (answer["change"], answer["preview"]["tracks"], answer["preview"]["sightings"]) == (None, 1, 1)
    assert (answer["preview"]["portraits"], answer["preview"]["watches"]) == (1, 0)
    assert not Change.objects.exists()
    done = post(enroller, f"identities/{ada.pk}/merge", asked | {"preview": False}).json()
    assert done["identity"]["portrait_count"] == 2
    job = enroller.get(f"/api/v1/jobs/{done['job']}").json()
    assert job["kind"] == "history"
    run_jobs()
    assert enroller.get(f"/api/v1/sightings/{sighting.pk}").json()["identity"]["id"] == str(ada.pk)
    undo(enroller, done["change"])
    run_jobs()
    assert enroller.get(f"/api/v1/sightings/{sighting.pk}").json()["identity"]["id"] == str(same.pk)


def test_an_old_id_finds_whom_somebody_is_a_part_of(enroller: APIClient, collection: Collection) -> None:
    ada, same = add(collection, 1), add(collection, 2, external_id="e2")
    post(enroller, f"identities/{ada.pk}/merge", {"identities": [str(same.pk)]})
    found = enroller.get("/api/v1/identities?external_id=e2").json()["results"]
    assert [row["id"] for row in found] == [str(ada.pk)]


def test_splitting_and_rejecting(enroller: APIClient, collection: Collection) -> None:
    ada = add(collection, 1, faces=4)
    first, second, *_ = portraits_of(ada)
    made = post(enroller, f"identities/{ada.pk}/split", {"portraits": [str(first.pk)], "name": "Eve"}).json()
    assert (made["identity"]["name"], made["identity"]["portrait_count"]) == ("Eve", 1)
    rejected = post(enroller, f"identities/{ada.pk}/reject", {"portrait": str(second.pk)}).json()
    assert rejected["identity"]["kind"] == "unknown"
    undo(enroller, rejected["change"])
    undo(enroller, made["change"])
    assert enroller.get(f"/api/v1/identities/{ada.pk}").json()["portrait_count"] == 4


@pytest.mark.django_db(transaction=True)
def test_a_sighting_is_moved_and_rejected(enroller: APIClient, collection: Collection) -> None:
    ada, eve = enrol(collection, 0, "Ada"), enrol(collection, 1, "Eve")
    sighting = seen_at_the_door(collection)
    moved = post(enroller, f"sightings/{sighting.pk}/move", {"identity": str(eve.pk)}).json()
    run_jobs()
    assert Sighting.objects.get().identity == eve
    undo(enroller, moved["change"])
    run_jobs()
    (sighting,) = Sighting.objects.all()
    answer = post(enroller, f"identities/{eve.pk}/reject", {"sighting": str(sighting.pk)})
    assert answer.status_code == 404
    rejected = post(enroller, f"identities/{ada.pk}/reject", {"sighting": str(sighting.pk)}).json()
    assert not Sighting.objects.exists()
    undo(enroller, rejected["change"])
    run_jobs()
    assert Sighting.objects.get().identity == ada
    face = Detection.objects.all()[0]
    assert post(enroller, f"identities/{ada.pk}/reject", {"face": face.pk}).status_code == 200


def test_requests_that_make_no_sense_are_told_why(enroller: APIClient, collection: Collection) -> None:
    ada = add(collection, 1)
    nobody = str(uuid.uuid4())
    for path, body, status in (
        ("merge", {"identities": []}, 400),
        ("merge", {"identities": [str(ada.pk)]}, 409),
        ("merge", {"identities": [nobody]}, 404),
        ("merge", {"identities": [nobody], "x": 1}, 400),
        ("split", {}, 400),
        ("split", {"portraits": [nobody]}, 404),
        ("split", {"sightings": [nobody]}, 404),
        ("split", {"portraits": [nobody], "to": nobody, "name": "x"}, 400),
        ("reject", {}, 400),
        ("reject", {"portrait": nobody, "face": 1}, 400),
        ("reject", {"face": 2**62}, 404),
    ):
        answer = post(enroller, f"identities/{ada.pk}/{path}", body)
        assert (answer.status_code, bool(answer.json()["error"]["message"])) == (status, True), (path, body)


def test_nobody_edits_beyond_the_own_collection(
    make_client: MakeClient, collection: Collection, other_collection: Collection
) -> None:
    """Neither people, portraits, sightings, faces nor changes of another tenant are there."""
    mine, theirs = add(collection, 1), enrol(other_collection, 0, "Theirs")
    sighting = seen_at_the_door(other_collection)
    client = make_client(Scope.ENROL, [collection])
    owner = make_client(Scope.ENROL, [other_collection])
    change = owner.patch(f"/api/v1/identities/{theirs.pk}", {"hidden": True}, format="json").json()["change"]
    portrait = portraits_of(theirs)[0]
    for path, body in (
        (f"identities/{theirs.pk}/merge", {"identities": [str(mine.pk)]}),
        (f"identities/{mine.pk}/merge", {"identities": [str(theirs.pk)]}),
        (f"identities/{mine.pk}/split", {"portraits": [str(portrait.pk)]}),
        (f"identities/{mine.pk}/split", {"portraits": [str(portraits_of(mine)[0].pk)], "to": str(theirs.pk)}),
        (f"identities/{mine.pk}/split", {"sightings": [str(sighting.pk)]}),
        (f"identities/{mine.pk}/reject", {"portrait": str(portrait.pk)}),
        (f"identities/{mine.pk}/reject", {"face": Detection.objects.all()[0].pk}),
        (f"identities/{theirs.pk}/restore", {}),
        (f"portraits/{portrait.pk}/restore", {}),
        (f"sightings/{sighting.pk}/move", {"identity": str(mine.pk)}),
        (f"changes/{change}/undo", {}),
    ):
        assert post(client, path, body).status_code == 404, path
    assert client.get(f"/api/v1/changes/{change}").status_code == 404
    assert client.get("/api/v1/changes").json()["results"] == []
    assert client.get(f"/api/v1/changes?identity={theirs.pk}").json()["results"] == []
    assert Change.objects.count() == 1


def test_a_cameras_key_edits_nobody(collection: Collection) -> None:
    ada = enrol(collection, 0, "Ada")
    sighting = seen_at_the_door(collection)
    _, key = create_api_key(
        name="camera", scope=Scope.ADMIN, collection_ids=[collection.pk], camera_ids=[sighting.camera_id]
    )
    client = APIClient(HTTP_AUTHORIZATION=f"Api-Key {key}")
    for path in (f"identities/{ada.pk}/merge", f"sightings/{sighting.pk}/move", "changes/1/undo"):
        assert post(client, path).status_code == 403
    assert client.get("/api/v1/changes").status_code == 403
    assert Identity.objects.get().name == "Ada"


def test_where_somebody_went_is_told(enroller: APIClient, make_client: MakeClient, collection: Collection) -> None:
    target, merged, deleted = (add(collection, number, name=f"p{number}") for number in range(3))
    assert post(enroller, f"identities/{target.pk}/merge", {"identities": [str(merged.pk)]}).status_code == 200
    assert enroller.delete(f"/api/v1/identities/{deleted.pk}").status_code == 200
    told = [enroller.get(f"/api/v1/identities/{each.pk}").json()["error"] for each in (merged, deleted)]
    assert [each["code"] for each in told] == ["not_found", "not_found"]
    assert f"merged into {target.pk}" in told[0]["message"]
    assert f"{deleted.pk}/restore" in told[1]["message"]
    stranger = make_client(Scope.READ, [])
    for each in (merged, deleted):
        message = stranger.get(f"/api/v1/identities/{each.pk}").json()["error"]["message"]
        assert message == "There is no such identity."


def test_what_a_list_does_not_know_is_refused(enroller: APIClient) -> None:
    for path in ("identities?colection=staff", "identities?kind=stranger"):
        answer = enroller.get(f"/api/v1/{path}")
        assert answer.status_code == 400
    assert "known, unknown" in answer.json()["error"]["message"]
    sent = enroller.post("/api/v1/identities", "name=Ada", content_type="text/plain")
    assert sent.status_code == 415
    assert "application/json" in sent.json()["error"]["message"]


def test_a_preview_counts_what_would_really_move(enroller: APIClient, collection: Collection) -> None:
    """Not a picture that the target has already, and nothing that is not there."""
    ada, same = enrol(collection, 5, "Ada"), enrol(collection, 0, "Ada again")
    Portrait.objects.filter(identity=same).update(sha256=Portrait.objects.get(identity=ada).sha256)
    asked = {"identities": [str(same.pk)], "preview": True}
    assert post(enroller, f"identities/{ada.pk}/merge", asked).json()["preview"]["portraits"] == 0
    own = str(Portrait.objects.get(identity=ada).pk)
    split = {"portraits": [own], "name": "Somebody else", "preview": True}
    assert post(enroller, f"identities/{ada.pk}/split", split).json()["preview"]["portraits"] == 1
    assert post(enroller, f"identities/{ada.pk}/split", split | {"portraits": [str(uuid.uuid4())]}).status_code == 404
