"""All about one person, and nothing of anybody else."""

import base64
import io
import json
import zipfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.files.storage import default_storage
from django.core.management import CommandError, call_command
from django.utils import timezone
from rest_framework.test import APIClient

from inference.codec import decode
from portrait.audit.models import AuditEntry
from portrait.core.models import Scope
from portrait.core.pipelines import face_pipeline
from portrait.gallery.models import Collection, PortraitEmbedding
from portrait.jobs import tasks as job_tasks
from portrait.jobs.models import JobItem
from portrait.privacy.inventory import TABLES
from portrait.privacy.models import SubjectExport
from portrait.privacy.services.exporting import remove_expired
from portrait.privacy.services.gathering import SECTIONS
from tests.api_clients import MakeClient
from tests.portrait.privacy.whole_person import NAME, OTHER_NAME, Whole
from tests.portrait.sightings import seen

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def whole(collection: Collection) -> Whole:
    return Whole(collection)


def export(client: APIClient, whole: Whole) -> dict[str, Any]:
    answer = client.post(f"/api/v1/identities/{whole.hopper.pk}/export")
    assert answer.status_code == 202
    told: dict[str, Any] = answer.json()
    for item in JobItem.objects.filter(job_id=told["job"]):
        job_tasks.run_item(item.pk)
        item.refresh_from_db()
        assert item.state == "done", item.error_message
    return told


def download(client: APIClient, told: dict[str, Any]) -> bytes:
    answer = client.get(told["url"])
    assert answer.status_code == 200
    assert answer["Content-Type"] == "application/zip"
    data = b"".join(answer.streaming_content)  # type: ignore[attr-defined]
    answer.close()
    return data


def test_the_zip_has_everything(admin: APIClient, whole: Whole) -> None:
    told = export(admin, whole)
    with zipfile.ZipFile(io.BytesIO(download(admin, told))) as archive:
        assert archive.testzip() is None
        subject = json.loads(archive.read("subject.json"))
        names = set(archive.namelist())
        picture = archive.read(f"portraits/{whole.portrait.pk}.jpg")
        cut = archive.read(f"sightings/{whole.sighting.pk}.jpg")
        assert "portrait.subject/1" in archive.read("README.txt").decode()
    assert subject["schema"] == "portrait.subject/1"
    for section in SECTIONS:
        assert subject[section], section
    person = next(row for row in subject["identities"] if row["id"] == str(whole.hopper.pk))
    assert (person["name"], person["external_id"]) == (NAME, "hop-0815")
    assert person["consent"] == "Unterschrift-vom-Mai"
    assert {row["name"] for row in subject["identities"]} == {NAME, "Admiral-Amazing"}
    with whole.portrait.image.open("rb") as file:
        assert picture == file.read()
    assert len(names) == 4
    assert len(face_pipeline().detect([decode(cut)])[0].faces) >= 1
    row = PortraitEmbedding.objects.get(identity=whole.hopper)
    (vector,) = subject["portraits"][0]["vectors"]
    data = np.frombuffer(base64.b64decode(vector["float32_le_base64"]), "<f4")
    np.testing.assert_array_equal(data, np.asarray(row.vector, dtype=np.float32))
    assert any(change["field"] == "name" for row in subject["journal"] for change in row["changes"])
    (alert,) = subject["alerts"]
    assert alert["camera"] == whole.camera.name


def test_nobody_else_is_in_it(admin: APIClient, whole: Whole) -> None:
    with zipfile.ZipFile(io.BytesIO(download(admin, export(admin, whole)))) as archive:
        text = archive.read("subject.json").decode()
        pictures = {name: archive.read(name) for name in archive.namelist() if name.endswith(".jpg")}
    for secret in (OTHER_NAME, "col-1", str(whole.collins.pk), str(whole.other_sighting.pk), "tester"):
        assert secret not in text
    own = PortraitEmbedding.objects.get(identity=whole.collins).vector
    assert base64.b64encode(np.asarray(own, dtype="<f4").tobytes()).decode() not in text
    other = seen.faces("collins")[0].embedding.vector
    for name, data in pictures.items():
        for face in face_pipeline().analyse([decode(data)])[0].faces:
            assert np.linalg.norm(face.embedding.vector - other) > 0.6, name


def test_every_table_of_persons_has_a_section() -> None:
    for label, kept in TABLES.items():
        if kept.rows is not None:
            section = kept.exported.partition(":")[0]
            assert section in SECTIONS or section == "of others too", label


def test_downloads_are_logged_and_end_after_a_day(admin: APIClient, whole: Whole) -> None:
    told = export(admin, whole)
    download(admin, told)
    download(admin, told)
    actions = AuditEntry.objects.filter(collection_id=whole.collection.pk).order_by("-id")
    assert list(actions.values_list("action", flat=True)[:3]) == ["download", "download", "export_subject"]
    assert admin.get(f"/api/v1/subject-exports/{told['id']}").json()["downloads"] == 2
    row = SubjectExport.objects.get()
    name = str(row.file.name)
    assert row.expires_at > timezone.now() + timedelta(hours=23)
    SubjectExport.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert admin.get(told["url"]).status_code == 410
    assert remove_expired() == 1
    assert not default_storage.exists(name)
    assert admin.get(told["url"]).status_code == 404
    assert remove_expired() == 0


def test_a_zip_that_is_not_made_yet(admin: APIClient, whole: Whole) -> None:
    told = admin.post(f"/api/v1/identities/{whole.hopper.pk}/export").json()
    assert told["ready"] is False
    answer = admin.get(told["url"])
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "not_ready")


def test_another_collections_key_gets_no_zip(
    admin: APIClient, make_client: MakeClient, whole: Whole, other_collection: Collection
) -> None:
    told = export(admin, whole)
    for client in (make_client(Scope.ADMIN, [other_collection]), make_client(Scope.ENROL, [whole.collection])):
        assert client.get(told["url"]).status_code in {403, 404}
        results = client.get("/api/v1/subject-exports").json().get("results", [])
        assert results == []


def test_a_picture_that_is_lost_is_told(admin: APIClient, whole: Whole) -> None:
    default_storage.delete(whole.portrait.image.name)
    with zipfile.ZipFile(io.BytesIO(download(admin, export(admin, whole)))) as archive:
        missing = json.loads(archive.read("subject.json"))["pictures_missing"]
    assert missing == [f"portraits/{whole.portrait.pk}.jpg"]


def test_the_command(whole: Whole, tmp_path: Path) -> None:
    out = tmp_path / "subject.zip"
    call_command("export_subject", str(whole.part.pk), "--out", str(out))
    assert out.stat().st_mode & 0o777 == 0o600
    with zipfile.ZipFile(out) as archive:
        assert NAME in archive.read("subject.json").decode()
    with pytest.raises(CommandError, match="exists already"):
        call_command("export_subject", str(whole.part.pk), "--out", str(out))
