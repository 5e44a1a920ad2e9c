"""The ledger's promises: one worker a frame, crashed ones alone, pauses, ends, retries, and an emptied broker."""

import threading
import uuid
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from portrait.cameras import tasks
from portrait.cameras.models import Frame, FrameState, frame_storage
from portrait.cameras.services import ledger
from portrait.cameras.services.reopen import reopen
from tests.portrait.cameras.conftest import Accept, Broker

pytestmark = pytest.mark.django_db(transaction=True)


def ids(frames: list[Frame]) -> list[int]:
    return [frame.pk for frame in frames]


def long_ago(**fields: object) -> None:
    """Whatever was told to the broker, or leased, was so an hour ago."""
    Frame.objects.update(enqueued_at=timezone.now() - timedelta(hours=1), **fields)


def vanish() -> None:
    """The workers that have frames die: nothing is said, and their leases run out."""
    Frame.objects.exclude(lease=None).update(
        leased_until=timezone.now() - timedelta(seconds=1), enqueued_at=timezone.now() - timedelta(hours=1)
    )


def test_each_frame_goes_to_one_worker(accept: Accept) -> None:
    frames = ids(accept(40))
    claims: list[list[int]] = []
    begin = threading.Barrier(8)

    def work() -> None:
        begin.wait()
        while claim := ledger.claim(frame_ids=frames, limit=3):
            claims.append(claim.ids)
        connection.close()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    taken = [frame for claim in claims for frame in claim]
    assert sorted(taken) == sorted(frames)
    assert len(claims) < len(frames), "several at a time"


def test_a_claim_takes_others_along_while_there_is_room(accept: Accept) -> None:
    frames = ids(accept(5))
    claim = ledger.claim(frame_ids=[frames[3]], limit=3)
    assert claim is not None
    assert claim.ids == [frames[0], frames[1], frames[3]]
    assert ledger.claim(frame_ids=[frames[3]], limit=3) is None
    assert set(Frame.objects.filter(lease=claim.lease).values_list("attempts", flat=True)) == {1}


def test_nothing_to_claim(accept: Accept) -> None:
    frame = accept()[0]
    Frame.objects.update(state=FrameState.DONE)
    assert ledger.claim(frame_ids=[frame.pk], limit=8) is None
    assert ledger.claim(frame_ids=[], limit=8) is None


def test_a_frame_whose_worker_vanished_is_taken_alone(accept: Accept) -> None:
    frames = ids(accept(4))
    assert ledger.claim(frame_ids=frames[:1], limit=1)
    vanish()
    again = ledger.claim(frame_ids=frames[:1], limit=8)
    assert again is not None
    assert again.ids == frames[:1]
    assert (again.frames[0].crashes, again.frames[0].attempts) == (1, 2)
    others = ledger.claim(frame_ids=frames, limit=8)
    assert others is not None
    assert others.ids == frames[1:]


def test_several_that_vanished_come_back_one_at_a_time(accept: Accept) -> None:
    frames = ids(accept(3))
    assert ledger.claim(frame_ids=frames, limit=8)
    vanish()
    claims = [ledger.claim(frame_ids=frames, limit=8) for _ in range(3)]
    assert [claim.ids for claim in claims if claim] == [[frame] for frame in frames]


def test_a_worker_that_comes_back_too_late_changes_nothing(accept: Accept) -> None:
    frame = accept()[0]
    late = ledger.claim(frame_ids=[frame.pk], limit=1)
    vanish()
    now = ledger.claim(frame_ids=[frame.pk], limit=1)
    assert late is not None
    assert now is not None
    ledger.finish(lease=late.lease, frame_ids=late.ids)
    ledger.fail(lease=late.lease, frame_ids=late.ids, code="late", message="late")
    ledger.give_back(lease=late.lease, frame_ids=late.ids, pause_s=5)
    frame.refresh_from_db()
    assert (frame.state, frame.lease, frame.error_code) == (FrameState.WAITING, now.lease, "")
    ledger.finish(lease=now.lease, frame_ids=now.ids)
    frame.refresh_from_db()
    assert (frame.state, frame.lease) == (FrameState.DONE, None)
    assert frame.finished_at is not None


def test_a_frame_that_was_given_back_rests_until_its_pause_is_over(accept: Accept, broker: Broker) -> None:
    frame = accept()[0]
    claim = ledger.claim(frame_ids=[frame.pk], limit=1)
    assert claim is not None
    ledger.give_back(lease=claim.lease, frame_ids=claim.ids, pause_s=600, failed=True)
    assert ledger.claim(frame_ids=[frame.pk], limit=1) is None
    broker.empty()
    tasks.sweep()
    assert len(broker) == 0
    Frame.objects.update(paused_until=timezone.now())
    tasks.sweep()
    tasks.sweep()
    assert len(broker) == 1
    again = ledger.claim(frame_ids=[frame.pk], limit=1)
    assert again is not None
    assert (again.frames[0].failures, again.frames[0].attempts, again.frames[0].crashes) == (1, 2, 0)


