"""Who asks about a face is logged; who cannot be logged gets no answer."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import DatabaseError, connection
from django.test import Client
from rest_framework.test import APIClient

from portrait.audit.models import AuditEntry, AuditSubject
from portrait.audit.services import sha256_of
from portrait.core.models import ApiKey, Scope
from portrait.core.services import create_api_key
from portrait.demo.photos import COLLINS, HOPPER, built_in
from portrait.gallery.models import Collection, Identity
from portrait.gallery.services.identities import delete_identity, purge_deleted
from portrait.jobs.models import JobItem
from portrait.jobs.tasks import run_item
from tests.api_clients import MakeClient, b64, plain_jpeg
from tests.portrait.sightings import seen

pytestmark = pytest.mark.django_db


@pytest.fixture
def hopper(collection: Collection) -> Identity:
    return seen.enrol(collection, "Grace Brewster", "hopper")


def last() -> AuditEntry:
    return AuditEntry.objects.latest("id")


PROBE = built_in().people[HOPPER][0].data


def _no_space(*args: Any, **kwargs: Any) -> None:
    raise DatabaseError("no space left on device")


def ask(client: APIClient, path: str, collection: Collection, **body: Any) -> Any:
    return client.post(f"/api/v1/{path}", {"collection": collection.name, **body}, format="json")


def test_a_recognition_is_logged(make_client: MakeClient, collection: Collection, hopper: Identity) -> None:
    client = make_client(Scope.READ, [collection])
    answer = ask(client, "recognize", collection, image=b64(PROBE))
    assert answer.json()["faces"][0]["candidates"][0]["identity"]["name"] == "Grace Brewster"
    row = last()
    key = ApiKey.objects.latest("created_at")
    assert (row.action, row.actor_kind, row.actor_id, row.actor) == ("recognize", "key", str(key.pk), "test")
    assert row.collection_id == collection.pk
    assert row.probe_sha256 == sha256_of(PROBE)
    assert (row.details["faces"], row.details["named"]) == (1, 1)
    assert AuditSubject.objects.get(pk__in=row.subjects).identity_id == hopper.pk
    assert row.request_id == answer["X-Request-ID"]
    assert row.address is None
    with connection.cursor() as cursor:
        cursor.execute("SELECT e::text FROM audit_auditentry e WHERE id = %s", [row.pk])
        text = cursor.fetchone()[0]
    assert "Grace" not in text
    assert str(hopper.pk) not in text
    assert len(text) < 2000  # no picture


def test_a_picture_without_a_face_is_logged_too(reader: APIClient, collection: Collection) -> None:
    assert ask(reader, "recognize", collection, image=b64(plain_jpeg())).json() == {"faces": []}
    assert last().details["faces"] == 0


def test_search_verify_and_caption_are_logged(reader: APIClient, collection: Collection, hopper: Identity) -> None:
    assert ask(reader, "search", collection, image=b64(PROBE)).status_code == 200
    assert (last().action, last().details["identities"]) == ("search", 1)
    other = built_in().people[COLLINS][0].data
    body = {"image_a": b64(PROBE), "image_b": b64(other)}
    assert reader.post("/api/v1/verify", body, format="json").json()["same"] is False
    assert (last().action, last().collection_id) == ("verify", None)
    assert last().probe_sha256 == sha256_of(PROBE)
    assert last().details == {"same": False, "second_probe_sha256": sha256_of(other)}
    before = AuditEntry.objects.count()
    told = ask(reader, "caption", collection, images=[b64(PROBE), b64(plain_jpeg())], model="describe")
    assert told.status_code == 200, told.content
    rows = AuditEntry.objects.order_by("-id")[: AuditEntry.objects.count() - before]
    assert [(row.action, row.details) for row in rows] == [("caption", {"faces": 0}), ("caption", {"faces": 1})]
    before = AuditEntry.objects.count()
    ask(reader, "caption", collection, image=b64(PROBE), model="describe", people=False)
    assert AuditEntry.objects.count() == before  # nobody asked who it is


def test_a_refused_question_is_not_logged_as_an_answered_one(make_client: MakeClient, collection: Collection) -> None:
    before = AuditEntry.objects.count()
    client = make_client(Scope.READ, [])
    assert ask(client, "recognize", collection, image=b64(PROBE)).status_code == 404
    assert AuditEntry.objects.count() == before


@pytest.mark.parametrize("path", ["recognize", "search", "verify", "caption"])
def test_what_cannot_be_logged_is_not_answered(
    path: str, reader: APIClient, collection: Collection, hopper: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AuditEntry, "save", _no_space)
    body = {"image_a": b64(PROBE), "image_b": b64(PROBE)} if path == "verify" else {"image": b64(PROBE)}
    if path != "verify":
        body["collection"] = collection.name
    if path == "caption":
        body["model"] = "describe"
    answer = reader.post(f"/api/v1/{path}", body, format="json")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "audit_unavailable")
    assert "Grace" not in answer.content.decode()


def test_the_address_only_where_it_is_asked_for(reader: APIClient, collection: Collection, settings: Any) -> None:
    from dataclasses import replace

    settings.PORTRAIT = replace(settings.PORTRAIT, audit_address=True)
    reader.credentials(HTTP_X_REQUEST_ID="mine-1")
    ask(reader, "recognize", collection, image=b64(plain_jpeg()))
    answer = reader.post("/api/v1/recognize", {"image": b64(plain_jpeg())}, HTTP_X_REQUEST_ID="mine-1", format="json")
    assert answer["X-Request-ID"] == "mine-1"
    assert (last().address, last().request_id) == ("127.0.0.1", "mine-1")
    answer = reader.post("/api/v1/recognize", {"image": b64(plain_jpeg())}, HTTP_X_REQUEST_ID="a b\n", format="json")
    assert last().request_id == answer["X-Request-ID"] != "a b\n"


def test_the_list_filters_pages_and_logs_itself(
    make_client: MakeClient, admin: APIClient, collection: Collection, other_collection: Collection, hopper: Identity
) -> None:
    reader = make_client(Scope.READ)
    for _ in range(3):
        ask(reader, "recognize", collection, image=b64(PROBE))
    ask(reader, "recognize", other_collection, image=b64(plain_jpeg()))
    page = admin.get("/api/v1/audit", {"collection": str(collection.pk), "page_size": 2, "action": "recognize"}).json()
    assert len(page["results"]) == 2
    assert page["results"][0]["identities"] == [str(hopper.pk)]
    assert page["results"][0]["erased"] == 0
    assert len(admin.get(page["next"]).json()["results"]) == 1
    assert last().action == "read"
    found = admin.get("/api/v1/audit", {"identity": str(hopper.pk), "action": "recognize"}).json()["results"]
    assert len(found) == 3
    mine = make_client(Scope.ADMIN, [collection])
    told = mine.get("/api/v1/audit").json()["results"]
    assert told
    assert {row["collection"] for row in told} == {str(collection.pk)}
    assert mine.get("/api/v1/audit", {"collection": str(other_collection.pk)}).json()["results"] == []
    for bad in ({"since": "x"}, {"action": "nonsense"}, {"colection": "x"}, {"identity": "1"}):
        assert admin.get("/api/v1/audit", bad).status_code == 400
    assert admin.get("/api/v1/audit", {"actor": "a\0b"}).status_code in {200, 400}


def test_nobody_changes_it_through_the_api(admin: APIClient) -> None:
    for method in ("post", "put", "patch", "delete"):
        assert getattr(admin, method)("/api/v1/audit").status_code == 405


def test_a_cameras_key_sees_nothing(collection: Collection) -> None:
    _, key = create_api_key(name="c", scope=Scope.ADMIN, collection_ids=[collection.pk], camera_ids=[])
    assert APIClient(HTTP_AUTHORIZATION=f"Api-Key {key}").get("/api/v1/audit").status_code == 403


@pytest.mark.django_db(transaction=True)
def test_whoever_is_deleted_for_good_is_nobody_in_the_log(reader: APIClient, admin: APIClient) -> None:
    collection = Collection.objects.get(name="default")
    hopper = seen.enrol(collection, "Grace Brewster", "hopper")
    ask(reader, "recognize", collection, image=b64(PROBE))
    row = last()
    delete_identity(identity=hopper)
    assert not AuditSubject.objects.filter(pk__in=row.subjects).exists()
    (told,) = [each for each in admin.get("/api/v1/audit").json()["results"] if each["id"] == row.pk]
    assert (told["identities"], told["erased"]) == ([], 1)


def test_the_admin_only_looks(client: Client, reader: APIClient, collection: Collection) -> None:
    User.objects.create_superuser("root", password="pw")
    client.login(username="root", password="pw")
    ask(reader, "recognize", collection, image=b64(plain_jpeg()))
    row = last()
    page = client.get("/admin/audit/auditentry/")
    assert page.status_code == 200
    assert "recognize" in page.content.decode()
    assert (last().action, last().actor_kind, last().actor) == ("read", "user", "root")
    assert client.get(f"/admin/audit/auditentry/{row.pk}/change/").status_code == 200
    assert client.get("/admin/audit/auditentry/add/").status_code == 403
    assert client.post(f"/admin/audit/auditentry/{row.pk}/delete/", {"post": "yes"}).status_code == 403
    data = {"action": "delete_selected", "_selected_action": [row.pk], "post": "yes"}
    client.post("/admin/audit/auditentry/", data)
    assert AuditEntry.objects.filter(pk=row.pk).exists()


def test_an_enrolment_that_tells_whom_a_face_resembles_is_logged_as_a_search(
    make_client: MakeClient, collection: Collection, hopper: Identity
) -> None:
    client = make_client(Scope.ENROL, [collection])
    other = Identity.objects.create(collection=collection, name="Nobody Special")
    photo = PROBE
    body = {"image": b64(photo), "force": True}
    answer = client.post(f"/api/v1/identities/{other.pk}/portraits", body, format="json")
    (report,) = answer.json()["results"]
    assert report["warnings"][0]["identity"]["id"] == str(hopper.pk)
    row = last()
    assert (row.action, row.probe_sha256, row.details) == ("search", sha256_of(photo), {"enrolment": True, "named": 1})
    assert AuditSubject.objects.get(pk__in=row.subjects).identity_id == hopper.pk


def test_the_end_of_a_collection_is_logged_before_it(admin: APIClient, other_collection: Collection) -> None:
    assert admin.delete(f"/api/v1/collections/{other_collection.name}").status_code == 204
    row = last()
    assert (row.action, row.collection_id, row.details) == ("erase", other_collection.pk, {"everybody": True})


def test_a_purge_is_logged(hopper: Identity) -> None:
    Identity.objects.filter(pk=hopper.pk).update(deleted_at=seen.ago(days=90))
    assert purge_deleted() == 1
    assert (last().action, last().actor, last().collection_id) == ("erase", "purge", hopper.collection_id)


def test_a_new_person_who_resembles_somebody_is_logged_too(
    make_client: MakeClient, collection: Collection, hopper: Identity
) -> None:
    client = make_client(Scope.ENROL, [collection])
    told = ask(client, "identities", collection, name="Nobody Special", image=b64(PROBE))
    assert told.json()["results"][0]["warnings"][0]["identity"]["id"] == str(hopper.pk)
    row = last()
    assert (row.action, row.probe_sha256, row.details) == ("search", sha256_of(PROBE), {"enrolment": True, "named": 1})
    assert AuditSubject.objects.get(pk__in=row.subjects).identity_id == hopper.pk


def test_an_enrolment_through_the_queue_is_logged_as_its_callers(
    make_client: MakeClient, collection: Collection, hopper: Identity
) -> None:
    client = make_client(Scope.ENROL, [collection])
    other = Identity.objects.create(collection=collection, name="Nobody Special")
    body = {"image": b64(PROBE), "async": True}
    job = client.post(f"/api/v1/identities/{other.pk}/portraits", body, format="json").json()["job"]
    run_item(JobItem.objects.get(job=job).pk)
    row, key = last(), ApiKey.objects.latest("created_at")
    assert (row.action, row.actor_kind, row.actor_id) == ("search", "key", str(key.pk))
    assert (row.probe_sha256, row.details) == (sha256_of(PROBE), {"enrolment": True, "named": 1, "job": job})
    assert AuditSubject.objects.get(pk__in=row.subjects).identity_id == hopper.pk


def test_a_job_waits_while_the_log_cannot_be_written(
    make_client: MakeClient, collection: Collection, hopper: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = make_client(Scope.ENROL, [collection])
    other = Identity.objects.create(collection=collection, name="Nobody Special")
    body = {"image": b64(PROBE), "async": True}
    job = client.post(f"/api/v1/identities/{other.pk}/portraits", body, format="json").json()["job"]
    item = JobItem.objects.get(job=job)
    with monkeypatch.context() as patched:
        patched.setattr(AuditEntry, "save", _no_space)
        run_item(item.pk)
    item.refresh_from_db()
    assert (item.state, bool(item.upload), other.portraits.count()) == ("waiting", True, 0)


def test_the_admins_enrolment_is_logged_as_the_users(client: Client, collection: Collection, hopper: Identity) -> None:
    User.objects.create_superuser("root", password="pw")
    client.login(username="root", password="pw")
    photo = SimpleUploadedFile("photo.jpg", PROBE, "image/jpeg")
    form = {"collection": str(collection.pk), "name": "Nobody Special", "kind": "known", "metadata": "{}"}
    answer = client.post("/admin/gallery/identity/add/", {**form, "photos": photo})
    assert answer.status_code == 302, answer.context["errors"]
    row = last()
    assert (row.action, row.actor, row.probe_sha256) == ("search", "root", sha256_of(PROBE))
    assert AuditSubject.objects.get(pk__in=row.subjects).identity_id == hopper.pk


@pytest.mark.parametrize("how", ["one", "several"])
def test_a_collection_that_goes_in_the_admin_is_logged(client: Client, other_collection: Collection, how: str) -> None:
    User.objects.create_superuser("root", password="pw")
    client.login(username="root", password="pw")
    key = str(other_collection.pk)
    if how == "one":
        client.post(f"/admin/gallery/collection/{key}/delete/", {"post": "yes"})
    else:
        data = {"action": "delete_selected", "_selected_action": [key], "post": "yes"}
        client.post("/admin/gallery/collection/", data)
    assert not Collection.objects.filter(pk=key).exists()
    row = AuditEntry.objects.filter(action="erase").latest("id")
    assert (row.actor, str(row.collection_id), row.details) == ("root", key, {"everybody": True})


def test_to_watch_a_face_tells_who_it_is(make_client: MakeClient, collection: Collection, hopper: Identity) -> None:
    client = make_client(Scope.ENROL, [collection])
    told = ask(client, "watches", collection, name="whoever", image=b64(PROBE)).json()
    assert (told["resolved"], told["identity"]["id"]) == ("existing", str(hopper.pk))
    row = last()
    assert (row.action, row.probe_sha256, row.details) == (
        "search",
        sha256_of(PROBE),
        {"watch": told["id"], "named": 1},
    )
    assert AuditSubject.objects.get(pk__in=row.subjects).identity_id == hopper.pk
