"""Whoever is erased leaves nothing in the queue: neither a picture nor a report."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, transaction
from rest_framework.test import APIClient

from portrait.demo.photos import COLLINS, built_in
from portrait.gallery.models import Collection, Identity, Portrait
from portrait.gallery.services.identities import delete_identity
from portrait.gallery.tasks import EnrolHandler, start_enrolment
from portrait.jobs import removal, tasks
from portrait.jobs.models import Job, JobItem
from tests.live.conftest import wait_for
from tests.portrait.jobs.conftest import Broker, Handler, files, uploads_of

pytestmark = pytest.mark.django_db(transaction=True)
MakeJob = Callable[..., Job]


@pytest.fixture
def identity(collection: Collection) -> Identity:
    return Identity.objects.create(collection=collection, name=COLLINS)


def enrol(identity: Identity) -> Job:
    photo = built_in().people[COLLINS][0].data
    return start_enrolment(identity=identity, photos=[photo], face="", force=False)


def test_while_a_picture_waits(admin: APIClient, identity: Identity, broker: Broker) -> None:
    job = enrol(identity)
    other = enrol(Identity.objects.create(collection=identity.collection, name="Other"))
    (item,) = job.items.all()
    assert len(uploads_of(job)) == 1
    assert admin.delete(f"/api/v1/identities/{identity.id}?erase=true").status_code == 204
    assert uploads_of(job) == []
    assert not JobItem.objects.filter(job_id=job.id).exists()
    assert admin.get(f"/api/v1/jobs/{job.id}").status_code == 404
    tasks.run_item(item.id)
    assert not Portrait.objects.exists()
    assert len(uploads_of(other)) == 1


def test_a_collection_with_all_its_jobs(admin: APIClient, identity: Identity, broker: Broker) -> None:
    job = enrol(identity)
    assert admin.delete(f"/api/v1/collections/{identity.collection.name}").status_code == 204
    assert uploads_of(job) == []
    assert not Job.objects.exists()


def test_an_erasure_that_fails_leaves_everything(make_job: MakeJob) -> None:
    job = make_job(2)
    with transaction.atomic():
        removal.erase_jobs(collection_id=job.collection_id)
        assert not Job.objects.exists()
        transaction.set_rollback(True)
    assert job.items.count() == 2
    assert len(uploads_of(job)) == 2


def test_before_a_worker_stores_what_it_found(
    identity: Identity, broker: Broker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    job = enrol(identity)
    prepare = EnrolHandler.prepare

    def prepare_and_erase(handler: EnrolHandler, item: JobItem) -> Any:
        prepared = prepare(handler, item)
        delete_identity(identity=identity)
        return prepared

    monkeypatch.setattr(EnrolHandler, "prepare", prepare_and_erase)
    before = files("portraits")
    tasks.run_item(job.items.get().id)
    assert not Job.objects.exists()
    assert not Portrait.objects.exists()
    assert files("portraits") == before
    assert uploads_of(job) == []
    assert "ERROR" not in {record.levelname for record in caplog.records}


def test_while_a_worker_stores_what_it_found(
    identity: Identity, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The erasure waits for the worker's transaction; then what it stored is erased too. Neither fails."""
    job = enrol(identity)
    before = files("portraits")
    store, erased = EnrolHandler.store, list[BaseException | None]()

    def erase() -> None:
        try:
            delete_identity(identity=identity)
            erased.append(None)
        except BaseException as error:
            erased.append(error)
        finally:
            connection.close()

    eraser = threading.Thread(target=erase)

    def store_and_wait(handler: EnrolHandler, item: JobItem, prepared: Any) -> dict[str, Any]:
        result = store(handler, item, prepared)
        eraser.start()
        wait_for(_somebody_waits_for_a_lock, "the erasure's wait")
        return result

    monkeypatch.setattr(EnrolHandler, "store", store_and_wait)
    item = job.items.get()
    tasks.run_item(item.id)
    eraser.join()
    assert erased == [None]
    assert not Identity.objects.filter(id=identity.id).exists()
    assert not Portrait.objects.exists()
    assert not Job.objects.exists()
    assert files("portraits") == before
    assert uploads_of(job) == []


def _somebody_waits_for_a_lock() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return bool(cursor.fetchone()[0])


def test_a_report_names_nobody_else(identity: Identity, broker: Broker) -> None:
    """The report about one person outlives the erasure of another who looks alike."""
    alike = Identity.objects.create(collection=identity.collection, name="A telling name", external_id="telling-id")
    tasks.run_item(enrol(alike).items.get().id)
    job = enrol(identity)
    tasks.run_item(job.items.get().id)
    (warning,) = job.items.get().result["warnings"]
    assert (warning["code"], warning["identity"]) == ("possible_duplicate", {"id": str(alike.id)})
    assert "telling" not in str(job.items.get().result)


def test_one_must_say_whose_jobs(handler: Handler) -> None:
    with pytest.raises(ValueError, match="subject"):
        removal.erase_jobs()


@pytest.mark.django_db
def test_a_deleted_portrait_leaves_its_report_empty(collection: Collection) -> None:
    identity = Identity.objects.create(collection=collection, name="A")
    portrait = Portrait.objects.create(
        identity=identity,
        image="none",
        thumbnail="none",
        width=1,
        height=1,
        box=[1, 2, 3, 4],
        detector="test",
        score=1,
        quality={},
        sha256="0" * 64,
    )
    job = Job.objects.create(kind="enrol", queue="ingest", collection_id=collection.id, subject_id=identity.id)
    item = JobItem.objects.create(job=job, index=0, state="done", result={"portrait": {"id": str(portrait.id)}})
    portrait.delete()
    item.refresh_from_db()
    assert item.result == {"status": "erased"}
