"""Bring the tracks of a ledger to where the journal says they are now: there, or back.

What has to be done is read from the journal each time, under the lock of the camera: so it does not matter how often
and in which order items of the job and of its undoing run, or when one of them is killed.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet

from portrait.cameras.models import Camera
from portrait.gallery.models import Change, Identity
from portrait.gallery.services import journal
from portrait.sightings.models import Alert, Detection, HistoryMove, Sighting, Track
from portrait.sightings.services import events, history_plan, judging, timeline
from portrait.sightings.services.judging import Work

STEP = 25
"""Tracks in one transaction: live work of the camera waits no longer than that."""
SURE = 1.0
"""The similarity of a track whose person somebody named by hand."""

Counts = Counter[str]


def bring(change: Change, chunk: int) -> Counts:
    """Do, or take back, one item of a ledger; answers how many tracks moved, and how many did not and why.

    `skipped`: is somebody else's by now. `unlike`: looked at, and not the person. Safe to repeat.
    """
    counts: Counts = Counter()
    if chunk == 0:
        _wait_for_workers(change)
        _note_latecomers(change)
    rows = HistoryMove.objects.filter(change=change, chunk=chunk)
    further = {change.pk: change}
    for camera_id in list(rows.order_by("track__camera_id").values_list("track__camera_id", flat=True).distinct()):
        last: int | None = 0
        while last is not None:
            last = _step(change, rows, camera_id, last, counts=counts, further=further)
    for each in further.values():
        _tidy(each)
    return counts


def _wait_for_workers(change: Change) -> None:
    """Whoever holds a camera's lock may know people as they were before the change; whoever gets it later does not."""
    cameras = Camera.objects.filter(collection_id=change.collection_id).order_by("pk")
    for camera_id in cameras.values_list("pk", flat=True):
        with transaction.atomic():
            timeline.lock(camera_id)


def _note_latecomers(change: Change) -> None:
    """Tracks that a worker gave to somebody while they were merged: its transaction had begun before."""
    if change.action == "merge" and not change.details.get("erased") and journal.in_effect(change):
        sources = [UUID(key) for key in change.details["sources"]]
        history_plan.plan_all(change, sources, UUID(change.details["target"]), chunk=0)


def _step(
    change: Change,
    rows: "QuerySet[HistoryMove]",
    camera_id: UUID,
    last: int,
    *,
    counts: Counts,
    further: dict[int, Change],
) -> int | None:
    """Some tracks of one camera, in one transaction; answers where to go on, None at the end. further: gets the other
    changes that moved them on."""
    with transaction.atomic():
        timeline.lock(camera_id)
        forward = journal.in_effect(change)
        some = list(rows.filter(track__camera_id=camera_id, pk__gt=last, done=not forward).order_by("pk")[:STEP])
        if not some:
            return None
        camera = Camera.objects.select_related("collection__active_model").get(pk=camera_id)
        work = Work(camera, camera.collection.active_model)
        work.fetch([move.track_id for move in some])
        for together in _neighbourhoods(work, some):
            work.touches.clear()
            moved = [move for move in together if _move(work, change, move, forward, counts)]
            on = _go_on(work, change, {move.track_id for move in moved}, counts)
            further |= {move.change_id: move.change for move in on}
            _settle(work, {move.track_id for move in moved})
            _own_sightings(work, moved, Sighting.objects.all(), forward)
            _own_sightings(work, on, Sighting.everything.all(), forward)  # of whom it never came back to in between
            if work.touches:
                events.update(camera=camera, touches=work.touches, undoing=not forward)
    return some[-1].pk


def _neighbourhoods(work: Work, moves: Sequence[HistoryMove]) -> list[list[HistoryMove]]:
    """Moves of tracks that may share a sighting. What lies between those that are far apart is nobody's business: it
    must not be built anew, by rules that may have changed since."""
    gap = timedelta(seconds=work.camera.gap_s + work.camera.window_s)
    there = [(move, work.tracks[move.track_id]) for move in moves if move.track_id in work.tracks]
    found: list[list[HistoryMove]] = [[move for move in moves if move.track_id not in work.tracks]]
    reached: datetime | None = None
    for move, track in sorted(there, key=lambda pair: (pair[1].first_seen, pair[0].pk)):
        if reached is None or track.first_seen - reached > gap:
            found.append([])
        found[-1].append(move)
        reached = track.last_seen if reached is None else max(reached, track.last_seen)
    return found


def _move(work: Work, change: Change, move: HistoryMove, forward: bool, counts: Counts) -> bool:
    track = work.tracks.get(move.track_id)
    begin, end = (move.before, move.after) if forward else (move.after, move.before)
    if track is None or track.identity_id != begin or not _is_there(end):
        counts["skipped"] += 1
        return False
    if not forward:
        judging.hand_over(work, track, end, move.before_similarity, pinned=move.before_pinned)
    elif not _forward(work, change, move, track):
        counts["unlike"] += 1
        return False
    move.done = forward
    move.save(update_fields=["done", "before_similarity", "before_pinned"])
    counts["moved" if forward else "moved_back"] += 1
    return True


def _is_there(identity_id: UUID | None) -> bool:
    return identity_id is None or Identity.objects.filter(pk=identity_id).exists()


def _forward(work: Work, change: Change, move: HistoryMove, track: Track) -> bool:
    before = (track.similarity, track.pinned)
    pin = change.details.get("pin")
    if pin:
        similarity: float | None = SURE if move.after else None
    elif pin is None and is_certain(change, move):
        similarity = track.similarity if move.before and move.after else None
    else:
        decision = judging.would_be(work, track)
        fits = decision.key == move.after
        if pin is None and (track.pinned or not fits):
            return False
        similarity = decision.similarity if fits else None
    move.before_similarity, move.before_pinned = before
    judging.hand_over(work, track, move.after, similarity, pinned=track.pinned if pin is None else bool(pin))
    return True


