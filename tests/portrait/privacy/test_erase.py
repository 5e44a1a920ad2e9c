"""Whoever is erased leaves nothing behind, and a proof says so."""

import json
import threading
from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.core.files.storage import default_storage
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from rest_framework.test import APIClient

from portrait.audit.models import AuditEntry
from portrait.audit.services import AuditUnavailableError, system
from portrait.cameras.models import Frame
from portrait.core import files
from portrait.core.errors import ConflictError
from portrait.core.models import PendingDeletion, Scope
from portrait.core.services import create_api_key
from portrait.gallery.models import Change, Collection, Identity, Portrait, PortraitEmbedding
from portrait.gallery.services import journal
from portrait.gallery.services.enrolment import enrol_person
from portrait.gallery.services.identities import delete_identity
from portrait.gallery.tasks import start_enrolment
from portrait.jobs import tasks as job_tasks
from portrait.privacy import inventory, signing
from portrait.privacy.models import ErasureProof, SubjectExport
from portrait.privacy.services import erasing, retention
from portrait.privacy.services.erasing import erase
from portrait.sightings.models import Sighting, Watch
from portrait.sightings.services.pictures import sighting_picture
from portrait.transfer.services.imports import start_import
from tests.api_clients import MakeClient
from tests.portrait.privacy.whole_person import ACTOR, NAME, Whole, remains, stored_files
from tests.portrait.sightings import seen
from tests.portrait.transfer.conftest import TESTER, drive, make_zip

pytestmark = pytest.mark.django_db(transaction=True)
BY = system("tester")


@pytest.fixture
def whole(collection: Collection) -> Whole:
    return Whole(collection)


def test_what_the_tests_look_for_is_there_before(whole: Whole) -> None:
    found = remains(whole.needles())
    for what in whole.needles():
        assert any(each.startswith(f"{what} in") for each in found), what


def test_nothing_of_an_erased_person_is_left_in_the_database_or_the_storage(collection: Collection) -> None:
    others = set(stored_files())  # of other tests, of which only the rows are gone
    whole = Whole(collection)
    needles = whole.needles()
    mine = {path: data for path, data in stored_files().items() if path in _names(whole)}
    assert len(mine) >= 4
    proof = erase(identity=whole.hopper, principal=BY, reference="case 12")
    with connection.cursor() as cursor:
        cursor.execute("VACUUM")
    assert remains(needles) == []
    left = {path: data for path, data in stored_files().items() if path not in others}
    assert not set(mine) & set(left)
    assert not set(mine.values()) & set(left.values())
    assert inventory.counts(whole.ids) == {}
    assert proof.statement["removed_rows"]["gallery.Portrait"] == 1
    assert proof.statement["removed_rows"]["gallery.Identity"] == 2


def _names(whole: Whole) -> set[str]:
    return {name for _, name in inventory.files(whole.ids)}


def test_what_was_edited_in_the_admin_leaves_no_name_there(whole: Whole) -> None:
    needles, client = whole.needles(), Client()
    client.force_login(User.objects.create_superuser("root", password="pw"))
    watch = Watch.objects.get(identity=whole.hopper)
    for row in (whole.hopper, watch):
        address = reverse(f"admin:{row._meta.label_lower.replace('.', '_')}_change", args=[row.pk])
        form = client.get(address).context["adminform"].form
        values = {name: value for name, value in form.initial.items() if value is not None} | {"_save": "Save"}
        for name, value in values.items():
            values[name] = json.dumps(value) if isinstance(value, dict) else value
        values |= {"note": "x", "enabled": ""}
        answer = client.post(address, values)
        assert answer.status_code == 302, answer.context["adminform"].form.errors
        assert LogEntry.objects.filter(object_id=str(row.pk)).exists()
    client.post(reverse("admin:sightings_watch_delete", args=[watch.pk]), {"post": "yes"})
    assert not Watch.objects.filter(pk=watch.pk).exists()
    kind = ContentType.objects.get_for_model(Watch)
    assert {row.object_repr for row in LogEntry.objects.filter(content_type=kind)} == {f"watch {watch.pk}"}
    erase(identity=whole.hopper, principal=BY)
    assert not LogEntry.objects.filter(object_id=str(whole.hopper.pk)).exists()
    assert remains(needles) == []


