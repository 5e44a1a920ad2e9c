"""New faces become part of tracks, and tracks get their identity. Everything here runs under the camera's lock."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from django.db.models import Count, Max, Min

from inference.types import Face, FaceAnalysis, FloatArray
from portrait.cameras.models import Frame
from portrait.gallery.face_json import quality_json
from portrait.gallery.vectors import own_calibration, stored_values, vector_of
from portrait.sightings import evidence
from portrait.sightings.decide import TEMPLATE_FACES, Decision, Grade, grade
from portrait.sightings.evidence import Neighbours, microseconds
from portrait.sightings.linking import LINK_S, groups, limits_for, links
from portrait.sightings.models import Detection, DetectionEmbedding, HistoryMove, Track
from portrait.sightings.services import judging
from portrait.sightings.services.judging import Work


@dataclass(frozen=True, slots=True)
class SeenFrame:
    """A frame, and what the networks found in it."""

    frame: Frame
    analysis: FaceAnalysis


@dataclass(frozen=True, slots=True)
class _NewFace:
    row: Detection
    face: Face
    vector: FloatArray
    """By the model that decides."""


@dataclass(frozen=True, slots=True)
class _Grown:
    """A track with its new faces. candidates: the others that may be among its best. before: how many frames it had."""

    track: Track
    new: list[Detection]
    candidates: set[int]
    before: int


def extend(*, work: Work, seen: Sequence[SeenFrame]) -> None:
    """Store new faces, link them with those before and after, and decide who their tracks are; `work.touches` then
    tells whose hits changed. Frames that are far apart in time may come together."""
    for together in _close(seen):
        faces = [_new_face(work, each.frame, face) for each in together for face in each.analysis.faces]
        if faces:
            _judge(work, _link(work, faces))


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


def _new_face(work: Work, frame: Frame, face: Face) -> _NewFace:
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
    return _NewFace(row, face, vector_of(work.model, face))


def _link(work: Work, faces: Sequence[_NewFace]) -> list[_Grown]:
    """Store faces with their tracks; answers the tracks that changed, with the faces that may be among their best."""
    model, times = work.model, [each.row.captured_at for each in faces]
    reach = timedelta(seconds=LINK_S)
    old = evidence.faces_between(work.camera, model.pk, min(times) - reach, max(times) + reach, model.dims)
    new = evidence.spots(
        [(each.row.frame_id, each.row.captured_at, each.row.box, each.row.acceptable, each.vector) for each in faces],
        model.dims,
    )
    limits = limits_for(own_calibration(model))
    found = [
        group
        for group in groups(len(faces) + len(old.ids), [*links(new, old.spots, limits), *_known_links(old, len(faces))])
        if group[0] < len(faces)
    ]
    grown = [_adopt(work, group, old, faces) for group in found]
    Track.objects.bulk_create([each.track for each in grown if each.track.pk is None])
    for each in grown:
        for row in each.new:
            row.track_id = each.track.pk
    _store(work, faces)
    work.tracks.update((each.track.pk, each.track) for each in grown)
    return grown


def _known_links(old: Neighbours, offset: int) -> list[tuple[int, int]]:
    """Faces of one track hang together already."""
    first: dict[int, int] = {}
    return [
        (first.setdefault(track, offset + index), offset + index)
        for index, track in enumerate(old.tracks)
        if track is not None
    ]


def _adopt(work: Work, group: Sequence[int], old: Neighbours, faces: Sequence[_NewFace]) -> _Grown:
    """Make one track of a group: the oldest of those in it, or a new one. What somebody pinned stays theirs."""
    known = [index - len(faces) for index in group if index >= len(faces)]
    new = [faces[index].row for index in group if index < len(faces)]
    ids = {key for index in known if (key := old.tracks[index]) is not None}
    loose = [old.ids[index] for index in known if old.tracks[index] is None]
    tracks = _joinable(work.fetch(ids))
    times = [row.captured_at for row in new]
    track = tracks[0] if tracks else Track(camera=work.camera, first_seen=min(times), last_seen=max(times))
    before = track.frames
    track.first_seen, track.last_seen = min(track.first_seen, *times), max(track.last_seen, *times)
    track.frames += len({row.frame_id for row in new})
    for row in new:
        row.identity_id, row.similarity = track.identity_id, track.similarity
        if track.identity_id is not None:
            work.touches[track.identity_id].added.append(microseconds(row.captured_at))
    candidates = {key for each in tracks for key in each.template} | set(loose)
    if tracks[1:] or loose:
        _merge(work, track, tracks[1:], loose, new)
    return _Grown(track, new, candidates, before)


def _joinable(tracks: Sequence[Track]) -> Sequence[Track]:
    """Those that may become one, the one that stays first: one of which somebody said who it is goes before the others,
    and those that were said to be somebody else stay apart."""
    pinned = next((track for track in tracks if track.pinned), None)
    if pinned is None:
        return tracks
    same = (each for each in tracks if not each.pinned or each.identity_id == pinned.identity_id)
    return [pinned, *(each for each in same if each is not pinned)]


def _merge(work: Work, track: Track, others: Sequence[Track], loose: Sequence[int], new: Sequence[Detection]) -> None:
    """Give a track the faces of others, and faces that lost theirs. The track has been saved before."""
    gone = [other.pk for other in others]
    moved = Detection.objects.filter(track_id__in=gone) | Detection.objects.filter(pk__in=loose)
    if track.pk is None:
        track.save()
    _take_over_moves(track, others, before=track.frames - len({row.frame_id for row in new}))
    moved.update(track=track)
    Track.objects.filter(pk__in=gone).delete()
    for key in gone:
        work.tracks.pop(key, None)
    ends = Detection.objects.filter(track=track).aggregate(
        first=Min("captured_at"), last=Max("captured_at"), frames=Count("frame", distinct=True)
    )
    stored, added = ends["frames"], {row.frame_id for row in new}
    track.frames = stored + len(added)
    track.first_seen = min(track.first_seen, ends["first"])
    track.last_seen = max(track.last_seen, ends["last"])
    track.registered_id = track.registered_id or next(
        (each.registered_id for each in others if each.registered_id), None
    )
    judging.relabel(work, track, Decision(track.identity_id, track.similarity))


def _take_over_moves(track: Track, others: Sequence[Track], *, before: int) -> None:
    """What edits of people did to the longest of them is to be undone for all that they are now; the ledger of the
    others goes with them. before: how many frames the one that stays had."""
    longest = max(others, key=lambda each: each.frames, default=track)
    if longest.frames > before and not track.pinned:
        mine = HistoryMove.objects.filter(track=track).values("change_id")
        HistoryMove.objects.filter(track=longest).exclude(change__in=mine).update(track=track)


def _store(work: Work, faces: Sequence[_NewFace]) -> None:
    Detection.objects.bulk_create([each.row for each in faces])
    DetectionEmbedding.objects.bulk_create(
        [
            DetectionEmbedding(
                detection=each.row,
                model=model,
                collection_id=work.camera.collection_id,
                camera=work.camera,
                captured_at=each.row.captured_at,
                **stored_values(model, vector_of(model, each.face)),
            )
            for model in (work.model, *work.kept)
            for each in faces
        ]
    )


def _judge(work: Work, grown: Sequence[_Grown]) -> None:
    """Look again at those tracks whose best faces changed, or that have just become long enough to be somebody new."""
    known = Detection.objects.in_bulk({key for each in grown for key in each.candidates})
    again: list[Track] = []
    removed: set[int] = set()
    chosen: set[int] = set()
    for each in grown:
        track = each.track
        ids = best([*(known[key] for key in each.candidates if key in known), *each.new])
        if ids != track.template:
            removed |= each.candidates - set(ids)
            chosen |= set(ids)
            judging.set_template(work, track, ids)
            again.append(track)
        elif each.before < work.camera.min_hits <= track.frames:
            again.append(track)
        track.save()  # before any is judged: judging looks at what is stored of those beside
    rows = DetectionEmbedding.objects.all()  # by all models: the collection may be searched by another one soon
    rows.filter(detection_id__in=removed, exemplar=True).update(exemplar=False)
    rows.filter(detection_id__in=chosen, exemplar=False).update(exemplar=True)
    judging.judge(work, again)


def best(faces: Iterable[Detection]) -> list[int]:
    """Ids of the best faces that may say who it is, best first: the same whatever order they came in."""
    usable = [face for face in faces if face.grade > Grade.POOR]
    usable.sort(key=lambda face: (-face.grade, -face.quality_score, face.captured_at, face.pk))
    return [face.pk for face in usable[:TEMPLATE_FACES]]
