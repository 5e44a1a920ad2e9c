"""What was seen of people, when people change: their history is labelled anew by one job, and back by its undo.

A change of the journal notes which tracks it gives to whom (`history_plan`); a job of the kind `history` does it, an
item a few hundred tracks (`history_moves`). Undoing the change starts a job that puts every track back as it was.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, OuterRef
from django.utils import timezone

from portrait.cameras.models import Camera
from portrait.core.errors import ConflictError
from portrait.gallery.models import Change, Collection, Identity, Portrait
from portrait.gallery.services import editing, journal
from portrait.gallery.services.journal import Actor
from portrait.gallery.services.people import require_living
from portrait.jobs.models import ItemState, Job, JobItem
from portrait.jobs.services import QueueFullError, create_job
from portrait.jobs.tasks import enqueue_job
from portrait.sightings.models import Detection, FaceRejection, HistoryMove, Sighting, Track, Watch
from portrait.sightings.services import events, history_plan, judging, timeline
from portrait.sightings.services.history_moves import Counts, bring, is_certain, seen_of
from portrait.sightings.services.history_plan import Preview
from portrait.sightings.services.judging import Work

logger = logging.getLogger(__name__)

HISTORY, QUEUE = "history", "history"
"""A queue of its own: an edit's past neither waits for a re-index, nor lets what beat starts wait."""
RESUME_AFTER = timedelta(minutes=30)
MOST_CHOSEN = 5000
"""Tracks that one change gives to somebody by hand."""
MOST_REJECTED = 100


class HistoryHandler:
    """Job kind `history`: parameters `change`, the edit, and `by`, the undo if it is one; an item a chunk of its
    ledger."""

    def prepare(self, item: JobItem) -> Counts:
        """By small transactions of their own; what is done is noted in the ledger, so that a repetition finds it."""
        change = Change.objects.filter(pk=item.job.parameters["change"]).first()
        return bring(change, item.index) if change is not None else Counts(erased=1)

    def store(self, item: JobItem, prepared: Counts) -> dict[str, Any]:
        return dict(prepared)


def follow(change: Change) -> Job | None:
    """Note what a change means for the history, and start the job that does it; None where nothing has to be done.

    Inside the transaction of the change.
    """
    if change.undoes is None:
        _plan(change)
    return start(change)


def _plan(change: Change) -> None:
    details = change.details
    if change.action == "merge":
        sources = [UUID(key) for key in details["sources"]]
        history_plan.plan_all(change, sources, UUID(details["target"]))
        named: Any = details["target"] if details.get("named") else None
    else:
        named = change.identities[0] if details.get("named") else None
        sources = []
    if named is not None:
        person = Identity.objects.select_related("collection__active_model").get(pk=named)
        found = history_plan.alike(person, person.collection, people=sources)
        history_plan.plan_tracks(change, found, person.pk)


def start(change: Change) -> Job | None:
    """The job that brings the history to what a change, or its undo, says; None where there is nothing to do."""
    root = journal.root_of(change)
    chunks = history_plan.next_chunk(root)
    if not chunks and not _may_have_more(change, root):
        return None
    job = create_job(
        kind=HISTORY,
        queue=QUEUE,
        collection_id=change.collection_id,
        parameters={"change": root.pk, "by": change.pk},
        items=max(chunks, 1),
    )
    change.job_id = job.pk
    change.save(update_fields=["job_id"])
    transaction.on_commit(partial(enqueue_job, job))
    return job


def resume() -> int:
    """Start again what ended before its work was done, cancelled or given up: an edit is never left half done. Answers
    how many jobs that were."""
    over = Job.objects.filter(kind=HISTORY, finished_at__lt=timezone.now() - RESUME_AFTER)
    undone = JobItem.objects.filter(job=OuterRef("pk"), state__in=[ItemState.FAILED, ItemState.CANCELLED])
    resumed = 0
    for job in over.filter(Exists(undone)).order_by("finished_at"):
        try:
            with transaction.atomic():
                mine = Change.objects.select_for_update(of=("self",)).filter(pk=job.parameters["by"], job_id=job.pk)
                change = mine.first()
                if change is not None and journal.latest_of(change) == change:
                    resumed += start(change) is not None
        except QueueFullError as error:
            logger.warning("the history of change %s waits: %s", job.parameters["by"], error)
    return resumed


