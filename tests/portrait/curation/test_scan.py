"""A scan of a collection: what it asks, what it never asks, and that it may be done twice, at once, or in part."""

import threading
import uuid
from collections import Counter
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection, transaction
from django.db.models import Q
from django.utils import timezone

from benchmarks._clustering_faces import by_person, labelled
from portrait.curation.models import Kind, Likeness, Scan, State, Suggestion
from portrait.curation.proposals import Proposal
from portrait.curation.services import answers, scanning
from portrait.curation.services.proposing import propose
from portrait.curation.services.scanning import look_at_part
from portrait.curation.services.starting import start_scan
from portrait.curation.tasks import suggest_all
from portrait.gallery.models import Collection, EmbeddingModel, Identity, Rejection
from portrait.gallery.services import editing
from portrait.gallery.services.enrolment import enrol_person
from portrait.gallery.services.identities import delete_identity, delete_portrait
from portrait.jobs.models import ItemState, Job
from portrait.jobs.services import close_if_finished, create_job
from portrait.jobs.tasks import run_item
from portrait.sightings.models import Detection, FaceRejection
from tests.portrait.curation.crowd import ANNA, add_portrait, asked, face, ids, person, run, scan, waiting
from tests.portrait.sightings.seen import BOTH, make_camera, make_frame, pictures, see

pytestmark = pytest.mark.django_db


def test_real_faces_of_one_person_are_put_together_and_nobody_elses(collection: Collection) -> None:
    """Pieces of two faces each, of photos and what was made of them; ../shared adds people where it is there."""
    truth: dict[uuid.UUID, str] = {}
    for who, faces in by_person(labelled()).items():
        for start in range(0, len(faces) - 1, 2):
            piece = person(collection, f"{who} {start}", [each.vector for each in faces[start : start + 2]])
            truth[piece.pk] = who
    scan(collection)
    found = waiting(collection, "cluster")
    hits = sum(max(Counter(truth[key] for key in row.identities).values()) for row in found)
    named = sum(len(row.identities) for row in found)
    assert hits / named >= 0.99, "purity"
    pieces = Counter(truth.values())
    largest = {who: 0 for who, count in pieces.items() if count > 2}
    for row in found:
        who, count = Counter(truth[key] for key in row.identities).most_common(1)[0]
        largest[who] = max(largest[who], count)
    assert len(largest) >= 3
    assert sum(largest.values()) / sum(pieces[who] for who in largest) >= 0.9, "recall"
    pairs = waiting(collection, "same_person")
    assert sum(truth[row.identities[0]] != truth[row.identities[1]] for row in pairs) <= 0.05 * named


def test_pairs_are_asked_whatever_is_known_of_the_two(collection: Collection) -> None:
    known = person(collection, "Anna", [face(1)], kind="known")
    unknown = person(collection, "unknown_person_1", [face(1, seed=1)])
    both = [person(collection, name, [face(2, seed=seed)], kind="known") for seed, name in enumerate(("Bo", "Bob"))]
    strangers = [person(collection, f"unknown_person_{seed}", [face(3, seed=seed)]) for seed in range(2, 4)]
    person(collection, "somebody else", [face(4)])
    scan(collection)
    assert asked(collection) == {ids(known, unknown), ids(*both), ids(*strangers)}
    row = waiting(collection, "same_person")[0]
    assert row.score > 0.9
    assert row.details["distance"] == pytest.approx(0.14, abs=0.05)
    assert "Anna" not in str(row.details)


def test_faces_that_only_cameras_saw_count_too(collection: Collection) -> None:
    camera = make_camera(collection)
    one, two = (
        Identity.objects.create(collection=collection, name=f"unknown_person_{number}", kind="unknown")
        for number in (1, 2)
    )
    see(make_frame(camera, "collins"), "collins", [one])
    see(make_frame(camera, "flipped"), "flipped", [two])
    scan(collection)
    assert asked(collection) == {ids(one, two)}


