"""Who a track is: by what its best faces look like, and by who is to be seen beside it in the same frames."""

import logging
from collections import defaultdict, deque
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from uuid import UUID

from django.db.models import Max, Min, QuerySet

from portrait.cameras.models import Camera
from portrait.gallery.models import EmbeddingModel, Identity
from portrait.gallery.selectors import nearest_identities
from portrait.gallery.vectors import own_calibration
from portrait.sightings import evidence
from portrait.sightings.decide import (
    CLEARLY_NOT,
    Decision,
    Grade,
    Likeness,
    Standing,
    Template,
    decide,
    deciding,
    steady_distance,
    template,
)
from portrait.sightings.evidence import microseconds
from portrait.sightings.models import Detection, FaceRejection, Sighting, Track

logger = logging.getLogger(__name__)

LIKENESSES = 5
MOST_JUDGED = 1000
STALE = "stale"


@dataclass(slots=True)
class Touch:
    """What changed of one person's hits. Times are microseconds.

    added: new hits; since, until: where earlier ones were given to or taken from the person, None where none was;
    surer: hits of a track whose likeness to the person changed.
    """

    added: list[int] = field(default_factory=list)
    since: int | None = None
    until: int | None = None
    surer: list[int] = field(default_factory=list)

    def widen(self, since: datetime, until: datetime) -> None:
        low, high = microseconds(since), microseconds(until)
        self.since = low if self.since is None else min(self.since, low)
        self.until = high if self.until is None else max(self.until, high)


Touches = dict[UUID, Touch]


@dataclass(frozen=True, slots=True)
class Work:
    """What one transaction does to a camera's story. Each track is one object in it, however it was come by."""

    camera: Camera
    """With its collection and that one's active model."""
    model: EmbeddingModel
    tracks: dict[int, Track] = field(default_factory=dict)
    touches: Touches = field(default_factory=lambda: defaultdict(Touch))
    kept: tuple[EmbeddingModel, ...] = ()
    """Further models whose vectors faces get (`gallery.services.spaces`)."""

    def fetch(self, track_ids: Collection[int]) -> list[Track]:
        """These tracks, in order of their ids."""
        missing = set(track_ids) - set(self.tracks)
        if missing:
            self.tracks.update(Track.objects.in_bulk(missing))
        return [self.tracks[key] for key in sorted(track_ids) if key in self.tracks]


def judge(work: Work, tracks: Sequence[Track]) -> None:
    """Decide who tracks are whose best faces or length changed, and who those beside them are where that leaves
    more, or less, for them. Ends when nobody's answer changes: nobody takes a person from somebody more similar.
    """
    waiting, judged = deque(tracks), 0
    while waiting:
        track = waiting.popleft()
        if track.pinned:  # somebody said who it is
            continue
        before = (track.identity_id, track.similarity)
        _judge_one(work, track)
        judged += 1
        if judged > MOST_JUDGED:
            logger.error("camera %s: %d tracks judged in a row, the rest stays", work.camera.pk, judged)
            return
        if before != (track.identity_id, track.similarity):
            concerned = {key for key in (before[0], track.identity_id) if key is not None}
            waiting += [other for other in _beside(work, track, concerned) if other not in waiting]


def would_be(work: Work, track: Track) -> Decision[UUID]:
    """Who a track is by the gallery of now. Only what it looks like is noted on the row, which is not saved."""
    _look(work, track)
    return _decision(work, track)


def forget_likeness(track: Track) -> None:
    """The gallery changed: what a track looked like is asked again when it is next judged. The row is not saved."""
    if track.evidence:
        track.evidence = {STALE: True}


def hand_over(work: Work, track: Track, identity_id: UUID | None, similarity: float | None, *, pinned: bool) -> None:
    """Give a track with all its faces to somebody, or to nobody, whatever they look like; saves the row."""
    if identity_id is not None and identity_id == track.identity_id:  # nothing is rebuilt for it
        Sighting.objects.filter(best__track=track).update(similarity=similarity)
    relabel(work, track, Decision(identity_id, similarity))
    track.pinned, track.stranger_due = pinned, False
    forget_likeness(track)
    track.save()


def look_again(work: Work, track: Track) -> None:
    """Compare a track with the gallery anew: somebody was added to it."""
    _look(work, track)
    judge(work, [track])


def set_template(work: Work, track: Track, ids: Sequence[int]) -> None:
    """Give a track its best faces, and compare it with the gallery."""
    track.template = list(ids)
    _look(work, track)


