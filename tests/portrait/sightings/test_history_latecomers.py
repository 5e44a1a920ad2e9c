"""What a change of people misses at first: workers that commit a moment later, jobs that were stopped."""

import threading
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.utils import timezone

from portrait.gallery.models import Collection, Identity, Portrait
from portrait.gallery.services import editing, identities, journal
from portrait.gallery.services.identities import default_embedding_model
from portrait.jobs import services as jobs
from portrait.jobs.models import Job, JobItem
from portrait.sightings.models import Sighting, Track
from portrait.sightings.services import history, history_plan, timeline
from tests.portrait.gallery.people import ACTOR
from tests.portrait.sightings.past import results, run_jobs, snapshot
from tests.portrait.sightings.scenes import enrol, make_camera, seen_frames, sightings_of
from tests.portrait.sightings.test_history import see, visits

PATIENCE_S = 60


@pytest.mark.django_db(transaction=True)
def test_frames_that_are_committed_a_moment_after_a_merge_follow_it(collection: Collection) -> None:
    """The worker took the camera's lock before, and knew nothing of it."""
    camera = make_camera(collection, "door")
    ada, same = enrol(collection, 0, "Ada"), enrol(collection, 1, "Ada again")
    frames = seen_frames(camera, visits((1, 0)))
    judged, merged = threading.Event(), threading.Event()

    def worker() -> None:
        with transaction.atomic():
            timeline.lock(camera.pk)
            timeline.record(camera=camera, model=default_embedding_model(), seen=frames)
            judged.set()
            assert merged.wait(PATIENCE_S)
        connection.close()

    thread = threading.Thread(target=worker)
    thread.start()
    assert judged.wait(PATIENCE_S)
    change = editing.merge(target=ada, sources=[same], actor=ACTOR)
    assert change.job_id is not None
    merged.set()
    run_jobs()
    thread.join(PATIENCE_S)
    assert [row[:2] for row in sightings_of(camera)] == [("Ada", 0.0)]
    assert Track.objects.get().identity == ada
    assert results(change) == {"moved": 1}


@pytest.mark.django_db
def test_a_merge_without_any_camera_needs_no_job(collection: Collection) -> None:
    ada, same = enrol(collection, 0, "Ada"), enrol(collection, 1, "Ada again")
    assert editing.merge(target=ada, sources=[same], actor=ACTOR).job_id is None


def _end_long_ago() -> None:
    Job.objects.update(finished_at=timezone.now() - timedelta(hours=1))


@pytest.mark.django_db
def test_a_job_that_was_cancelled_goes_on_by_itself(collection: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history_plan, "CHUNK", 1)
    camera = make_camera(collection, "door")
    ada, same = enrol(collection, 0, "Ada"), enrol(collection, 1, "Ada again")
    see(camera, (1, 0), (1, 60), (1, 120))
    before = snapshot(collection)
    change = editing.merge(target=ada, sources=[same], actor=ACTOR)
    job = Job.objects.get(pk=change.job_id)
    first = jobs.claim(item_id=job.items.get(index=0).pk)
    assert first is not None
    jobs.process(item=first)
    jobs.cancel(job=job)
    assert Track.objects.filter(identity=ada).count() == 1
    assert history.resume() == 0, "it ended only now"
    _end_long_ago()
    assert history.resume() == 1
    assert history.resume() == 0
    run_jobs()
    assert {row[0] for row in sightings_of(camera)} == {"Ada"}
    _end_long_ago()
    assert history.resume() == 0
    change.refresh_from_db()
    assert change.job_id != job.pk
    journal.undo(change=change, actor=ACTOR)
    run_jobs()
    assert snapshot(collection) == before


@pytest.mark.django_db
def test_a_job_that_was_given_up_goes_on_unless_its_change_was_undone(collection: Collection) -> None:
    camera = make_camera(collection, "door")
    ada, same = enrol(collection, 0, "Ada"), enrol(collection, 1, "Ada again")
    see(camera, (1, 0))
    change = editing.merge(target=ada, sources=[same], actor=ACTOR)
    item = jobs.claim(item_id=JobItem.objects.get(job=change.job_id).pk)
    assert item is not None
    jobs.fail(item=item, code="worker_lost", message="", keep_upload=True)
    _end_long_ago()
    undone = journal.undo(change=change, actor=ACTOR)
    assert history.resume() == 0
    journal.undo(change=undone, actor=ACTOR)
    run_jobs()
    assert {row[0] for row in sightings_of(camera)} == {"Ada"}


@pytest.mark.django_db
def test_somebody_whose_making_was_undone_does_not_stay_for_ever(collection: Collection) -> None:
    camera = make_camera(collection, "door")
    ada, wrong = enrol(collection, 0, "Ada"), enrol(collection, 1, "x")
    see(camera, (1, 0))
    editing.merge(target=ada, sources=[wrong], actor=ACTOR)
    run_jobs()
    portrait = Portrait.objects.get(sha256=f"{1:064d}")
    split = history.split(identity=ada, portraits=[portrait], sightings=Sighting.objects.all(), name="Eve", actor=ACTOR)
    run_jobs()
    undone = journal.undo(change=split, actor=ACTOR)
    jobs.cancel(job=Job.objects.get(pk=undone.job_id))
    made = Identity.objects.filter(name="Eve")
    long_ago = journal.grace_began() - timedelta(minutes=1)
    assert made.update(deleted_at=long_ago) == 1
    assert identities.purge_deleted() == 0, "what was seen of them is on its way back"
    made.update(deleted_at=long_ago - identities.LEFTOVER_WAITS)
    assert identities.purge_deleted() == 1
    assert not made.exists()