def test_a_rejected_pair_is_never_asked_again(collection: Collection) -> None:
    one, two = person(collection, "one", [face(1)]), person(collection, "two", [face(1, seed=1)])
    scan(collection)
    (row,) = waiting(collection)
    answers.reject(suggestion=row, actor=ANNA)
    scan(collection, full=True)
    assert waiting(collection) == []
    add_portrait(one, face(1, seed=2))  # with news of both
    add_portrait(two, face(1, seed=3))
    scan(collection)
    assert waiting(collection) == []
    assert Suggestion.objects.get(collection=collection).state == State.REJECTED


def test_a_rejected_cluster_is_not_asked_again_nor_any_larger_one_nor_a_smaller_one(collection: Collection) -> None:
    """Somebody of it is a stranger, and nobody knows who: any part of it may hold them."""
    people = [person(collection, f"unknown_person_{seed}", [face(1, seed=seed)]) for seed in range(8)]
    scan(collection)
    (row,) = waiting(collection, "cluster")
    assert frozenset(row.identities) == ids(*people)
    answers.reject(suggestion=row, actor=ANNA)
    more = person(collection, "unknown_person_9", [face(1, seed=9)])
    scan(collection, full=True)
    for found in waiting(collection, "cluster"):
        assert len(ids(*people) & set(found.identities)) < 2
    assert any(more.pk in found.identities for found in waiting(collection))


def test_the_people_of_a_rejected_cluster_are_asked_about_two_by_two_until_all_is_said(collection: Collection) -> None:
    same = [person(collection, f"unknown_person_{seed}", [face(1, seed=seed)]) for seed in range(4)]
    stranger = person(collection, "unknown_person_9", [face(1, seed=9)])
    scan(collection)
    (row,) = waiting(collection, "cluster")
    answers.reject(suggestion=row, actor=ANNA)
    for _ in range(20):
        scan(collection, full=True)
        assert waiting(collection, "cluster") == []
        if not (asked_now := waiting(collection, "same_person")):
            break
        answer = answers.reject if stranger.pk in asked_now[0].identities else answers.confirm
        answer(suggestion=asked_now[0], actor=ANNA)
    living = Identity.objects.filter(collection=collection, merged_into=None)
    assert living.count() == 2
    assert living.filter(pk=stranger.pk).exists()
    assert living.filter(pk__in=ids(*same)).count() == 1


def test_a_cluster_that_grew_takes_the_place_of_the_smaller_one(collection: Collection) -> None:
    for seed in range(3):
        person(collection, f"unknown_person_{seed}", [face(1, seed=seed)])
    scan(collection)
    (smaller,) = waiting(collection)
    person(collection, "unknown_person_9", [face(1, seed=9)])
    scan(collection)
    (larger,) = waiting(collection)
    assert set(smaller.identities) < set(larger.identities)
    smaller.refresh_from_db()
    assert (smaller.state, smaller.details["overtaken"]) == (State.STALE, "in_a_cluster")


def like_person(seen: list[Detection], who: int) -> None:
    """Give seen faces the vectors of a made-up person."""
    for seed, each in enumerate(seen):
        each.embeddings.update(vector=face(who, seed=20 + seed))


def test_two_people_in_one_frame_are_two_also_when_the_frame_is_gone(collection: Collection) -> None:
    camera = make_camera(collection)
    one, two = person(collection, "one", [face(1)]), person(collection, "two", [face(1, seed=1)])
    third = person(collection, "three", [face(1, seed=2)])
    frame = make_frame(camera, BOTH)
    like_person(see(frame, BOTH, [one, two]), 1)
    scan(collection)
    assert not any(ids(one, two) <= people for people in asked(collection))
    assert any(third.pk in people for people in asked(collection)), "the third may be either"
    frame.detections.all().delete()
    scan(collection, full=True)
    assert not any(ids(one, two) <= people for people in asked(collection))


