"""What becomes of an item: done, waiting again, failed; and who is to blame."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.db import OperationalError, connection
from django.utils import timezone
from rest_framework.test import APIClient

from inference.errors import CorruptImageError, ModelNotInstalledError, ServerUnavailableError
from portrait.core.errors import ConflictError, NoFaceError
from portrait.core.files import write_file
from portrait.gallery.models import Collection, Portrait
from portrait.jobs import services, tasks
from portrait.jobs.models import Job, JobItem
from tests.portrait.jobs.conftest import Broker, Handler, uploads_of

pytestmark = pytest.mark.django_db(transaction=True)
MakeJob = Callable[..., Job]


def expire_leases() -> None:
    JobItem.objects.update(leased_until="2000-01-01T00:00Z", enqueued_at="2000-01-01T00:00Z")


def end_pauses() -> None:
    """As `sweep` does it for items whose pause is over."""
    JobItem.objects.update(paused_until=None)


def raising(error: BaseException) -> Callable[[JobItem], Any]:
    def work(item: JobItem) -> Any:
        raise error

    return work


def test_a_done_item_has_its_result_and_its_upload_is_gone(make_job: MakeJob, handler: Handler) -> None:
    job = make_job(2)
    assert len(uploads_of(job)) == 2
    for item in job.items.all():
        tasks.run_item(item.id)
        tasks.run_item(item.id)
    job.refresh_from_db()
    assert [(item.state, item.result) for item in job.items.all()] == [("done", {"index": n}) for n in range(2)]
    assert handler.done == [0, 1]
    assert job.finished_at is not None
    assert uploads_of(job) == []


def test_an_item_that_kills_its_worker_ends_after_three_of_them(make_job: MakeJob, handler: Handler) -> None:
    job = make_job()
    item = job.items.get()
    handler.work = raising(SystemExit())  # goes through `run_item` like a kill: nothing is written any more
    for vanished in range(1, tasks.MAX_CRASHES + 1):
        with pytest.raises(SystemExit):
            tasks.run_item(item.id)
        tasks.run_item(item.id)
        item.refresh_from_db()
        assert (item.state, item.crashes, item.attempts) == ("running", vanished - 1, vanished)
        expire_leases()
    tasks.run_item(item.id)
    item.refresh_from_db()
    assert (item.state, item.error_code, item.crashes, item.failures) == ("failed", "worker_lost", 3, 0)
    assert len(uploads_of(job)) == 1, "the picture is not known to be at fault, and can be retried"
    job.refresh_from_db()
    assert job.finished_at is not None


def test_an_unexpected_failure_ends_after_several_tries(make_job: MakeJob, handler: Handler) -> None:
    job = make_job()
    item = job.items.get()
    handler.work = raising(ZeroDivisionError())
    for _ in range(20):
        tasks.run_item(item.id)
        end_pauses()
    item.refresh_from_db()
    assert (item.state, item.error_code, item.failures) == ("failed", "internal_error", tasks.MAX_FAILURES)
    assert item.attempts == tasks.MAX_FAILURES
    assert "ZeroDivisionError" in item.error_message
    assert len(uploads_of(job)) == 1


def test_a_kind_that_nobody_does_fails_in_the_same_way(make_job: MakeJob) -> None:
    item = make_job(kind="no-such-kind").items.get()
    for _ in range(20):
        tasks.run_item(item.id)
        end_pauses()
    item.refresh_from_db()
    assert (item.state, item.error_code) == ("failed", "internal_error")


@pytest.mark.parametrize("error", [ServerUnavailableError("no Triton"), OperationalError("no PostgreSQL")])
def test_an_outage_is_waited_for_however_many_tries_it_takes(
    make_job: MakeJob, handler: Handler, error: Exception
) -> None:
    job = make_job()
    item = job.items.get()
    handler.work = raising(error)
    for _ in range(40):
        tasks.run_item(item.id)
        item.refresh_from_db()
        assert item.state == "waiting"
        assert item.paused_until is not None
        tasks.run_item(item.id)  # a second delivery, while it pauses
        end_pauses()
    item.refresh_from_db()
    assert (item.attempts, item.failures, item.crashes) == (40, 0, 0)
    handler.work = lambda item: None
    tasks.run_item(item.id)
    item.refresh_from_db()
    assert item.state == "done"


def test_pauses_grow_to_half_a_minute() -> None:
    pauses = [tasks.pause_s(tries) for tries in range(1, 3000)]
    assert pauses[:6] == [2, 4, 8, 16, 30, 30]
    assert set(pauses[6:]) == {30}


def test_an_outage_of_a_day_ends_the_item_and_a_retry_gives_it_another_day(
    make_job: MakeJob, handler: Handler, broker: Broker, enroller: APIClient
) -> None:
    job = make_job(2)
    first, second = job.items.all()
    tasks.run_item(second.id)
    JobItem.objects.update(accepted_at=timezone.now() - tasks.GIVE_UP_AFTER - timedelta(seconds=1))
    handler.work = raising(ServerUnavailableError("no Triton"))
    tasks.run_item(first.id)
    found = enroller.get(f"/api/v1/jobs/{job.id}").json()
    assert (found["state"], found["progress"]["failed"], found["retryable"]) == ("done", 1, 1)
    assert found["finished_at"] is not None
    assert found["items"][0]["error"]["code"] == "inference_unavailable"

    answer = enroller.post(f"/api/v1/jobs/{job.id}/retry")
    assert answer.status_code == 200, answer.content
    assert (answer.json()["state"], answer.json()["retryable"], answer.json()["finished_at"]) == ("running", 0, None)
    assert len(broker) == 1
    tasks.run_item(first.id)
    first.refresh_from_db()
    assert first.state == "waiting", "it has a day again"
    end_pauses()
    handler.work = lambda item: None
    tasks.run_item(first.id)
    assert enroller.get(f"/api/v1/jobs/{job.id}").json()["progress"]["done"] == 2
    assert handler.done == [1, 0]
    assert uploads_of(job) == []


@pytest.mark.parametrize("error", [NoFaceError("no face", details={"faces": []}), CorruptImageError("half a picture")])
def test_a_picture_at_fault_is_not_kept(
    make_job: MakeJob, handler: Handler, enroller: APIClient, error: Exception
) -> None:
    job = make_job()
    handler.work = raising(error)
    tasks.run_item(job.items.get().id)
    item = job.items.get()
    assert (item.state, item.error_code, item.attempts) == ("failed", error.code, 1)  # type: ignore[attr-defined]
    assert uploads_of(job) == []
    answer = enroller.post(f"/api/v1/jobs/{job.id}/retry")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "conflict")


def test_a_server_that_lacks_the_model_is_not_the_pictures_fault(make_job: MakeJob, handler: Handler) -> None:
    job = make_job()
    handler.work = raising(ModelNotInstalledError("centerface"))
    tasks.run_item(job.items.get().id)
    assert job.items.get().error_code == "model_not_installed"
    assert len(uploads_of(job)) == 1


def test_a_database_that_is_away_at_the_claim_leaves_the_item_to_the_sweep(
    make_job: MakeJob, handler: Handler, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    job = make_job()
    with monkeypatch.context() as patched:
        patched.setitem(connection.settings_dict, "PORT", "1")
        patched.setitem(connection.settings_dict["OPTIONS"], "pool", False)
        connection.close()
        tasks.run_item(job.items.model(id=1).id)
        connection.close()
    assert "the database does not answer" in caplog.text
    item = job.items.get()
    assert (item.state, item.attempts) == ("waiting", 0)


def test_a_worker_that_lost_its_lease_stores_nothing(make_job: MakeJob, handler: Handler) -> None:
    """It was too slow, and another one took over: the other one's result counts."""
    job = make_job()
    slow = services.claim(item_id=job.items.get().id)
    assert slow is not None
    assert services.claim(item_id=slow.id) is None
    expire_leases()
    other = services.claim(item_id=slow.id)
    assert other is not None
    with pytest.raises(services.LeaseLostError):
        services.process(item=slow)
    with pytest.raises(services.LeaseLostError):
        services.fail(item=slow, code="x", message="x")
    with pytest.raises(services.LeaseLostError):
        services.give_back(item=slow, pause_s=0, failed=True)
    item = job.items.get()
    assert (item.state, item.result, item.lease, item.failures) == ("running", None, other.lease, 0)
    assert len(uploads_of(job)) == 1