def is_certain(change: Change, move: HistoryMove) -> bool:
    """Whether somebody said of this very track whose it is: it is not judged by its looks."""
    return "pin" in change.details or str(move.before) in change.details.get("sources", ())


def _go_on(work: Work, change: Change, track_ids: Iterable[int], counts: Counts) -> list[HistoryMove]:
    """What another change, or its undo, is to do to a track may have to wait until this one has given it to them, and
    its own job may be over by now: done here. Answers these moves."""
    rows = HistoryMove.objects.filter(track__in=track_ids).exclude(change=change).order_by("pk")
    others, moved = list(rows.select_related("change")), list[HistoryMove]()
    while (move := next((each for each in others if _is_due(work, each)), None)) is not None:
        others.remove(move)
        if _move(work, move.change, move, not move.done, counts):
            moved.append(move)
    return moved


def _is_due(work: Work, move: HistoryMove) -> bool:
    track, forward = work.tracks.get(move.track_id), journal.in_effect(move.change)
    if track is None or move.done == forward or track.identity_id != (move.before if forward else move.after):
        return False
    return not forward or is_certain(move.change, move)


def _settle(work: Work, track_ids: Iterable[int]) -> None:
    """Whoever a track came to may have been merged by another change meanwhile: it goes on to whom they are now."""
    for track in work.fetch(list(track_ids)):
        while (owner := _merged_by(track.identity_id)) is not None:
            move, made = HistoryMove.objects.get_or_create(
                change=owner,
                track=track,
                defaults={"chunk": 0, "before": track.identity_id, "after": UUID(owner.details["target"])},
            )
            if not made and move.before != track.identity_id:
                break
            move.before_similarity, move.before_pinned, move.done = track.similarity, track.pinned, True
            judging.hand_over(work, track, move.after, track.similarity, pinned=track.pinned)
            move.save()


def _merged_by(identity_id: UUID | None) -> Change | None:
    """The change that made somebody a part of somebody else, if one has."""
    if identity_id is None or not Identity.objects.filter(pk=identity_id).exclude(merged_into=None).exists():
        return None
    rows = Change.objects.filter(action="merge", identities__contains=[identity_id]).defer("steps").order_by("-pk")
    merges = (row for row in rows if str(identity_id) in row.details.get("sources", ()))
    return next((row for row in merges if journal.in_effect(row)), None)


def _own_sightings(work: Work, moves: Sequence[HistoryMove], sightings: "QuerySet[Sighting]", forward: bool) -> None:
    """A sighting all of whose faces went to one person goes along: it keeps its id, its picture and its alerts. Not to
    somebody who has one there, with which it becomes one, or where an edit is undone had one, which comes back."""
    for move in moves:
        track = work.tracks[move.track_id]
        before, after = (move.before, track.identity_id) if move.done else (move.after, track.identity_id)
        if before is None or after is None or before == after:
            continue
        rows = sightings.filter(camera=work.camera, identity_id=before)
        for row in rows.filter(first_seen__lte=track.last_seen, last_seen__gte=track.first_seen):
            _own(work, row, after, forward)


def _own(work: Work, row: Sighting, after: UUID, forward: bool) -> None:
    span = (row.first_seen, row.last_seen)
    faces = Detection.objects.filter(camera=work.camera, captured_at__range=span)
    gap = timedelta(seconds=work.camera.gap_s)
    theirs = (Sighting.objects if forward else Sighting.everything).filter(camera=work.camera, identity_id=after)
    near = theirs.filter(last_seen__gte=row.first_seen - gap, first_seen__lte=row.last_seen + gap)
    if faces.filter(identity_id=row.identity_id).exists() or near.exists():
        return
    Alert.objects.filter(sighting=row).exclude(identity_id=after).update(sighting=None)
    work.touches[row.identity_id].widen(*span)
    work.touches[after].widen(*span)
    row.identity_id = after
    row.save(update_fields=["identity", "updated_at"])


def _tidy(change: Change) -> None:
    """Somebody whom an undone change had made is there only until nothing that was seen is theirs any more."""
    if journal.in_effect(change) or change.details.get("erased"):
        return
    for step in change.steps:
        if step["op"] == "create" and step["model"] == "identity":
            identity_id = UUID(step["pk"])
            for track in Track.objects.filter(identity_id=identity_id, pinned=False).order_by("pk"):
                _judge_anew(track, identity_id)
            journal.remove_leftover(identity_id=identity_id)


def _judge_anew(track: Track, identity_id: UUID) -> None:
    """A track that was recognised as somebody who is no more."""
    with transaction.atomic():
        timeline.lock(track.camera_id)
        camera = Camera.objects.select_related("collection__active_model").get(pk=track.camera_id)
        row = Track.objects.filter(pk=track.pk, identity_id=identity_id).first()
        if row is not None:
            timeline.look_again(camera=camera, model=camera.collection.active_model, track=row)


def seen_of(identity_id: UUID) -> bool:
    """Whether anything that was seen is somebody's, or is on its way back to them."""
    tracks = Track.objects.filter(identity_id=identity_id)
    faces = Detection.objects.filter(identity_id=identity_id)
    if tracks.exists() or faces.exists() or Sighting.objects.filter(identity_id=identity_id).exists():
        return True
    taken = HistoryMove.objects.filter(before=identity_id, done=True).values("change_id")
    return not all(journal.in_effect(each) for each in Change.objects.filter(pk__in=taken).defer("steps"))
