"""New faces become part of tracks, and tracks get their identity. Everything here runs under the camera's lock."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import Count, Max, Min

from inference.types import Face, FaceAnalysis
from portrait.cameras.models import Camera, Frame
from portrait.gallery.face_json import quality_json
from portrait.gallery.models import EmbeddingModel, Identity
from portrait.gallery.selectors import nearest_identities
from portrait.sightings import evidence
from portrait.sightings.decide import (
    CLEARLY_NOT,
    TEMPLATE_FACES,
    Decision,
    Grade,
    Likeness,
    Template,
    decide,
    deciding,
    grade,
    template,
)
from portrait.sightings.evidence import Neighbours, microseconds
from portrait.sightings.linking import LINK_S, groups, links
from portrait.sightings.models import Detection, DetectionEmbedding, Track

LIKENESSES = 5
MOST_JUDGED = 50
"""So many tracks at most are judged again in a row: each change may free somebody for those beside."""


@dataclass(frozen=True, slots=True)
class SeenFrame:
    """A frame, and what the networks found in it."""

    frame: Frame
    analysis: FaceAnalysis


@dataclass(slots=True)
class Touch:
    """What changed of one person's hits. added: new hits, microseconds; since, until: where earlier ones were given
    to or taken from the person, None where none was."""

    added: list[int] = field(default_factory=list)
    since: int | None = None
    until: int | None = None

    def widen(self, since: datetime, until: datetime) -> None:
        low, high = microseconds(since), microseconds(until)
        self.since = low if self.since is None else min(self.since, low)
        self.until = high if self.until is None else max(self.until, high)


Touches = dict[UUID, Touch]


@dataclass(frozen=True, slots=True)
class _NewFace:
    row: Detection
    face: Face


def extend(*, camera: Camera, model: EmbeddingModel, seen: Sequence[SeenFrame]) -> Touches:
    """Store new faces, link them with those before and after, and decide who their tracks are.

    camera: with its collection and that one's active model. Answers whose hits changed. Frames that are far apart in
    time may come together.
    """
    touches: Touches = defaultdict(Touch)
    for together in _close(seen):
        faces = [_new_face(each.frame, face) for each in together for face in each.analysis.faces]
        if faces:
            tracks = _link(camera, model, faces, touches)
            _decide(camera, model, tracks, touches)
    return touches


def relabel(track: Track, decision: Decision[UUID], touches: Touches) -> None:
    """Give a track its identity, and with it all its faces."""
    others = Detection.objects.filter(track=track)
    others = others.exclude(identity_id=decision.key) if decision.key else others.exclude(identity=None)
    ranges = others.order_by().values_list("identity_id").annotate(since=Min("captured_at"), until=Max("captured_at"))
    for before, since, until in list(ranges):
        for key in (before, decision.key):
            if key is not None:
                touches[key].widen(since, until)
    others.update(identity_id=decision.key, similarity=decision.similarity)
    track.identity_id, track.similarity = decision.key, decision.similarity


def _close(seen: Sequence[SeenFrame]) -> Iterable[list[SeenFrame]]:
    """Frames by capture time, cut where a link cannot reach across."""
    ordered = sorted(seen, key=lambda each: (each.frame.captured_at, each.frame.sequence))
    start = 0
    for index in range(1, len(ordered) + 1):
        if index == len(ordered) or (
            ordered[index].frame.captured_at - ordered[index - 1].frame.captured_at > timedelta(seconds=2 * LINK_S)
        ):
            yield ordered[start:index]
            start = index


def _new_face(frame: Frame, face: Face) -> _NewFace:
    row = Detection(
        frame=frame,
        camera_id=frame.camera_id,
        captured_at=frame.captured_at,
        box=face.box.as_list(),
        landmarks=face.landmarks.as_dict() if face.landmarks else None,
        score=round(face.score, 4),
        quality=quality_json(face.quality),
        quality_score=round(face.quality.score, 6),
        acceptable=face.quality.acceptable,
        grade=grade(face.quality),
    )
    return _NewFace(row, face)


def _link(camera: Camera, model: EmbeddingModel, faces: Sequence[_NewFace], touches: Touches) -> list[Track]:
    """Store faces with their tracks; answers the tracks that changed."""
    times = [each.row.captured_at for each in faces]
    reach = timedelta(seconds=LINK_S)
    old = evidence.faces_between(camera, model.pk, min(times) - reach, max(times) + reach, model.dims)
    new = evidence.spots(
        [
            (each.row.frame_id, each.row.captured_at, each.row.box, each.row.acceptable, each.face.embedding.vector)
            for each in faces
        ],
        model.dims,
    )
    found = [
        group
        for group in groups(len(faces) + len(old.ids), [*links(new, old.spots), *_known_links(old, len(faces))])
        if group[0] < len(faces)
    ]
    oldest = [_oldest_track(group, old, len(faces)) for group in found]
    known = Track.objects.in_bulk([key for key in oldest if key is not None])
    tracks = [Track(camera=camera) if key is None else known[key] for key in oldest]
    Track.objects.bulk_create([track for track in tracks if track.pk is None])
    for group, track in zip(found, tracks, strict=True):
        _adopt(group, track, old, faces, touches)
    _store(camera, model, faces)
    return tracks


def _known_links(old: Neighbours, offset: int) -> list[tuple[int, int]]:
    """Faces of one track hang together already."""
    first: dict[int, int] = {}
    return [
        (first.setdefault(track, offset + index), offset + index)
        for index, track in enumerate(old.tracks)
        if track is not None
    ]


def _oldest_track(group: Sequence[int], old: Neighbours, offset: int) -> int | None:
    """The track that a group becomes part of: the oldest of those in it; None: it is a new one."""
    ids = {key for index in group if index >= offset and (key := old.tracks[index - offset]) is not None}
    return min(ids, default=None)


def _adopt(group: Sequence[int], track: Track, old: Neighbours, faces: Sequence[_NewFace], touches: Touches) -> None:
    """Make one track of a group's."""
    known = [index - len(faces) for index in group if index >= len(faces)]
    merged = {key for index in known if (key := old.tracks[index]) is not None and key != track.pk}
    if merged:
        Detection.objects.filter(track_id__in=merged).update(track=track)
        Track.objects.filter(pk__in=merged).delete()
    loose = [old.ids[index] for index in known if old.tracks[index] is None]
    if loose:
        Detection.objects.filter(pk__in=loose).update(track=track)
    if merged or loose:
        relabel(track, Decision(track.identity_id, track.similarity), touches)
    for index in group:
        if index < len(faces):
            row = faces[index].row
            row.track, row.identity_id, row.similarity = track, track.identity_id, track.similarity
            if track.identity_id is not None:
                touches[track.identity_id].added.append(microseconds(row.captured_at))