def test_other_people_are_as_they_were(whole: Whole) -> None:
    before = sighting_picture(whole.other_sighting)
    erase(identity=whole.hopper, principal=BY)
    collins = Identity.objects.get(pk=whole.collins.pk)
    assert collins.portraits.count() == 1
    row = Sighting.objects.get(pk=whole.other_sighting.pk)
    assert sighting_picture(row)  # saved as a cut-out before its frame lost the picture
    assert before
    whole.other_track.refresh_from_db()
    assert (whole.other_track.candidates, whole.other_track.evidence) == ([], {"likenesses": []})
    assert not Frame.objects.get(pk=whole.alone.pk).picture


def test_the_proof_is_signed_and_names_nobody(whole: Whole, tmp_path: Path) -> None:
    names = _names(whole)
    proof = erase(identity=whole.hopper, principal=BY, reference="case 12")
    file = tmp_path / "proof.json"
    file.write_text(json.dumps(erasing.proof_json(proof)))
    out = StringIO()
    call_command("verify_proof", str(file), "--identity", str(whole.hopper.pk), stdout=out)
    assert "The signature is right" in out.getvalue()
    with pytest.raises(CommandError, match="somebody else"):
        call_command("verify_proof", str(file), "--identity", str(whole.collins.pk))
    assert set(proof.statement["removed_files"]) == {erasing._hash(name) for name in names}
    told = erasing.proof_json(proof)
    for forged in (
        told | {"statement": told["statement"] | {"reference": "case 13"}},
        told | {"statement": told["statement"] | {"removed_rows": {"gallery.Portrait": 9}}},
        told | {"signature": "AAAA"},
    ):
        file.write_text(json.dumps(forged))
        with pytest.raises(CommandError, match="not right"):
            call_command("verify_proof", str(file))
    file.write_text("{}")
    with pytest.raises(CommandError, match="no proof"):
        call_command("verify_proof", str(file))


def test_by_the_api(admin: APIClient, enroller: APIClient, whole: Whole) -> None:
    address = f"/api/v1/identities/{whole.part.pk}/erase"  # who was merged is the same person
    assert enroller.post(address, {}, format="json").status_code == 403
    assert admin.post(address, {"refrence": "x"}, format="json").status_code == 400
    answer = admin.post(address, {"reference": "case 12"}, format="json")
    assert answer.status_code == 200
    told = answer.json()
    key = admin.get("/api/v1/privacy/key").json()["key"]
    assert signing.is_signed(told["statement"], told["signature"], key)
    assert told["statement"]["reference"] == "case 12"
    assert admin.post(address, {}, format="json").status_code == 404
    (row,) = admin.get("/api/v1/erasure-proofs").json()["results"]
    assert row["statement"] == told["statement"]
    assert admin.get(f"/api/v1/erasure-proofs/{row['id']}").json()["signature"] == told["signature"]
    assert AuditEntry.objects.filter(action="erase", collection_id=whole.collection.pk).exists()


def test_a_key_of_other_cameras_or_collections_erases_nobody(
    make_client: MakeClient, whole: Whole, other_collection: Collection
) -> None:
    address = f"/api/v1/identities/{whole.hopper.pk}"
    other = make_client(Scope.ADMIN, [other_collection])
    _, key = create_api_key(name="c", scope=Scope.ADMIN, collection_ids=[whole.collection.pk], camera_ids=[])
    bound = APIClient(HTTP_AUTHORIZATION=f"Api-Key {key}")
    for what in ("erase", "export"):
        assert other.post(f"{address}/{what}", {}, format="json").status_code == 404
        assert bound.post(f"{address}/{what}", {}, format="json").status_code == 403
    assert Identity.objects.filter(pk=whole.hopper.pk).exists()


def test_the_journal_does_not_bring_anybody_back(whole: Whole) -> None:
    changes = list(Change.objects.filter(identities__overlap=whole.ids))
    assert len(changes) >= 3
    erase(identity=whole.hopper, principal=BY)
    for change in Change.objects.filter(pk__in=[each.pk for each in changes]):
        with pytest.raises(ConflictError):
            journal.undo(change=change, actor=ACTOR)
    assert not Identity.objects.filter(pk__in=whole.ids).exists()


def test_who_was_deleted_before_is_erased_too(whole: Whole) -> None:
    from portrait.gallery.services import editing

    needles = whole.needles()
    editing.delete(identity=whole.hopper, actor=ACTOR)
    erase(identity=whole.hopper, principal=BY)
    assert remains(needles) == []