def _may_have_more(change: Change, root: Change) -> bool:
    """Whether there may be something to do that no ledger knows: a worker may give a track to somebody who is merged
    at this moment; somebody whom an undone change had made may have been seen since."""
    if journal.in_effect(root):
        return root.action == "merge" and Camera.objects.filter(collection_id=root.collection_id).exists()
    return change.undoes is not None and any(seen_of(key) for key in _made_by(root))


def _made_by(change: Change) -> list[UUID]:
    if change.details.get("erased"):
        return []
    made = (step for step in change.steps if step["op"] == "create" and step["model"] == "identity")
    return [UUID(step["pk"]) for step in made]


def refuse_if_moved_since(change: Change) -> None:
    """A change is not undone while a later one that stands gave some of its tracks to somebody else.

    Raises:
        ConflictError: names that one.
    """
    root = journal.root_of(change)
    mine = HistoryMove.objects.filter(change=root).values("track_id")
    with_them = HistoryMove.objects.filter(track__in=mine).exclude(change=root).values("change_id")
    for other in Change.objects.filter(pk__in=with_them).defer("steps"):
        moves = HistoryMove.objects.filter(change=other, track__in=mine)
        if any(move.done or is_certain(other, move) for move in moves):
            journal.refuse_what_came_later(change, Change.objects.filter(pk=other.pk))


def reassign(
    *,
    to: Identity | None,
    actor: Actor,
    sightings: Sequence[Sighting] = (),
    tracks: Sequence[Track] = (),
) -> Change:
    """Say who is to be seen in these sightings or tracks; None: nobody whom we know. From then on they stay so,
    whatever comes in.

    Raises:
        ConflictError: there is nothing to move, or too much at once; somebody is deleted, merged or of another
            collection.
        NotFoundError: the person was erased.
    """
    chosen = _chosen(sightings, tracks, to)
    people = {key: Identity(pk=key) for key in (track.identity_id for track in chosen) if key is not None}
    if to is not None:
        people[to.pk] = to
    details = {"pin": True, "to": str(to.pk) if to else None, "tracks": len(chosen)}
    with transaction.atomic():
        if people:
            with journal.edit(
                action="move_sightings", actor=actor, identities=list(people.values()), details=details
            ) as edit:
                if to is not None:
                    require_living(edit.people[to.pk])
            change = edit.change
        else:
            change = _change_about_nobody(chosen, actor, details)
        if change is None:
            raise ConflictError("Nothing was changed.")
        return _moved(change, chosen, to.pk if to else None)


def _chosen(sightings: Sequence[Sighting], tracks: Sequence[Track], to: Identity | None) -> list[Track]:
    by_key = {track.pk: track for track in [*tracks, *history_plan.tracks_of(sightings)]}
    chosen = [track for track in by_key.values() if track.identity_id != (to.pk if to else None) or not track.pinned]
    if not chosen:
        raise ConflictError("Nothing that is kept of these sightings could be given to somebody else.")
    if len(chosen) > MOST_CHOSEN:
        raise ConflictError(f"At most {MOST_CHOSEN} tracks at once, these are {len(chosen)}: choose fewer sightings.")
    return chosen


def _change_about_nobody(chosen: Sequence[Track], actor: Actor, details: dict[str, Any]) -> Change:
    collection_id = Camera.objects.values_list("collection_id", flat=True).get(pk=chosen[0].camera_id)
    empty = journal.Edit(collection_id, {})
    return empty.close("move_sightings", actor, identities=[], details=details)


def _moved(change: Change, tracks: Sequence[Track], after: UUID | None) -> Change:
    history_plan.plan_tracks(change, tracks, after)
    start(change)
    return change


def split(
    *,
    identity: Identity,
    actor: Actor,
    portraits: Sequence[Portrait] = (),
    sightings: Sequence[Sighting] = (),
    to: Identity | None = None,
    name: str | None = None,
) -> Change:
    """`editing.split`, of portraits and of sightings: both in one change.

    Raises:
        ConflictError: as there; or a sighting is not this person's.
    """
    if not sightings:
        return editing.split(identity=identity, actor=actor, portraits=portraits, to=to, name=name)
    if any(row.identity_id != identity.pk for row in sightings):
        raise ConflictError("A sighting is not this person's (any more).", field="sightings")
    chosen = _chosen(sightings, (), to)
    with transaction.atomic():
        details: dict[str, Any] = {"pin": True, "tracks": len(chosen)}
        change = editing.split(identity=identity, actor=actor, portraits=portraits, to=to, name=name, details=details)
        return _moved(change, chosen, UUID(change.details["to"]))