def test_one_face_found_twice_is_no_two_people(collection: Collection) -> None:
    camera = make_camera(collection)
    one, two = person(collection, "one", [face(1)]), person(collection, "two", [face(1, seed=1)])
    frame = make_frame(camera, "collins")
    like_person(see(frame, "collins", [one]) + see(frame, "collins", [two]), 1)
    scan(collection)
    assert ids(one, two) in asked(collection)


@pytest.mark.parametrize("how", ["distinct", "portrait", "face"])
def test_what_somebody_said_is_respected(collection: Collection, how: str) -> None:
    one, two = person(collection, "one", [face(1)]), person(collection, "two", [face(1, seed=1)])
    if how == "distinct":
        editing.distinct(first=one, second=two, actor=ANNA)
    elif how == "portrait":
        Rejection.objects.create(identity=one, portrait=two.portraits.get())
    else:
        (seen,) = see(make_frame(make_camera(collection), "collins"), "collins", [two])
        FaceRejection.objects.create(identity=one, detection=seen)
    scan(collection)
    assert asked(collection) == set()


def test_hidden_deleted_and_merged_people_are_left_alone(collection: Collection) -> None:
    person(collection, "one", [face(1)])
    person(collection, "hidden", [face(1, seed=1)], hidden=True)
    deleted = person(collection, "deleted", [face(1, seed=2)])
    editing.delete(identity=deleted, actor=ANNA)
    into = person(collection, "into", [face(2)])
    merged = person(collection, "merged", [face(2, seed=1)])
    editing.merge(target=into, sources=[merged], actor=ANNA)
    scan(collection)
    assert asked(collection) == set()


def test_other_collections_are_never_looked_at(collection: Collection, other_collection: Collection) -> None:
    person(collection, "one", [face(1)])
    person(other_collection, "two", [face(1, seed=1)])
    scan(collection)
    scan(other_collection)
    assert Suggestion.objects.count() == Likeness.objects.count() == 0


def test_a_portrait_unlike_the_rest_is_an_outlier_and_goes_to_whom_it_is_like(collection: Collection) -> None:
    one = person(collection, "one", [face(1, seed=seed) for seed in range(3)], kind="known")
    two = person(collection, "two", [face(2, seed=seed) for seed in range(3)], kind="known")
    stray = add_portrait(one, face(2, seed=7))
    nobody = add_portrait(one, face(5))
    scan(collection)
    found = {row.portraits[0]: row for row in waiting(collection, "outlier")}
    assert set(found) == {stray.pk, nobody.pk}
    assert found[stray.pk].identities == [one.pk, two.pk]
    assert found[nobody.pk].identities == [one.pk]
    answers.confirm(suggestion=found[stray.pk], actor=ANNA)
    stray.refresh_from_db()
    assert stray.identity_id == two.pk
    answers.reject(suggestion=found[nobody.pk], actor=ANNA)
    scan(collection, full=True)
    assert waiting(collection, "outlier") == []


def test_a_better_fit_for_an_open_question_takes_the_place_of_the_first(collection: Collection) -> None:
    one = person(collection, "one", [face(1, seed=seed) for seed in range(3)], kind="known")
    stray = add_portrait(one, face(2, seed=7))
    scan(collection)
    (row,) = waiting(collection, "outlier")
    assert row.identities == [one.pk]
    two = person(collection, "two", [face(2, seed=seed) for seed in range(3)], kind="known")
    scan(collection, full=True)
    (again,) = waiting(collection, "outlier")
    assert (again.pk, again.portraits, again.identities) == (row.pk, [stray.pk], [one.pk, two.pk])
    assert again.details["reason"] == "like_somebody_else"