def relabel(work: Work, track: Track, decision: Decision[UUID]) -> None:
    """Give a track its identity, and with it all its faces."""
    others = Detection.objects.filter(track=track)
    others = others.exclude(identity_id=decision.key) if decision.key else others.exclude(identity=None)
    ranges = others.order_by().values_list("identity_id").annotate(since=Min("captured_at"), until=Max("captured_at"))
    for before, since, until in list(ranges):
        for key in (before, decision.key):
            if key is not None:
                work.touches[key].widen(since, until)
    others.update(identity_id=decision.key, similarity=decision.similarity)
    track.identity_id, track.similarity = decision.key, decision.similarity


def _judge_one(work: Work, track: Track) -> None:
    decision = _decision(work, track)
    if decision.key is not None and decision.key != track.identity_id and not _exists(decision.key):
        _look(work, track)
        decision = _decision(work, track)
    if decision.key != track.identity_id:
        relabel(work, track, decision)
    elif decision.similarity != track.similarity and decision.key is not None:
        track.similarity = decision.similarity
        Sighting.objects.filter(best__track=track).update(similarity=decision.similarity)
        work.touches[decision.key].surer.append(microseconds(track.last_seen))
    track.similarity, track.stranger_due = decision.similarity, decision.stranger
    track.save()


def _exists(identity_id: UUID) -> bool:
    """Whether somebody has not been erased, deleted or merged since the track was compared with the gallery."""
    return Identity.objects.filter(pk=identity_id, deleted_at=None, merged_into=None).exists()


def _decision(work: Work, track: Track) -> Decision[UUID]:
    if STALE in track.evidence:
        _look(work, track)
    if not track.evidence:
        return Decision()
    likenesses = [
        Likeness(UUID(key), similarity, named, own=UUID(key) == track.registered_id)
        for key, similarity, named in track.evidence["likenesses"]
    ]
    standing = track.evidence["standing"]
    return decide(
        Standing(standing["faces"], Grade(standing["grade"]), standing["steady"]),
        likenesses,
        taken=taken(work.camera, track),
        frames=track.frames,
        min_frames=work.camera.min_hits,
    )


def _look(work: Work, track: Track) -> None:
    """Compare a track's best faces with the gallery; what comes out is kept for as long as they are the best."""
    face = template_of(work.model, track)
    if face is None:
        track.evidence, track.candidates = {}, []
        return
    found = nearest_identities(
        work.camera.collection,
        face.vector,
        top_k=LIKENESSES,
        min_similarity=CLEARLY_NOT,
        exclude=_rejected(track),
    )
    known = Identity.Kind.KNOWN
    likenesses = [[str(each.identity.pk), each.similarity, each.identity.kind == known] for each in found]
    track.evidence = {"standing": asdict(face.standing), "likenesses": likenesses}
    track.candidates = [each.identity.pk for each in found]


def _rejected(track: Track) -> list[UUID]:
    """Whose a face of the track is not, as somebody said."""
    rows = FaceRejection.objects.filter(detection__track=track.pk)
    return list(rows.values_list("identity_id", flat=True).distinct())


def template_of(model: EmbeddingModel, track: Track) -> Template | None:
    """The mean of the faces that decide about a track; None where none may."""
    rows = {row.pk: row for row in Detection.objects.filter(pk__in=track.template).only("pk", "grade")}
    vectors = evidence.vectors_of(rows, model.pk)
    ids = [key for key in track.template if key in vectors]
    grades = [Grade(rows[key].grade) for key in ids]
    count = deciding(grades)
    steady = steady_distance(own_calibration(model))
    return template([vectors[key] for key in ids[:count]], grades[:count], steady) if count else None


def taken(camera: Camera, track: Track) -> dict[UUID, float]:
    """Which of those whom a track looks like are to be seen beside it, and how similar."""
    found: dict[UUID, float] = {}
    for other in _overlapping(camera, track).filter(identity_id__in=track.candidates):
        if _share_a_frame(track, other) and other.identity_id is not None:
            found[other.identity_id] = max(other.similarity or 0.0, found.get(other.identity_id, 0.0))
    return found


def _beside(work: Work, track: Track, identity_ids: set[UUID]) -> list[Track]:
    """The tracks beside one that look like one of these people."""
    rows = _overlapping(work.camera, track).filter(candidates__overlap=list(identity_ids))
    return work.fetch([other.pk for other in rows if _share_a_frame(track, other)])


def _overlapping(camera: Camera, track: Track) -> "QuerySet[Track]":
    """Tracks of the same stretch of time."""
    rows = Track.objects.filter(camera=camera, first_seen__lte=track.last_seen, last_seen__gte=track.first_seen)
    return rows.exclude(pk=track.pk)


def _share_a_frame(one: Track, other: Track) -> bool:
    """Whether two tracks are of two people, as both are to be seen in one frame."""
    frames = Detection.objects.filter(track_id=one.pk, captured_at__range=(other.first_seen, other.last_seen))
    return Detection.objects.filter(track_id=other.pk, frame_id__in=frames.values("frame_id")).exists()
