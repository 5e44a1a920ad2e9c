"""Imports and exports over the API: who may, what is answered, and what is refused before it is read."""

import asyncio
import csv
import io
import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.conf import settings
from django.db import DatabaseError
from rest_framework.test import APIClient

from portrait.audit.models import AuditEntry, AuditSubject
from portrait.audit.services import sha256_of
from portrait.core.models import Scope
from portrait.gallery.models import Collection
from portrait.jobs.models import Job
from portrait.transfer.models import Import
from tests.api_clients import MakeClient
from tests.portrait.jobs.conftest import files as stored_files
from tests.portrait.sightings import seen
from tests.portrait.transfer.conftest import drive, make_zip

RunImport = Callable[..., Any]
pytestmark = pytest.mark.django_db


def send(client: APIClient, zipped: io.BytesIO, **fields: Any) -> Any:
    zipped.name = "people.zip"
    return client.post("/api/v1/imports", {"file": zipped, **fields}, format="multipart")


def test_an_import_from_its_zip_to_its_report(make_client: MakeClient, collection: Collection, collins: bytes) -> None:
    client = make_client(Scope.ENROL, [collection])
    answer = send(client, make_zip({"Ada/a.jpg": collins, "Ada/=b.jpg": b"x"}), face="largest")
    assert answer.status_code == 202, answer.content
    told = answer.json()
    assert answer["Location"] == f"/api/v1/imports/{told['id']}"
    assert (told["state"], told["collection"], told["face"]) == ("waiting", collection.name, "largest")
    assert client.get(f"/api/v1/jobs/{told['job']}").json()["kind"] == "import"
    drive(Import.objects.get(pk=told["id"]))
    done = client.get(answer["Location"]).json()
    assert done["state"] == "done"
    assert done["finished_at"]
    counted = {"total": 2, "done": 2, "accepted": 1, "rejected": 1}
    assert done["progress"] == {
        "planned": True,
        **dict.fromkeys(["waiting", "duplicate", "skipped", "failed"], 0),
        **counted,
    }
    assert done["files_per_s"] > 0
    page = client.get(f"/api/v1/imports/{told['id']}/results?page_size=1").json()
    (accepted,) = page["results"]
    assert (accepted["file"], accepted["status"]) == ("Ada/a.jpg", "accepted")
    assert client.get(f"/api/v1/portraits/{accepted['portrait']}").json()["identity"] == accepted["identity"]
    (rejected,) = client.get(page["next"]).json()["results"]
    assert (rejected["status"], rejected["code"], rejected["portrait"]) == ("rejected", "unsupported_image", None)
    only = client.get(f"/api/v1/imports/{told['id']}/results?status=accepted").json()
    assert only["results"] == [accepted]
    text = client.get(f"/api/v1/imports/{told['id']}/results.csv")
    assert text["Content-Type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(b"".join(text.streaming_content).decode())))
    assert [(row["file"], row["status"]) for row in rows] == [("Ada/a.jpg", "accepted"), ("Ada/=b.jpg", "rejected")]
    assert [each["id"] for each in client.get("/api/v1/imports").json()["results"]] == [told["id"]]
    assert AuditEntry.objects.filter(action="import", collection_id=collection.pk).exists()


def test_what_cannot_be_logged_is_not_imported(
    enroller: APIClient, collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*args: Any, **kwargs: Any) -> None:
        raise DatabaseError("no space left on device")

    before = stored_files("imports")
    monkeypatch.setattr(AuditEntry, "save", fails)
    answer = send(enroller, make_zip({"Ada/a.jpg": b"x"}), collection=collection.name)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "audit_unavailable")
    assert not Import.objects.exists()
    assert not Job.objects.filter(collection_id=collection.pk).exists()
    assert stored_files("imports") == before


def test_an_import_that_tells_whom_a_face_resembles_is_logged_as_a_search(
    make_client: MakeClient, collection: Collection, collins: bytes
) -> None:
    known = seen.enrol(collection, "Eileen Collins", "collins")
    client = make_client(Scope.ENROL, [collection])
    told = send(client, make_zip({"Nobody/a.jpg": collins})).json()
    drive(Import.objects.get(pk=told["id"]))
    (row,) = client.get(f"/api/v1/imports/{told['id']}/results").json()["results"]
    assert str(known.pk) in row["message"]
    entry = AuditEntry.objects.latest("id")
    assert (entry.action, entry.actor_kind, entry.probe_sha256) == ("search", "key", sha256_of(collins))
    assert entry.details == {"enrolment": True, "named": 1, "import": told["id"]}
    assert AuditSubject.objects.get(pk__in=entry.subjects).identity_id == known.pk


def test_a_spreadsheet_takes_no_cell_for_a_formula(make_client: MakeClient, collection: Collection) -> None:
    client = make_client(Scope.ENROL, [collection])
    told = send(client, make_zip({"=cmd|x/a.jpg": b"x"})).json()
    drive(Import.objects.get(pk=told["id"]))
    text = b"".join(client.get(f"/api/v1/imports/{told['id']}/results.csv").streaming_content).decode()
    assert "\n'=cmd|x/a.jpg," in text


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"root": "../x"}, "invalid"),
        ({"face": "1,2,3,4"}, "invalid"),
        ({"collection": "nobody"}, "not_found"),
        ({"colection": "default"}, "invalid"),
    ],
)
def test_what_is_wrong_is_named(enroller: APIClient, fields: dict[str, str], code: str) -> None:
    answer = send(enroller, make_zip({"a/b": b"c"}), **fields)
    assert answer.status_code in (400, 404)
    assert answer.json()["error"]["code"] == code


