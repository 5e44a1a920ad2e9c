"""When people change, what was seen of them is labelled anew by a job; and back, when the change is undone."""

from datetime import timedelta

import pytest
from django.utils import timezone

from portrait.cameras.models import Camera
from portrait.core.errors import ConflictError
from portrait.gallery.models import Change, Collection, Identity, Portrait
from portrait.gallery.services import editing, identities, journal
from portrait.jobs import services as jobs
from portrait.jobs.models import Job, JobItem
from portrait.sightings.models import Alert, Detection, FaceRejection, HistoryMove, Sighting, Stranger, Track, Watch
from portrait.sightings.services import history, history_moves, history_plan, retention, strangers
from tests.portrait.gallery.people import ACTOR
from tests.portrait.sightings.past import record, results, run_jobs, snapshot
from tests.portrait.sightings.scenes import BEGIN, LOOKALIKE, Visible, enrol, make_camera, seen_frames, sightings_of

pytestmark = pytest.mark.django_db(transaction=True)
Visit = tuple[int, float]


def visits(*seen: Visit) -> list[tuple[float, list[Visible]]]:
    """Each visit of a person is two seconds long, begun at that second."""
    return [(begin + index / 5, [Visible(person, 100)]) for person, begin in seen for index in range(10)]


@pytest.fixture
def camera(collection: Collection) -> Camera:
    return make_camera(collection, "door")


def see(camera: Camera, *seen: Visit) -> None:
    record(camera, seen_frames(camera, visits(*seen)))


def names(camera: Camera) -> list[tuple[str, float]]:
    return [row[:2] for row in sightings_of(camera)]


def test_merging_takes_the_history_along_and_undoing_gives_it_back(collection: Collection, camera: Camera) -> None:
    ada, same = enrol(collection, 0, "Ada"), enrol(collection, 1, "Ada again")
    see(camera, (0, 0), (1, 60), (0, 120), (1, 180))
    before = snapshot(collection)
    change = editing.merge(target=ada, sources=[same], actor=ACTOR)
    assert change.job_id is not None
    assert Job.objects.get(pk=change.job_id).queue == "history"
    run_jobs()
    assert names(camera) == [("Ada", 0.0), ("Ada", 60.0), ("Ada", 120.0), ("Ada", 180.0)]
    assert results(change) == {"moved": 2}
    assert set(Detection.objects.values_list("identity", flat=True)) == {ada.pk}
    after = snapshot(collection)
    undone = journal.undo(change=change, actor=ACTOR)
    run_jobs()
    assert results(undone) == {"moved_back": 2}
    assert snapshot(collection) == before
    again = journal.undo(change=undone, actor=ACTOR)
    run_jobs()
    assert snapshot(collection) == after
    journal.undo(change=again, actor=ACTOR)
    run_jobs()
    assert snapshot(collection) == before


def test_a_sighting_that_moves_keeps_its_id_and_its_alerts(collection: Collection, camera: Camera) -> None:
    ada, same = enrol(collection, 0, "Ada"), enrol(collection, 1, "Ada again")
    watch = Watch.objects.create(collection=collection, name="w", identity=same)
    see(camera, (1, 0))
    (sighting,) = Sighting.objects.all()
    (alert,) = Alert.objects.all()
    assert (alert.sighting, alert.watch) == (sighting, watch)
    before = snapshot(collection)
    change = editing.merge(target=ada, sources=[same], actor=ACTOR)
    run_jobs()
    sighting.refresh_from_db()
    alert.refresh_from_db()
    watch.refresh_from_db()
    assert sighting.identity == alert.identity == watch.identity == ada
    assert alert.sighting == sighting
    journal.undo(change=change, actor=ACTOR)
    run_jobs()
    assert snapshot(collection) == before
    alert.refresh_from_db()
    assert alert.sighting == Sighting.objects.get()