def test_so_many_questions_of_a_kind_wait_and_no_more(collection: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    for who in range(4):
        person(collection, f"poor {who}", [face(who)], kind="known", quality=0.1 + who / 100)
    monkeypatch.setattr(scanning, "MOST_OPEN", 2)
    scan(collection)
    first = waiting(collection, "weak")
    assert sorted(row.details["quality"] for row in first) == [0.1, 0.11]
    scan(collection, full=True)
    assert {row.pk for row in waiting(collection, "weak")} == {row.pk for row in first}
    for row in first:
        answers.reject(suggestion=row, actor=ANNA)
    scan(collection, full=True)
    assert sorted(row.details["quality"] for row in waiting(collection, "weak")) == [0.12, 0.13]


def test_whom_a_camera_parted_takes_nobodys_place_in_the_queue(
    collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pairs that may not be one count for nothing among the few that are asked about one person."""
    monkeypatch.setattr("portrait.curation.grouping.PAIRS_EACH", 1)
    one = person(collection, "one", [face(1)], kind="known")
    near = person(collection, "near", [face(1, off=0.11)], kind="known")
    far = person(collection, "far", [face(1, off=0.3, seed=3)], kind="known")
    other = one.portraits.get()
    Rejection.objects.create(identity=near, portrait=other)
    scan(collection)
    assert ids(one, far) in asked(collection, "same_person") | asked(collection, "duplicate")


def test_weak_portraits(collection: Collection) -> None:
    better = person(collection, "better", [face(1)], kind="known")
    poor = add_portrait(better, face(1, seed=1), quality=0.2)
    only = person(collection, "only", [face(2)], kind="known", quality=0.3)
    person(collection, "fine", [face(3)], kind="known")
    scan(collection)
    found = {row.details["reason"]: row for row in waiting(collection, "weak")}
    assert found["better_ones"].portraits == [poor.pk]
    assert found["only_weak"].identities == [only.pk]
    answers.confirm(suggestion=found["better_ones"], actor=ANNA)
    poor.refresh_from_db()
    assert poor.deleted_at is not None
    answers.confirm(suggestion=found["only_weak"], actor=ANNA)
    assert only.portraits.get().deleted_at is None
    scan(collection, full=True)
    assert waiting(collection, "weak") == []


def test_a_duplicate_at_enrolment_is_asked_at_once_and_only_once(collection: Collection) -> None:
    first, _, _ = enrol_person(collection=collection, name="Eileen Collins", photos=[pictures()["collins"]])
    second, _, (report,) = enrol_person(collection=collection, name="E. Collins", photos=[pictures()["flipped"]])
    assert report.warnings
    (row,) = waiting(collection)
    assert (row.kind, frozenset(row.identities)) == ("duplicate", ids(first, second))
    scan(collection)
    assert waiting(collection) == [row]
    row.refresh_from_db()
    assert row.details["reason"] == "enrolment"
    assert "distance" in row.details


def test_the_same_picture_of_two_people_is_a_duplicate(collection: Collection) -> None:
    sha256 = uuid.uuid4().hex * 2
    one = person(collection, "one", [face(1)], kind="known", sha256=sha256)
    two = person(collection, "two", [face(1)], kind="known", sha256=sha256)
    person(collection, "beside them on the picture", [face(2)], kind="known", sha256=sha256)
    scan(collection)
    (row,) = waiting(collection)
    assert (row.kind, frozenset(row.identities)) == ("duplicate", ids(one, two))


def test_a_scan_looks_only_at_what_changed(collection: Collection) -> None:
    people = [person(collection, f"p{who}", [face(who)]) for who in range(6)]
    scan(collection)
    old = timezone.now() - timedelta(days=1)
    Identity.objects.filter(collection=collection).update(updated_at=old)
    for each in people:
        each.portraits.update(updated_at=old)
    idle = scan(collection)
    assert sum(item.result.get("people", 0) for item in idle.items.all()) == 0
    new = person(collection, "new", [face(0, seed=5)])
    job = scan(collection)
    assert sum(item.result.get("people", 0) for item in job.items.all()) == 1
    assert asked(collection) == {ids(people[0], new)}
    other = EmbeddingModel.objects.create(
        name="other", version="1", dims=128, calibration={"threshold": 0.5, "slope": 9}
    )
    Collection.objects.filter(pk=collection.pk).update(active_model=other)
    job, _ = start_scan(collection=Collection.objects.get(pk=collection.pk))
    assert job.parameters["since"] is None, "another model: everybody again"


def test_a_scan_done_twice_or_item_by_item_again_asks_the_same(collection: Collection) -> None:
    for who in range(3):
        for seed in range(4):
            person(collection, f"{who}.{seed}", [face(who, seed=seed)])
    job = scan(collection)
    before = set(Suggestion.objects.values_list("pk", "state", "fingerprint"))
    graph = set(Likeness.objects.values_list("first", "second"))
    job.items.update(state="waiting", paused_until=None)  # delivered once more
    run(job)
    scan(collection, full=True)
    assert set(Suggestion.objects.values_list("pk", "state", "fingerprint")) == before
    assert set(Likeness.objects.values_list("first", "second")) == graph


def test_the_questions_wait_for_all_parts(collection: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("portrait.curation.services.starting.PEOPLE_AN_ITEM", 1)
    one, two = person(collection, "one", [face(1)]), person(collection, "two", [face(1, seed=1)])
    job, _ = start_scan(collection=collection)
    *parts, last = job.items.order_by("index")
    assert len(parts) == 2
    run_item(last.pk)
    last.refresh_from_db()
    assert last.state == "waiting"
    last.paused_until = None
    last.save()
    run(job)
    assert asked(collection) == {ids(one, two)}


def test_every_person_is_in_exactly_one_part() -> None:
    from portrait.curation.services.scanning import part_of_ids

    for parts in (1, 3, 7, 500):
        edges = [part_of_ids(part, parts) for part in range(parts)]
        assert edges[0][0].int == 0
        assert edges[-1][1].int == 2**128 - 1
        assert all(one[1].int + 1 == two[0].int for one, two in pairwise(edges))


def test_only_one_scan_of_a_collection_is_under_way(collection: Collection) -> None:
    person(collection, "one", [face(1)])
    first, started = start_scan(collection=collection)
    again, second_started = start_scan(collection=collection, full=True)
    assert (started, second_started) == (True, False)
    assert again == first
    suggest_all()
    assert Job.objects.filter(kind="suggest", collection_id=collection.pk).count() == 1
    run(first)
    suggest_all()
    assert Job.objects.filter(kind="suggest", collection_id=collection.pk).count() == 2, "within the overlap: once more"


def test_a_scan_of_which_a_part_failed_is_not_noted_as_done(collection: Collection) -> None:
    """Else those people would not be looked at before the next scan of everybody, a week later."""
    person(collection, "one", [face(1)])
    job, _ = start_scan(collection=collection)
    part, last = job.items.order_by("index")
    part.state, part.error_code = ItemState.FAILED, "worker_lost"
    part.save()
    run_item(last.pk)
    last.refresh_from_db()
    assert (last.state, last.result["incomplete"]) == ("done", True)
    noted = Scan.objects.get(collection=collection)
    assert (noted.through, noted.full_at) == (None, None)
    close_if_finished(job_id=job.pk)
    again, started = start_scan(collection=collection)
    assert started
    assert again.parameters["since"] is None


def test_a_collection_whose_queue_is_full_does_not_keep_the_others_waiting(
    collection: Collection, other_collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = sorted((collection, other_collection), key=lambda each: each.pk)
    for each in (first, second):
        person(each, "one", [face(1)])
    full = "portrait.jobs.services.MAX_OPEN_ITEMS"
    monkeypatch.setattr(full, 3)
    create_job(kind="suggest", queue="reindex", collection_id=first.pk, parameters={}, items=3)
    suggest_all()
    assert Scan.objects.get(collection=first).job_id is None
    assert Job.objects.filter(pk=Scan.objects.get(collection=second).job_id, kind="suggest").exists()


def test_who_is_erased_while_a_scan_is_at_work_is_named_in_nothing_that_it_stores(collection: Collection) -> None:
    gone, stays = person(collection, "gone", [face(1)]), person(collection, "stays", [face(1, seed=1)])
    other = person(collection, "other", [face(1, seed=2)])
    poor = add_portrait(stays, face(1, seed=3), quality=0.1)
    (looked,) = look_at_part(collection=collection, part=0, parts=1, since=None)
    assert any(gone.pk in pair for pair in looked.near)
    assert any(poor.pk in proposal.portraits for proposal in looked.proposals)
    scanning.store_looked(collection=collection, looked=looked)
    proposals = scanning.group(collection=collection)
    assert any(gone.pk in proposal.identities for proposal in proposals)
    Suggestion.objects.all().delete()
    key, portrait = gone.pk, poor.pk
    delete_identity(identity=gone)
    delete_portrait(portrait=poor)
    scanning.store_looked(collection=collection, looked=looked)
    scanning.store_groups(collection=collection, proposals=proposals)
    assert not Likeness.objects.filter(Q(first=key) | Q(second=key)).exists()
    assert Likeness.objects.filter(first__in=[stays.pk, other.pk], second__in=[stays.pk, other.pk]).exists()
    named = {each for row in Suggestion.objects.all() for each in (*row.identities, *row.portraits)}
    assert not {key, portrait} & named


@pytest.mark.django_db(transaction=True)
def test_who_is_erased_at_the_very_moment_of_the_store_is_named_nowhere_in_the_end(collection: Collection) -> None:
    one, two = person(collection, "one", [face(1)]), person(collection, "two", [face(1, seed=1)])
    asked_of = [Proposal(Kind.SAME_PERSON, tuple(sorted((one.pk, two.pk))), 0.9)]
    key = one.pk

    def erase() -> None:
        try:
            delete_identity(identity=one)
        finally:
            connection.close()

    eraser = threading.Thread(target=erase)
    with transaction.atomic():
        propose(collection_id=collection.pk, proposals=asked_of)
        eraser.start()
        eraser.join(1)  # it has forgotten what it saw by now, and waits for the row
        assert eraser.is_alive()
    eraser.join()
    assert not Identity.objects.filter(pk=key).exists()
    assert not Suggestion.objects.filter(identities__contains=[key]).exists()


def test_beat_starts_nothing_where_nothing_changed(collection: Collection) -> None:
    person(collection, "one", [face(1)])
    scan(collection)
    Scan.objects.filter(collection=collection).update(through=timezone.now() + timedelta(hours=1))
    suggest_all()
    assert Job.objects.filter(kind="suggest", collection_id=collection.pk).count() == 1


@pytest.mark.django_db(transaction=True)
def test_two_scans_at_the_same_time_ask_once(collection: Collection) -> None:
    for who in range(4):
        for seed in range(4):
            person(collection, f"{who}.{seed}", [face(who, seed=seed)])
    jobs = [start_scan(collection=collection)[0]]
    Scan.objects.update(job_id=None)  # as if the first were of another installation's beat
    jobs.append(start_scan(collection=collection, full=True)[0])
    errors: list[BaseException] = []

    def work(job: Job) -> None:
        try:
            for _ in range(30):
                for item in job.items.exclude(state="done").order_by("index"):
                    job.items.filter(pk=item.pk, state="waiting").update(paused_until=None)
                    run_item(item.pk)
        except BaseException as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=work, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert all(set(job.items.values_list("state", flat=True)) == {"done"} for job in jobs)
    assert len(waiting(collection)) == 4
    assert Suggestion.objects.count() == 4


def test_the_command_starts_a_scan_and_tells_its_job(collection: Collection, capsys: Any) -> None:
    person(collection, "one", [face(1)])
    call_command("suggest", collection=collection.name)
    told = capsys.readouterr().out
    assert str(Job.objects.get(collection_id=collection.pk).pk) in told
    call_command("suggest", collection=collection.name)
    assert "under way already" in capsys.readouterr().out