def _store(camera: Camera, model: EmbeddingModel, faces: Sequence[_NewFace]) -> None:
    Detection.objects.bulk_create([each.row for each in faces])
    DetectionEmbedding.objects.bulk_create(
        [
            DetectionEmbedding(
                detection=each.row,
                model=model,
                collection_id=camera.collection_id,
                camera=camera,
                captured_at=each.row.captured_at,
                vector=each.face.embedding.vector,
            )
            for each in faces
        ]
    )


def _decide(camera: Camera, model: EmbeddingModel, tracks: Sequence[Track], touches: Touches) -> None:
    """Look again at those tracks whose best faces changed, or that have become long enough."""
    best = evidence.best_faces([track.pk for track in tracks], TEMPLATE_FACES)
    frames = _frames_of(tracks)
    for track in tracks:
        faces = best.get(track.pk, [])[: deciding([each for _, each in best.get(track.pk, [])])]
        ids = [detection_id for detection_id, _ in faces]
        long_enough = track.identity_id is None and not track.stranger_due and frames[track.pk] >= camera.min_hits
        if ids != track.template:
            _mark_exemplars(model, track, ids)
            track.template = ids
        elif not (ids and long_enough):
            continue
        judge(camera=camera, model=model, track=track, touches=touches)


def judge(*, camera: Camera, model: EmbeddingModel, track: Track, touches: Touches) -> None:
    """Decide who a track is, by its template; and who is beside it, where that changes what is left for them."""
    waiting, seen = [track], 0
    while waiting and seen < MOST_JUDGED:
        each = waiting.pop(0)
        seen += 1
        before = each.identity_id
        _judge_one(camera, model, each, touches)
        if each.identity_id != before:
            concerned = evidence.beside(each.pk).exclude(template=[])
            waiting += [other for other in concerned if other.pk not in {track.pk for track in waiting}]


def _judge_one(camera: Camera, model: EmbeddingModel, track: Track, touches: Touches) -> None:
    decision: Decision[UUID] = Decision()
    if track.template:
        vectors = evidence.vectors_of(track.template, model.pk)
        grades = dict(Detection.objects.filter(pk__in=track.template).values_list("pk", "grade"))
        face = template([vectors[key] for key in track.template], [Grade(grades[key]) for key in track.template])
        decision = decide(
            face,
            _likenesses(camera, track, face),
            taken=evidence.taken_beside(track.pk),
            frames=_frames_of([track])[track.pk],
            min_frames=camera.min_hits,
        )
    track.stranger_due = decision.stranger
    if decision.key != track.identity_id:
        relabel(track, decision, touches)
    track.similarity = decision.similarity
    track.save()


def _frames_of(tracks: Sequence[Track]) -> dict[int, int]:
    """How many frames each track has."""
    faces = Detection.objects.filter(track_id__in={track.pk for track in tracks}).order_by()
    return dict(faces.values_list("track_id").annotate(frames=Count("frame", distinct=True)))


def _likenesses(camera: Camera, track: Track, face: Template) -> list[Likeness[UUID]]:
    found = nearest_identities(camera.collection, face.vector, top_k=LIKENESSES, min_similarity=CLEARLY_NOT)
    return [
        Likeness(
            key=each.identity.pk,
            similarity=each.similarity,
            named=each.identity.kind == Identity.Kind.KNOWN,
            own=each.identity.pk == track.registered_id,
        )
        for each in found
    ]


def _mark_exemplars(model: EmbeddingModel, track: Track, chosen: Sequence[int]) -> None:
    """What search looks at are a track's best faces."""
    rows = DetectionEmbedding.objects.filter(model=model)
    rows.filter(detection__track=track, exemplar=True).exclude(detection_id__in=chosen).update(exemplar=False)
    rows.filter(detection_id__in=chosen, exemplar=False).update(exemplar=True)