def test_sightings_that_touch_become_one_and_two_again(collection: Collection, camera: Camera) -> None:
    ada, same = enrol(collection, 0, "Ada"), enrol(collection, 1, "Ada again")
    see(camera, (0, 0), (1, 4), (0, 8))
    before = snapshot(collection)
    change = editing.merge(target=ada, sources=[same], actor=ACTOR)
    run_jobs()
    assert [row[:4] for row in sightings_of(camera)] == [("Ada", 0.0, 9.8, 30)]
    journal.undo(change=change, actor=ACTOR)
    run_jobs()
    assert snapshot(collection) == before


def test_a_job_that_is_killed_goes_on_where_it_was(
    collection: Collection, camera: Camera, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every few tracks the worker dies; each track moves once, and the next worker finds the rest."""
    monkeypatch.setattr(history_moves, "STEP", 1)
    monkeypatch.setattr(history_plan, "CHUNK", 3)
    ada, same = enrol(collection, 0, "Ada"), enrol(collection, 1, "Ada again")
    see(camera, *((1, 60.0 * index) for index in range(7)))
    before = snapshot(collection)
    change = editing.merge(target=ada, sources=[same], actor=ACTOR)
    job = Job.objects.get(pk=change.job_id)
    assert job.items.count() == 3
    moved: list[int] = []
    real = history_moves._own_sightings

    def dies(work: object, moves: list[HistoryMove], *rest: object) -> None:
        real(work, moves, *rest)  # type: ignore[arg-type]
        if not moves:
            return
        if len(moved) % 2:
            moved.append(0)
            raise KeyboardInterrupt
        moved.extend(move.track_id for move in moves)

    monkeypatch.setattr(history_moves, "_own_sightings", dies)
    crashes = 0
    while (item := job.items.filter(state__in=["waiting", "running"]).order_by("index").first()) is not None:
        JobItem.objects.filter(pk=item.pk, state="running").update(leased_until=item.accepted_at - timedelta(days=1))
        claimed = jobs.claim(item_id=item.pk)
        assert claimed is not None
        try:
            jobs.process(item=claimed)
        except KeyboardInterrupt:
            crashes += 1
    assert crashes >= 3
    assert sorted(key for key in moved if key) == sorted(Track.objects.values_list("pk", flat=True))
    assert {row[0] for row in names(camera)} == {"Ada"}
    assert set(HistoryMove.objects.values_list("done", flat=True)) == {True}
    monkeypatch.setattr(history_moves, "_own_sightings", real)
    journal.undo(change=change, actor=ACTOR)
    run_jobs()
    assert snapshot(collection) == before


def test_an_undo_before_the_job_ran_leaves_nothing_to_do(collection: Collection, camera: Camera) -> None:
    ada, same = enrol(collection, 0, "Ada"), enrol(collection, 1, "Ada again")
    see(camera, (1, 0))
    before = snapshot(collection)
    change = editing.merge(target=ada, sources=[same], actor=ACTOR)
    journal.undo(change=change, actor=ACTOR)
    run_jobs()
    assert snapshot(collection) == before


def test_chains_of_merges_end_at_the_last_one_whenever_the_jobs_run(collection: Collection, camera: Camera) -> None:
    one, two, three = (enrol(collection, person, f"p{person}") for person in range(3))
    see(camera, (0, 0), (1, 60), (2, 120))
    before = snapshot(collection)
    first = editing.merge(target=two, sources=[one], actor=ACTOR)
    second = editing.merge(target=three, sources=[two], actor=ACTOR)
    run_jobs()
    assert {row[0] for row in names(camera)} == {"p2"}
    with pytest.raises(ConflictError, match=f"#{second.pk}"):
        journal.undo(change=first, actor=ACTOR)
    journal.undo(change=second, actor=ACTOR)
    journal.undo(change=first, actor=ACTOR)
    run_jobs()
    assert snapshot(collection) == before


def test_a_name_pulls_in_who_was_nobody_and_its_undo_lets_go(collection: Collection, camera: Camera) -> None:
    """Seen before the portrait was there; who is known, or was put there by hand, stays."""
    see(camera, (0, 0), (0, 60), (1, 120), (0, 180))
    pinned = Track.objects.order_by("first_seen")[1]
    history.reassign(tracks=[pinned], to=None, actor=ACTOR)
    run_jobs()
    stranger = enrol(collection, 0, "unknown_person_1")
    Identity.objects.filter(pk=stranger.pk).update(kind=Identity.Kind.UNKNOWN)
    stranger.refresh_from_db()
    before = snapshot(collection)
    preview = history.preview_name(identity=stranger)
    assert (preview.tracks, preview.at_most) == (2, False)
    assert [(move.camera, move.before, move.after) for move in preview.moves] == [(camera, None, stranger.pk)]
    assert snapshot(collection) == before
    change = editing.update(identity=stranger, actor=ACTOR, name="Ada")
    assert change is not None
    run_jobs()
    assert names(camera) == [("Ada", 0.0), ("Ada", 180.0)]
    assert results(change) == {"moved": 2}
    journal.undo(change=change, actor=ACTOR)
    run_jobs()
    assert snapshot(collection) == before


def test_a_name_takes_nothing_from_those_who_have_one(collection: Collection, camera: Camera) -> None:
    enrol(collection, 0, "Ada")
    see(camera, (0, 0), (LOOKALIKE, 60))
    twin = enrol(collection, LOOKALIKE, "unknown_person_1")
    Identity.objects.filter(pk=twin.pk).update(kind=Identity.Kind.UNKNOWN)
    twin.refresh_from_db()
    was = names(camera)
    change = editing.update(identity=twin, actor=ACTOR, name="Eve")
    assert change is not None
    run_jobs()
    assert [row for row in names(camera) if row[0] == "Ada"] == [row for row in was if row[0] == "Ada"]


def test_sightings_that_were_moved_by_hand_stay(collection: Collection, camera: Camera) -> None:
    """Faces that come later join them, and change nothing."""
    ada, eve = enrol(collection, 0, "Ada"), enrol(collection, 1, "Eve")
    scene = visits((0, 0))
    frames = seen_frames(camera, scene)
    record(camera, frames[:8])
    (sighting,) = Sighting.objects.all()
    before = snapshot(collection)
    preview = history.preview_reassign(sightings=[sighting], to=eve)
    assert (preview.tracks, preview.sightings) == (1, 1)
    change = history.reassign(sightings=[sighting], to=eve, actor=ACTOR)
    run_jobs()
    (track,) = Track.objects.all()
    assert (track.identity, track.pinned, track.similarity) == (eve, True, 1.0)
    journal.undo(change=change, actor=ACTOR)
    run_jobs()
    assert snapshot(collection) == before
    change = history.reassign(sightings=Sighting.objects.all(), to=eve, actor=ACTOR)
    run_jobs()
    record(camera, frames[8:])
    assert [row[:4] for row in sightings_of(camera)] == [("Eve", 0.0, 1.8, 10)]
    assert (change.action, change.identities) == ("move_sightings", [ada.pk, eve.pk])


def test_a_track_of_nobody_by_hand_stays_nobodys(collection: Collection, camera: Camera) -> None:
    enrol(collection, 0, "Ada")
    frames = seen_frames(camera, visits((0, 0)))
    record(camera, frames[:8])
    history.reassign(sightings=Sighting.objects.all(), to=None, actor=ACTOR)
    run_jobs()
    record(camera, frames[8:])
    assert sightings_of(camera) == []
    (track,) = Track.objects.all()
    assert (track.identity, track.pinned, track.frames, track.stranger_due) == (None, True, 10, False)


def test_tracks_that_were_pinned_to_two_people_never_become_one(collection: Collection, camera: Camera) -> None:
    ada, eve = enrol(collection, 0, "Ada"), enrol(collection, 1, "Eve")
    frames = seen_frames(camera, [(index / 5, [Visible(0, 100)]) for index in range(15)])
    record(camera, frames[:4])
    record(camera, frames[11:])
    first, second = Track.objects.order_by("first_seen")
    history.reassign(tracks=[second], to=eve, actor=ACTOR)
    history.reassign(tracks=[first], to=ada, actor=ACTOR)
    run_jobs()
    record(camera, frames[4:11])
    assert set(Track.objects.values_list("identity__name", "pinned")) == {("Ada", True), ("Eve", True)}


def test_a_rejected_face_is_never_that_person_again(collection: Collection, camera: Camera) -> None:
    ada = enrol(collection, 0, "Ada")
    frames = seen_frames(camera, visits((0, 0), (0, 60)))
    record(camera, frames[:8])
    before = snapshot(collection)
    face = Detection.objects.order_by("pk")[2]
    change = history.reject_face(detection=face, identity=ada, actor=ACTOR)
    assert sightings_of(camera) == []
    assert Track.objects.get().identity is None
    with pytest.raises(ConflictError, match="before"):
        history.reject_face(detection=face, identity=ada, actor=ACTOR)
    after = snapshot(collection)
    undone = journal.undo(change=change, actor=ACTOR)
    run_jobs()
    assert snapshot(collection) == before
    journal.undo(change=undone, actor=ACTOR)
    run_jobs()
    assert snapshot(collection) == after
    record(camera, frames[8:10])
    assert Track.objects.get().identity is None
    assert FaceRejection.objects.count() == 1


def test_splitting_takes_portraits_and_sightings(collection: Collection, camera: Camera) -> None:
    ada = enrol(collection, 0, "Ada")
    wrong = enrol(collection, 1, "x")
    see(camera, (0, 0), (1, 60))
    editing.merge(target=ada, sources=[wrong], actor=ACTOR)
    run_jobs()
    before = snapshot(collection)
    late = Sighting.objects.order_by("-first_seen").first()
    assert late is not None
    portrait = Portrait.objects.get(sha256=f"{1:064d}")
    change = history.split(identity=ada, portraits=[portrait], sightings=[late], name="Eve", actor=ACTOR)
    run_jobs()
    assert names(camera) == [("Ada", 0.0), ("Eve", 60.0)]
    made = Identity.objects.get(name="Eve")
    undone = journal.undo(change=change, actor=ACTOR)
    assert Identity.objects.get(pk=made.pk).deleted_at is not None  # until the job has run
    run_jobs()
    assert not Identity.objects.filter(pk=made.pk).exists()
    assert snapshot(collection) == before
    journal.undo(change=undone, actor=ACTOR)
    run_jobs()
    assert names(camera) == [("Ada", 0.0), ("Eve", 60.0)]
    assert Change.objects.filter(action="redo").count() == 1


def test_who_was_recognised_as_somebody_who_is_no_more_is_judged_anew(collection: Collection, camera: Camera) -> None:
    ada = enrol(collection, 0, "Ada")
    enrol_twin = enrol(collection, 1, "x")
    editing.merge(target=ada, sources=[enrol_twin], actor=ACTOR)
    change = editing.split(identity=ada, portraits=[Portrait.objects.get(sha256=f"{1:064d}")], name="Eve", actor=ACTOR)
    see(camera, (1, 0))
    assert names(camera) == [("Eve", 0.0)]
    journal.undo(change=change, actor=ACTOR)
    run_jobs()
    assert names(camera) == [("Ada", 0.0)]
    assert not Identity.objects.filter(name="Eve").exists()


def test_what_changed_meanwhile_is_told_and_left(collection: Collection, camera: Camera) -> None:
    ada, same = enrol(collection, 0, "Ada"), enrol(collection, 1, "Ada again")
    see(camera, (1, 0), (1, 60))
    change = editing.merge(target=ada, sources=[same], actor=ACTOR)
    run_jobs()
    lost = Track.objects.order_by("pk").first()
    Track.objects.filter(pk=lost.pk).update(identity=None)  # type: ignore[union-attr]
    undone = journal.undo(change=change, actor=ACTOR)
    run_jobs()
    assert results(undone) == {"moved_back": 1, "skipped": 1}


def test_moving_sightings_since_stops_the_undo_of_a_merge(collection: Collection, camera: Camera) -> None:
    ada, same, eve = enrol(collection, 0, "Ada"), enrol(collection, 1, "x"), enrol(collection, 2, "Eve")
    see(camera, (1, 0))
    change = editing.merge(target=ada, sources=[same], actor=ACTOR)
    run_jobs()
    moved = history.reassign(sightings=Sighting.objects.all(), to=eve, actor=ACTOR)
    with pytest.raises(ConflictError, match=f"#{moved.pk}"):
        journal.undo(change=change, actor=ACTOR)
    run_jobs()
    with pytest.raises(ConflictError, match=f"#{moved.pk}"):
        journal.undo(change=change, actor=ACTOR)
    journal.undo(change=moved, actor=ACTOR)
    run_jobs()
    journal.undo(change=change, actor=ACTOR)
    run_jobs()
    assert names(camera) == [("x", 0.0)]


def test_the_ledger_forgets_whoever_is_erased(collection: Collection, camera: Camera) -> None:
    ada, same = enrol(collection, 0, "Ada"), enrol(collection, 1, "x")
    see(camera, (0, 0), (1, 60))
    change = editing.merge(target=ada, sources=[same], actor=ACTOR)
    run_jobs()
    identities.delete_identity(identity=ada)
    assert not HistoryMove.objects.exists()
    assert not Sighting.objects.exists()
    assert not Identity.objects.exists()
    change.refresh_from_db()
    with pytest.raises(ConflictError, match="erased"):
        journal.undo(change=change, actor=ACTOR)


def test_a_stranger_into_whom_somebody_was_merged_is_not_forgotten(collection: Collection, camera: Camera) -> None:
    """The past of the other is on its way: until it is there no face is theirs."""
    target, source = enrol(collection, 0, "unknown_person_1"), enrol(collection, 1, "unknown_person_2")
    Identity.objects.update(kind=Identity.Kind.UNKNOWN)
    for each in (target, source):
        Stranger.objects.create(identity=each, camera=camera, met_at=timezone.now())
    see(camera, (1, 0), (1, 60))
    target.refresh_from_db()
    source.refresh_from_db()
    editing.merge(target=target, sources=[source], actor=ACTOR)
    strangers.forget_unseen(identity_ids=[target.pk])
    assert Identity.objects.filter(pk__in=[target.pk, source.pk]).count() == 2
    run_jobs()
    assert set(Detection.objects.values_list("identity", flat=True)) == {target.pk}


def test_what_lies_between_is_not_built_anew(collection: Collection, camera: Camera) -> None:
    """The camera's rule changed since: sightings that are not concerned stay as they were."""
    ada, same = enrol(collection, 0, "Ada"), enrol(collection, 1, "Ada again")
    see(camera, (1, 0), (0, 200), (0, 400), (1, 1000))
    Camera.objects.filter(pk=camera.pk).update(min_hits=50)
    kept = Sighting.objects.filter(identity=ada).order_by("first_seen")
    between = list(kept.values_list("pk", "first_seen", "last_seen", "hits"))
    assert len(between) == 2
    change = editing.merge(target=ada, sources=[same], actor=ACTOR)
    run_jobs()
    still = Sighting.objects.filter(pk__in=[row[0] for row in between]).order_by("first_seen")
    assert list(still.values_list("pk", "first_seen", "last_seen", "hits")) == between
    journal.undo(change=change, actor=ACTOR)
    run_jobs()
    assert list(still.values_list("pk", "first_seen", "last_seen", "hits")) == between


def test_undoing_gives_joined_sightings_back_with_their_pictures_and_alerts(
    collection: Collection, camera: Camera
) -> None:
    """Of three sightings that become one, two are left without any hits."""
    ada, same = enrol(collection, 0, "Ada"), enrol(collection, 1, "Ada again")
    for person in (ada, same):
        Watch.objects.create(collection=collection, name=person.name, identity=person)
    see(camera, (0, 0), (1, 6), (0, 12))
    for row in Sighting.objects.all():
        Sighting.objects.filter(pk=row.pk).update(picture=f"sightings/{row.pk}.jpg")
    assert Alert.objects.exclude(sighting=None).count() == 3
    before = snapshot(collection)
    change = editing.merge(target=ada, sources=[same], actor=ACTOR)
    run_jobs()
    after = snapshot(collection)
    assert len(after["sightings"]) == 1
    assert Sighting.everything.count() == 3
    undone = journal.undo(change=change, actor=ACTOR)
    run_jobs()
    assert snapshot(collection) == before
    journal.undo(change=undone, actor=ACTOR)
    run_jobs()
    assert snapshot(collection) == after


def test_sightings_that_wait_for_an_undo_go_with_its_time(collection: Collection, camera: Camera) -> None:
    ada, same = enrol(collection, 0, "Ada"), enrol(collection, 1, "Ada again")
    Camera.objects.filter(pk=camera.pk).update(keep_named_h=None)
    see(camera, (0, 0), (1, 4))
    editing.merge(target=ada, sources=[same], actor=ACTOR)
    run_jobs()
    parked = Sighting.everything.exclude(parked_at=None)
    retention.expire_due(now=BEGIN)
    assert parked.count() == 1
    parked.update(parked_at=journal.grace_began() - timedelta(minutes=1))
    retention.expire_due(now=BEGIN)
    assert not parked.exists()
    assert Sighting.objects.count() == 1


def test_whoever_is_erased_leaves_no_sighting_that_waits(collection: Collection, camera: Camera) -> None:
    ada, same = enrol(collection, 0, "Ada"), enrol(collection, 1, "Ada again")
    see(camera, (0, 0), (1, 4))
    editing.merge(target=ada, sources=[same], actor=ACTOR)
    run_jobs()
    assert Sighting.everything.count() == 2
    identities.delete_identity(identity=ada)
    assert not Sighting.everything.exists()


def test_a_track_that_becomes_part_of_a_shorter_one_is_still_given_back(collection: Collection, camera: Camera) -> None:
    """The shorter one is older, and knows of no edit."""
    frames = seen_frames(camera, [(index / 5, [Visible(1, 100)]) for index in range(25)])
    record(camera, frames[:4])
    ada, same = enrol(collection, 0, "Ada"), enrol(collection, 1, "Ada again")
    record(camera, frames[11:])
    change = editing.merge(target=ada, sources=[same], actor=ACTOR)
    run_jobs()
    record(camera, frames[4:11])
    assert (Track.objects.count(), Track.objects.get().identity) == (1, ada)
    journal.undo(change=change, actor=ACTOR)
    run_jobs()
    assert [row[:4] for row in sightings_of(camera)] == [("Ada again", 0.0, 4.8, 25)]


def test_a_preview_counts_each_sighting_once(collection: Collection, camera: Camera) -> None:
    ada, eve = enrol(collection, 0, "Ada"), enrol(collection, 1, "Eve")
    see(camera, (0, 0), (0, 4), (0, 60), (0, 120), (1, 180))
    tracks = list(Track.objects.filter(identity=ada).order_by("-first_seen"))
    assert len(tracks) == 4
    (move,) = history_plan.preview_tracks([tracks[0], *tracks[2:]], eve.pk)
    assert (move.tracks, move.sightings) == (3, 2)


@pytest.mark.parametrize("last_first", [True, False])
def test_undoing_a_chain_before_its_jobs_ran_ends_where_it_began(
    collection: Collection, camera: Camera, last_first: bool
) -> None:
    """Ada's sighting became somebody's, and theirs somebody else's; both edits made the person. Jobs in any order."""
    ada = enrol(collection, 0, "Ada")
    see(camera, (0, 0))
    before = snapshot(collection)
    first = history.split(identity=ada, sightings=Sighting.objects.all(), name="Eve", actor=ACTOR)
    run_jobs()
    eve = Identity.objects.get(name="Eve")
    second = history.split(identity=eve, sightings=Sighting.objects.all(), name="Zoe", actor=ACTOR)
    run_jobs()
    assert names(camera) == [("Zoe", 0.0)]
    undone = [journal.undo(change=second, actor=ACTOR), journal.undo(change=first, actor=ACTOR)]
    for each in undone if last_first else reversed(undone):
        for item in JobItem.objects.filter(job=each.job_id):
            claimed = jobs.claim(item_id=item.pk)
            assert claimed is not None
            jobs.process(item=claimed)
    assert snapshot(collection) == before