def test_what_cannot_be_logged_is_not_erased(whole: Whole, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(**values: Any) -> None:
        raise AuditUnavailableError("no")

    monkeypatch.setattr(erasing, "record", fails)
    with pytest.raises(AuditUnavailableError):
        erase(identity=whole.hopper, principal=BY)
    assert whole.hopper.portraits.count() == 1


def test_one_that_was_cut_off_goes_on_and_the_proof_has_it_all(whole: Whole, monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(**values: Any) -> None:
        raise RuntimeError("the power went")

    with monkeypatch.context() as patched, pytest.raises(RuntimeError):
        patched.setattr(erasing, "delete_identity", dies)
        erase(identity=whole.hopper, principal=BY, reference="case 12")
    whole.hopper.refresh_from_db()
    assert whole.hopper.deleted_at is not None  # nobody finds them any more
    assert not PortraitEmbedding.objects.filter(identity=whole.hopper, live=True).exists()
    proof = erase(identity=whole.hopper, principal=BY)
    assert ErasureProof.objects.count() == 1
    assert (proof.reference, proof.statement["removed_rows"]["gallery.Portrait"]) == ("case 12", 1)


@pytest.mark.parametrize("again", ["asked", "retention"])
@pytest.mark.parametrize("step", ["one of two deleted", "deleted", "forgotten"])
def test_it_goes_on_wherever_it_was_cut_off(
    whole: Whole, admin: APIClient, monkeypatch: pytest.MonkeyPatch, step: str, again: str
) -> None:
    def dies(*_: Any, **__: Any) -> None:
        raise RuntimeError("the power went")

    def deletes_one(**_: Any) -> None:
        delete_identity(identity=whole.part)
        dies()

    needles = whole.needles()
    with monkeypatch.context() as patched, pytest.raises(RuntimeError):
        if step == "one of two deleted":
            patched.setattr(erasing, "delete_identity", deletes_one)
        else:
            patched.setattr(erasing, "_forget" if step == "deleted" else "_finish", dies)
        erase(identity=whole.hopper, principal=BY, reference="case 12")
    assert not Identity.objects.filter(pk=whole.part.pk).exists()
    assert Identity.objects.filter(pk=whole.hopper.pk).exists() == (step == "one of two deleted")
    if again == "asked":
        address = f"/api/v1/identities/{whole.part.pk if step == 'deleted' else whole.hopper.pk}/erase"
        assert admin.post(address, {}, format="json").status_code == 200
    else:
        retention.run()
        assert ErasureProof.objects.get().finished_at is None, "it may be under way"
        ErasureProof.objects.update(created_at=timezone.now() - timedelta(hours=1))
        assert [each.purpose for each in retention.run()] == ["erasures"]
    proof = ErasureProof.objects.get()
    assert (proof.reference, proof.statement["removed_rows"]["gallery.Identity"]) == ("case 12", 2)
    assert signing.is_signed(proof.statement, proof.signature, signing.public_key())
    assert (proof.people, proof.paths) == ([], [])
    whole.other_track.refresh_from_db()
    assert whole.other_track.candidates == []
    assert remains(needles) == []


def test_nobody_goes_on_with_an_erasure_out_of_their_reach(
    whole: Whole, make_client: MakeClient, other_collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched, pytest.raises(RuntimeError):
        patched.setattr(erasing, "_finish", lambda _: (_ for _ in ()).throw(RuntimeError))
        erase(identity=whole.hopper, principal=BY)
    other = make_client(Scope.ADMIN, [other_collection])
    assert other.post(f"/api/v1/identities/{whole.hopper.pk}/erase", {}, format="json").status_code == 404
    assert ErasureProof.objects.get().finished_at is None


def test_the_proof_tells_of_a_file_that_is_still_there(whole: Whole, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever was noted of it: the store itself is asked."""
    name = str(whole.portrait.image.name)
    real = type(default_storage._wrapped).delete  # type: ignore[attr-defined]

    def keeps(self: Any, path: str) -> None:
        if path != name:
            real(self, path)

    monkeypatch.setattr(type(default_storage._wrapped), "delete", keeps)  # type: ignore[attr-defined]
    proof = erase(identity=whole.hopper, principal=BY)
    assert not PendingDeletion.objects.exists()
    assert proof.statement["files_waiting"] == [erasing._hash(name)]
    assert erasing._hash(name) not in proof.statement["removed_files"]


def test_the_proof_tells_of_zips_that_nobody_has_read(whole: Whole) -> None:
    run = start_import(
        collection=whole.collection, file=make_zip({"x/a.jpg": b"x"}), principal=TESTER, face="", force=False
    )
    assert erase(identity=whole.hopper, principal=BY).statement["import_zips_waiting"] == 1
    drive(run)
    assert erase(identity=whole.collins, principal=BY).statement["import_zips_waiting"] == 0


def test_a_file_that_cannot_be_deleted_is_deleted_later(whole: Whole, monkeypatch: pytest.MonkeyPatch) -> None:
    name = str(whole.portrait.image.name)
    needles, real = whole.needles(), type(default_storage._wrapped).delete  # type: ignore[attr-defined]

    def fails(self: Any, path: str) -> None:
        if path == name:
            raise PermissionError("read-only file system")
        real(self, path)

    with monkeypatch.context() as patched:
        patched.setattr(type(default_storage._wrapped), "delete", fails)  # type: ignore[attr-defined]
        proof = erase(identity=whole.hopper, principal=BY)
        assert default_storage.exists(name)
        PendingDeletion.objects.update(next_at=timezone.now())
        assert files.retry_deletions() == (0, 1)
    assert proof.statement["files_waiting"] == [erasing._hash(name)]
    assert erasing._hash(name) not in proof.statement["removed_files"]
    (row,) = PendingDeletion.objects.all()
    assert (row.path, row.tries) == (name, 1)
    assert "read-only" in row.error
    assert row.next_at > timezone.now()
    PendingDeletion.objects.update(next_at=timezone.now() - timedelta(seconds=1))
    assert files.retry_deletions() == (1, 0)
    assert not default_storage.exists(name)
    assert remains(needles) == []


def test_while_an_enrolment_waits_in_the_queue(whole: Whole) -> None:
    needles = whole.needles()
    photo = seen.pictures()["flipped"]
    job = start_enrolment(identity=whole.hopper, photos=[photo], face="", force=True)
    (item,) = job.items.all()
    upload = str(item.upload.name)
    assert default_storage.exists(upload)
    erase(identity=whole.hopper, principal=BY)
    job_tasks.run_item(item.pk)
    assert not default_storage.exists(upload)
    assert Portrait.objects.filter(identity__collection=whole.collection).count() == 1
    assert remains(needles) == []


def test_while_somebody_enrols_at_this_very_moment(whole: Whole) -> None:
    """Whoever comes first: in the end nothing is left, or the enrolment was refused."""
    needles, problems, started = whole.needles(), list[BaseException](), threading.Event()

    def enrol() -> None:
        try:
            for picture in ("flipped", "small", "hopper"):
                started.set()
                values = {"collection": whole.collection, "name": NAME, "external_id": "hop-0815"}
                enrol_person(**values, photos=[seen.pictures()[picture]], force=True)
        except Exception as error:
            problems.append(error)
        finally:
            connection.close()

    thread = threading.Thread(target=enrol)
    thread.start()
    started.wait()
    erase(identity=whole.hopper, principal=BY)
    thread.join()
    assert inventory.counts(whole.ids) == {}
    # Somebody new of that name, whom the other request made after the erasure, is another person.
    new = Identity.objects.filter(external_id="hop-0815")
    for identity in new:
        erase(identity=identity, principal=BY)
    assert remains({name: needles[name] for name in ("name", "metadata", "external id", "id")}) == []


def test_a_waiting_export_goes_with_the_person(whole: Whole, admin: APIClient) -> None:
    answer = admin.post(f"/api/v1/identities/{whole.hopper.pk}/export")
    assert answer.status_code == 202
    for item in whole_items(answer.json()["job"]):
        job_tasks.run_item(item)
    export = SubjectExport.objects.get()
    name = str(export.file.name)
    assert default_storage.exists(name)
    erase(identity=whole.hopper, principal=BY)
    assert not default_storage.exists(name)
    assert admin.get(f"/api/v1/subject-exports/{export.pk}/file").status_code == 404


def whole_items(job_id: str) -> list[int]:
    from portrait.jobs.models import JobItem

    return list(JobItem.objects.filter(job_id=job_id).values_list("pk", flat=True))


def test_the_command(whole: Whole, tmp_path: Path) -> None:
    run: Callable[..., Any] = call_command
    with pytest.raises(CommandError, match="--yes"):
        run("erase_subject", str(whole.hopper.pk))
    with pytest.raises(CommandError, match="no such identity"):
        run("erase_subject", "nonsense", "--yes")
    file = tmp_path / "proof.json"
    run("erase_subject", str(whole.hopper.pk), "--yes", "--reference", "letter 3", "--proof", str(file))
    assert json.loads(file.read_text())["statement"]["reference"] == "letter 3"
    run("verify_proof", str(file), stdout=StringIO())