def reject_face(*, detection: Detection, identity: Identity, actor: Actor) -> Change:
    """Not this person: of a face that was seen. Its track is judged anew, and never is this person again.

    Raises:
        ConflictError: it was rejected before; somebody is deleted, merged or of another collection.
        NotFoundError: the person was erased.
    """
    return reject_faces(detections=[detection], identity=identity, actor=actor)


def reject_sighting(*, sighting: Sighting, actor: Actor) -> Change:
    """Not this person: of the best face of every track in a sighting.

    Raises:
        ConflictError: as `reject_face`; or no face of it is kept.
    """
    tracks = history_plan.tracks_of([sighting])
    if not tracks or len(tracks) > MOST_REJECTED:
        told = (
            "No face of this sighting is kept." if not tracks else f"It has {len(tracks)} tracks: reject single faces."
        )
        raise ConflictError(told, field="sighting")
    faces = [Detection.objects.filter(track=track).order_by("-grade", "-quality_score", "pk")[0] for track in tracks]
    return reject_faces(detections=faces, identity=sighting.identity, actor=actor)


def reject_faces(*, detections: Sequence[Detection], identity: Identity, actor: Actor) -> Change:
    """`reject_face` of several faces, in one change."""
    details: dict[str, Any] = {"pin": False, "from": str(identity.pk), "faces": [each.pk for each in detections]}
    with transaction.atomic():
        with journal.edit(action="reject_face", actor=actor, identities=[identity], details=details) as edit:
            person = require_living(edit.people[identity.pk])
            if FaceRejection.objects.filter(identity=person, detection__in=detections).exists():
                raise ConflictError("This face was rejected before.", field="face")
            for detection in detections:
                edit.create(FaceRejection, identity=person, detection=detection)
        if edit.change is None:
            raise ConflictError("Nothing was changed.")
        for detection in detections:
            _judge_without(edit.change, detection, person)
        return edit.change


def _judge_without(change: Change, detection: Detection, person: Identity) -> None:
    """At once, as they are few; noted in the ledger for the undo."""
    timeline.lock(detection.camera_id)
    track = Track.objects.filter(detections=detection.pk, identity=person).first()
    if track is None:
        return
    camera = Camera.objects.select_related("collection__active_model").get(pk=detection.camera_id)
    work = Work(camera, camera.collection.active_model, {track.pk: track})
    decision = judging.would_be(work, track)
    history_plan.plan_tracks(change, [track], decision.key)
    HistoryMove.objects.filter(change=change, track=track).update(done=True)
    judging.hand_over(work, track, decision.key, decision.similarity, pinned=False)
    events.update(camera=camera, touches=work.touches, undoing=False)


def preview_merge(*, target: Identity, sources: Sequence[Identity]) -> Preview:
    """What merging would do, without doing it."""
    keys = [each.pk for each in sources]
    theirs = Portrait.objects.filter(identity__in=keys, deleted_at=None)
    new = theirs.exclude(sha256__in=Portrait.objects.filter(identity=target).values("sha256"))
    portraits = new.values("sha256").distinct().count()
    watches = Watch.objects.filter(identity__in=keys).count()
    moves = history_plan.preview_all(keys, target.pk)
    found = Preview(moves, portraits=portraits, watches=watches)
    if any(each.kind == Identity.Kind.UNKNOWN for each in [target, *sources]) and any(
        each.kind == Identity.Kind.KNOWN for each in [target, *sources]
    ):
        pulled = preview_name(identity=target, others=sources)
        found = replace(found, moves=[*moves, *pulled.moves], at_most=pulled.at_most)
    return found


def preview_name(*, identity: Identity, others: Sequence[Identity] = ()) -> Preview:
    """Which past tracks would be the person's, once they have a name."""
    collection = Collection.objects.select_related("active_model").get(pk=identity.collection_id)
    return history_plan.preview_alike(identity, collection, people=[each.pk for each in others])


def preview_reassign(*, sightings: Sequence[Sighting], to: Identity | None) -> Preview:
    """What moving sightings would do, without doing it."""
    return Preview(history_plan.preview_tracks(_chosen(sightings, (), to), to.pk if to else None))
