"""What is given to the broker again, and what is not; and what is cleared away."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.utils import timezone

from portrait.jobs import services, tasks, uploads
from portrait.jobs.models import Job, JobItem
from tests.portrait.jobs.conftest import QUEUE, Broker, Handler, files, uploads_of

pytestmark = pytest.mark.django_db(transaction=True)
MakeJob = Callable[..., Job]


@pytest.fixture
def waiting_long(make_job: MakeJob, broker: Broker) -> Job:
    """Ten items, given to the broker long ago."""
    job = make_job(10)
    tasks.enqueue_job(job)
    age()
    assert len(broker) == 10
    return job


def age() -> None:
    JobItem.objects.update(enqueued_at=timezone.now() - timedelta(hours=1))


def test_a_long_queue_is_not_made_longer(waiting_long: Job, broker: Broker) -> None:
    for _ in range(3):
        tasks.sweep()
    assert len(broker) == 10


def test_only_what_the_broker_lost_is_given_again_and_once(waiting_long: Job, broker: Broker) -> None:
    broker.lose(4)
    for _ in range(3):
        tasks.sweep()
    assert len(broker) == 10


def test_an_emptied_broker_is_filled_once(waiting_long: Job, broker: Broker) -> None:
    broker.lose(10)
    for _ in range(3):
        tasks.sweep()
    assert len(broker) == 10


def test_what_was_given_a_moment_ago_is_not_given_again(waiting_long: Job, broker: Broker) -> None:
    JobItem.objects.update(enqueued_at=timezone.now())
    broker.lose(10)
    tasks.sweep()
    assert len(broker) == 0


def test_a_vanished_workers_items_are_given_again_once(waiting_long: Job, broker: Broker) -> None:
    for item in waiting_long.items.all()[:3]:
        services.claim(item_id=item.id)
    broker.lose(3)
    tasks.sweep()
    assert len(broker) == 7, "their worker has its time"
    JobItem.objects.filter(state="running").update(leased_until="2000-01-01T00:00Z")
    for _ in range(3):
        tasks.sweep()
    assert len(broker) == 10


def test_items_whose_workers_vanish_again_and_again_go_one_by_one(waiting_long: Job, broker: Broker) -> None:
    """So that the one which kills workers takes no other along."""
    broker.lose(10)
    waiting_long.items.update(state="running", crashes=1, leased_until="2000-01-01T00:00Z")
    tasks.sweep()
    assert len(broker) == 1
    tasks.sweep()
    assert len(broker) == 2


def test_a_paused_item_is_given_when_its_pause_is_over(make_job: MakeJob, broker: Broker, handler: Handler) -> None:
    item = make_job().items.get()
    claimed = services.claim(item_id=item.id)
    assert claimed is not None
    services.give_back(item=claimed, pause_s=60, failed=False)
    age()
    tasks.sweep()
    assert len(broker) == 0
    JobItem.objects.update(paused_until=timezone.now())
    for _ in range(3):
        tasks.sweep()
    assert len(broker) == 1
    tasks.run_item(item.id)
    assert handler.done == [0]


def test_a_job_whose_end_nobody_noted_is_closed(make_job: MakeJob, broker: Broker) -> None:
    """Its worker died between the commit and the note."""
    ended, other = make_job(2), make_job(2)
    ended.items.update(state="done")
    other.items.filter(index=0).update(state="done")
    tasks.sweep()
    ended.refresh_from_db()
    other.refresh_from_db()
    assert ended.finished_at is not None
    assert other.finished_at is None


def test_the_length_of_a_queue_that_does_not_exist(broker: Broker) -> None:
    assert tasks.queue_length(QUEUE) == tasks.queue_length("no-such-queue") == 0


def test_old_jobs_go_with_the_uploads_that_were_kept(make_job: MakeJob) -> None:
    old, young = make_job(2), make_job(2)
    now = timezone.now()
    Job.objects.filter(id=old.id).update(finished_at=now - tasks.KEEP_JOBS - timedelta(minutes=1))
    Job.objects.filter(id=young.id).update(finished_at=now - tasks.KEEP_JOBS + timedelta(minutes=1))
    tasks.purge()
    assert list(Job.objects.all()) == [young]
    assert uploads_of(old) == []
    assert len(uploads_of(young)) == 2


def test_uploads_of_past_days_that_no_item_names_are_removed(make_job: MakeJob) -> None:
    past = (timezone.now() - timedelta(days=2)).strftime("uploads/%Y/%m/%d")
    today = timezone.now().strftime("uploads/%Y/%m/%d")
    older = "uploads/2001/02/03"
    for folder in (past, today, older):
        default_storage.save(f"{folder}/orphan", ContentFile(b"x"))
    item = make_job().items.get()
    kept = default_storage.save(f"{past}/{item.job_id}-0", ContentFile(b"x"))
    JobItem.objects.filter(id=item.id).update(upload=kept)
    uploads.remove_orphaned()
    found = files("uploads")
    assert [name for name in found if name.startswith((past, older))] == [kept]
    assert f"{today}/orphan" in found, "its row may be about to be written"
    assert default_storage.exists(past)
    assert not default_storage.exists(older)
    default_storage.delete(f"{today}/orphan")
    default_storage.delete(kept)