def test_files_of_an_item_that_cannot_be_committed_go_again(
    make_job: MakeJob, handler: Handler, monkeypatch: pytest.MonkeyPatch
) -> None:
    portrait = Portrait()
    written = []

    def store(item: JobItem, prepared: Any) -> dict[str, Any]:
        portrait.image.field.generate_filename = lambda instance, name: f"portraits/test/{item.job_id}.jpg"
        write_file(portrait.image, "x.jpg", b"x")
        written.append(str(portrait.image.name))
        assert default_storage.exists(written[0])
        expire_leases()
        services.claim(item_id=item.id)  # another worker takes over in between
        return {}

    monkeypatch.setattr(Portrait.image.field, "generate_filename", Portrait.image.field.generate_filename)
    monkeypatch.setattr(handler, "store", store)
    job = make_job()
    tasks.run_item(job.items.get().id)
    assert len(written) == 1
    assert not default_storage.exists(written[0])
    assert job.items.get().state == "running"
    assert len(uploads_of(job)) == 1


def test_a_job_that_cannot_be_stored_leaves_no_upload(make_job: MakeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    save, saved = JobItem.save, []

    def save_two(item: JobItem, **values: Any) -> None:
        assert default_storage.exists(str(item.upload.name))
        saved.append(item)
        if len(saved) == 3:
            raise OperationalError("the disk is full")
        save(item, **values)

    monkeypatch.setattr(JobItem, "save", save_two)
    with pytest.raises(OperationalError):
        make_job(4)
    assert len(saved) == 3
    assert not Job.objects.exists()
    assert uploads_of(saved[0].job) == []


def test_a_collection_may_have_only_so_much_work_waiting(
    make_job: MakeJob, other_collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "MAX_OPEN_ITEMS", 3)
    job = make_job(2)
    with pytest.raises(services.QueueFullError) as refused:
        make_job(2)
    assert (refused.value.code, refused.value.status) == ("queue_full", 429)
    make_job(2, collection_id=other_collection.id)
    tasks.run_item(job.items.all()[0].id)
    make_job(2)
    assert JobItem.objects.exclude(state="done").count() == 5


def test_a_retry_keeps_to_the_limit_too(make_job: MakeJob, handler: Handler, monkeypatch: pytest.MonkeyPatch) -> None:
    handler.work = raising(ModelNotInstalledError("centerface"))
    job = make_job()
    tasks.run_item(job.items.get().id)
    make_job(3)
    monkeypatch.setattr(services, "MAX_OPEN_ITEMS", 3)
    with pytest.raises(services.QueueFullError):
        services.retry(job=job)
    assert job.items.get().state == "failed"


def test_an_item_that_was_cancelled_is_not_retried(make_job: MakeJob) -> None:
    job = make_job(2)
    services.cancel(job=job)
    assert uploads_of(job) == []
    with pytest.raises(ConflictError):
        services.retry(job=job)