def test_no_zip_is_told_at_once(enroller: APIClient) -> None:
    answer = send(enroller, io.BytesIO(b"plain text"))
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_zip")
    assert enroller.post("/api/v1/imports", {}, format="multipart").status_code == 400
    assert enroller.post("/api/v1/imports", {}, format="json").status_code == 415
    assert not Import.objects.exists()


def test_too_many_entries_are_told_at_once(enroller: APIClient, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    monkeypatch.setattr(settings, "PORTRAIT", replace(settings.PORTRAIT, import_max_files=1))
    answer = send(enroller, make_zip({"a/b": b"c", "a/c": b"d"}))
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_many_files")


def test_readers_import_nothing_and_only_admins_take_everything_out(
    reader: APIClient, enroller: APIClient, admin: APIClient, collection: Collection
) -> None:
    assert send(reader, make_zip({"a/b": b"c"})).status_code == 403
    for client in (reader, enroller):
        assert client.get(f"/api/v1/collections/{collection.name}/export").status_code == 403
    answer = admin.get(f"/api/v1/collections/{collection.name}/export")
    assert answer.status_code == 200
    assert b"".join(answer.streaming_content).startswith(b"PK")
    assert AuditEntry.objects.filter(action="export", collection_id=collection.pk).count() == 1


def test_another_collections_imports_do_not_exist(
    make_client: MakeClient, collection: Collection, other_collection: Collection, run_import: RunImport
) -> None:
    run, _ = run_import({"Ada/a.jpg": b"x"})
    stranger = make_client(Scope.ADMIN, [other_collection])
    for path in ("", "/results", "/results.csv"):
        assert stranger.get(f"/api/v1/imports/{run.pk}{path}").status_code == 404
        assert stranger.get(f"/api/v1/imports/{uuid.uuid4()}{path}").status_code == 404
        assert stranger.get(f"/api/v1/imports/nonsense{path}").status_code == 404
    assert stranger.get("/api/v1/imports").json()["results"] == []
    assert stranger.post(f"/api/v1/jobs/{run.job_id}/cancel").status_code == 404
    assert stranger.get(f"/api/v1/collections/{collection.name}/export").status_code == 404
    assert send(stranger, make_zip({"a/b": b"c"}), collection=collection.name).status_code == 404
    assert Import.objects.count() == 1


def test_a_cameras_key_imports_nothing(collection: Collection) -> None:
    from portrait.core.services import create_api_key

    _, key = create_api_key(name="gate", scope=Scope.ENROL, collection_ids=[collection.pk], camera_ids=[uuid.uuid4()])
    client = APIClient(HTTP_AUTHORIZATION=f"Api-Key {key}")
    assert send(client, make_zip({"a/b": b"c"})).status_code == 403
    assert client.get("/api/v1/imports").status_code == 403


def upload(key: str | None, size: int, **more: Any) -> tuple[int, Any, int]:
    """What the web application answers to a body of that size, and how much of it was read before."""
    from portrait.asgi import application

    headers = [(b"host", b"localhost"), (b"content-length", str(size).encode())]
    headers += [(b"content-type", b"multipart/form-data; boundary=x")]
    headers += [(b"authorization", f"Api-Key {key}".encode())] if key else []
    scope = {"type": "http", "method": "POST", "path": "/api/v1/imports", "headers": headers, "query_string": b""}
    scope |= {"client": ("127.0.0.1", 1), "server": ("localhost", 80), "scheme": "http", "http_version": "1.1", **more}
    asked, sent = 0, list[dict[str, Any]]()

    async def receive() -> dict[str, Any]:
        nonlocal asked
        asked += 1
        return {"type": "http.disconnect"}

    async def send_(message: Any) -> None:
        sent.append(dict(message))

    asyncio.run(application(scope, receive, send_))
    if not sent:
        return 0, None, asked
    return sent[0]["status"], json.loads(b"".join(each.get("body", b"") for each in sent[1:])), asked


@pytest.mark.django_db(transaction=True)
class TestLargeZips:
    """Above the limit of all other requests: known who it is before a byte is read."""

    size = 200 * 2**20

    @pytest.fixture
    def key_of(self, transactional_db: None) -> Callable[[Scope], str]:
        from portrait.core.services import create_api_key

        return lambda scope: create_api_key(name="test", scope=scope)[1]

    def test_nobody_is_read(self, transactional_db: None) -> None:
        assert upload(None, self.size)[::2] == (401, 0)
        status, body, asked = upload("guess", self.size)
        assert (status, body["error"]["code"], asked) == (401, "authentication_failed", 0)

    def test_readers_are_not_read(self, key_of: Callable[[Scope], str]) -> None:
        status, body, asked = upload(key_of(Scope.READ), self.size)
        assert (status, body["error"]["code"], asked) == (403, "forbidden", 0)

    def test_whoever_may_enrol_is_read(self, key_of: Callable[[Scope], str]) -> None:
        assert upload(key_of(Scope.ENROL), self.size)[2] > 0

    def test_there_is_a_limit_and_only_at_this_address(self, key_of: Callable[[Scope], str]) -> None:
        key = key_of(Scope.ENROL)
        most = settings.PORTRAIT.import_max_mb * 2**20
        assert upload(key, most + 1)[::2] == (413, 0)
        assert upload(key, self.size, path="/api/v1/detect")[::2] == (413, 0)
        assert upload(key, self.size, path="/api/v1/imports/x")[::2] == (413, 0)

    def test_what_does_not_fit_on_the_disk_is_not_read(
        self, key_of: Callable[[Scope], str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from types import SimpleNamespace

        monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=3 * self.size))
        status, body, asked = upload(key_of(Scope.ENROL), self.size)
        assert (status, body["error"]["code"], asked) == (507, "storage_full", 0)