def test_a_poison_frame_ends_and_its_neighbours_go_on(accept: Accept) -> None:
    poison, *others = ids(accept(4))
    for _ in range(3):
        claim = ledger.claim(frame_ids=[poison], limit=8)
        assert claim is not None
        vanish()
    claim = ledger.claim(frame_ids=[poison], limit=8)
    assert claim is not None
    assert claim.frames[0].crashes == 3
    ledger.fail(lease=claim.lease, frame_ids=[poison], code="worker_lost", message="three workers vanished with it")
    while claim := ledger.claim(frame_ids=others, limit=8):
        ledger.finish(lease=claim.lease, frame_ids=claim.ids)
    states = dict(Frame.objects.values_list("id", "state"))
    assert states == {poison: FrameState.FAILED, **dict.fromkeys(others, FrameState.DONE)}
    assert ledger.claim(frame_ids=[poison], limit=8) is None


def test_frames_that_kill_workers_are_told_one_at_a_time(accept: Accept, broker: Broker) -> None:
    accept(3)
    long_ago(lease=uuid.uuid4(), leased_until=timezone.now() - timedelta(minutes=5), crashes=2)
    broker.empty()
    tasks.sweep()
    assert len(broker) == 1


def test_retry_opens_what_failed_and_nothing_else(accept: Accept, broker: Broker) -> None:
    failed, gone, done, waiting = accept(4)
    Frame.objects.filter(pk__in=[failed.pk, gone.pk]).update(
        state=FrameState.FAILED,
        error_code="x",
        error_message="y",
        finished_at=timezone.now(),
        attempts=5,
        crashes=3,
        failures=4,
    )
    Frame.objects.filter(pk=gone.pk).update(picture="")
    Frame.objects.filter(pk=done.pk).update(state=FrameState.DONE)
    broker.empty()
    outcome = reopen(frames=Frame.objects.all())
    assert (outcome.waiting, outcome.without_picture) == (1, 1)
    assert len(broker) == 1
    failed.refresh_from_db()
    assert (failed.state, failed.error_code, failed.attempts, failed.crashes, failed.failures) == (
        FrameState.WAITING,
        "",
        0,
        0,
        0,
    )
    assert failed.finished_at is None
    assert dict(Frame.objects.values_list("id", "state")) == {
        failed.pk: "waiting",
        gone.pk: "failed",
        done.pk: "done",
        waiting.pk: "waiting",
    }


def test_retry_of_many_goes_by_steps(accept: Accept, broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("portrait.cameras.services.reopen.AT_ONCE", 3)
    accept(10)
    Frame.objects.update(state=FrameState.FAILED, error_code="x")
    assert reopen(frames=Frame.objects.filter(error_code="x")).waiting == 10
    assert not Frame.objects.exclude(state=FrameState.WAITING).exists()


def test_an_emptied_redis_loses_nothing(accept: Accept, broker: Broker) -> None:
    frames = ids(accept(20))
    broker.empty()
    tasks.sweep()
    assert len(broker) == 0, "told a moment ago: the broker may be about to hand it out"
    long_ago()
    for _ in range(4):
        tasks.sweep()
        assert broker.frames() == frames, "all of them, and each once"


def test_a_full_queue_is_not_filled_twice(accept: Accept, broker: Broker) -> None:
    for _ in range(20):
        accept()
    long_ago()
    before = len(broker)
    tasks.sweep()
    assert len(broker) == before == 20


def test_expiry_takes_pictures_of_ended_frames_only(accept: Accept) -> None:
    done, waiting = accept(2)
    Frame.objects.filter(pk=done.pk).update(state=FrameState.DONE)
    frames = list(Frame.objects.all())
    names = {frame.pk: str(frame.picture.name) for frame in frames}
    ledger.expire(frames=frames, code="retention", message="older than 168 h")
    states = {frame.pk: (frame.state, bool(frame.picture)) for frame in Frame.objects.all()}
    assert states == {done.pk: ("expired", False), waiting.pk: ("waiting", True)}
    assert not frame_storage().exists(names[done.pk])
    assert frame_storage().exists(names[waiting.pk])


def test_an_expired_frame_still_says_why_it_had_failed(accept: Accept) -> None:
    done, failed = accept(2)
    Frame.objects.filter(pk=done.pk).update(state=FrameState.DONE)
    Frame.objects.filter(pk=failed.pk).update(
        state=FrameState.FAILED, error_code="corrupt_image", error_message="The picture ends too early."
    )
    ledger.expire(frames=list(Frame.objects.all()), code="expired", message="Kept for 168 hours.")
    told = dict(Frame.objects.values_list("pk", "error_message"))
    assert told[done.pk] == "Kept for 168 hours."
    before = "it had failed before: corrupt_image: The picture ends too early."
    assert told[failed.pk] == f"Kept for 168 hours; {before}"
    assert set(Frame.objects.values_list("error_code", flat=True)) == {"expired"}


def test_sweep_looks_for_abandoned_frames_once(accept: Accept, broker: Broker) -> None:
    with CaptureQueriesContext(connection) as queries:
        tasks.sweep()
    found = [
        sql for sql in (query["sql"] for query in queries) if '"leased_until" <' in sql and "FOR UPDATE" not in sql
    ]
    assert len(found) == 1
