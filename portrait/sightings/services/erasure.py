"""What goes with whom: a person's faces, sightings and the frames that show them; a sighting that is taken back."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from uuid import UUID

from django.db.models import Count, Max, Min, Q, QuerySet

from portrait.cameras.models import Frame, FrameState
from portrait.cameras.services import ledger
from portrait.core.files import atomic_with_files
from portrait.sightings.decide import TEMPLATE_FACES, Grade
from portrait.sightings.models import Detection, DetectionEmbedding, Sighting, Timeline, Track
from portrait.sightings.services import judging
from portrait.sightings.services.pictures import CutOut, prepare_cut_outs, save_cut_outs

CHUNK = 200
"""Frames or sightings in one step; faces are ten times as many."""
ERASED = "Somebody whom this picture showed was erased."


def lock_timelines(camera_ids: Iterable[UUID]) -> None:
    """Wait until nobody else changes what was seen by these cameras; always in the same order."""
    rows = Timeline.objects.filter(camera_id__in=list(camera_ids)).order_by("camera_id")
    list(rows.select_for_update(of=("self",)))


def erase_most(*, identity_id: UUID) -> None:
    """Remove nearly all that was seen of a person, by small transactions: a camera's workers wait for moments only.

    Before the transaction that deletes the identity, where `erase_identity` finds what came in meanwhile. Cut off in
    the middle, the person is still there: erase them again, and it goes on with what is left.
    """
    newest = _faces_of(identity_id).aggregate(newest=Max("pk"))["newest"] or 0
    faces = _faces_of(identity_id).filter(pk__lte=newest)  # workers may add some all the time
    _repeat(lambda: _erase_pictures(identity_id, faces))
    _repeat(lambda: _erase_faces(faces))
    _repeat(lambda: _erase_sightings(Sighting.everything.filter(identity_id=identity_id)))


def erase_identity(*, identity_id: UUID) -> None:
    """Remove whatever was seen of a person: faces, vectors, sightings, tracks, and the pictures of frames with them.

    In the transaction that deletes the identity, before its row goes. The frames' rows stay, as expired; what other
    people's sightings need of the pictures is saved first.
    """
    faces, sightings = _faces_of(identity_id), Sighting.everything.filter(identity_id=identity_id)
    with atomic_with_files():
        lock_timelines(_cameras(faces) | _cameras(sightings))
        _repeat(lambda: _erase_pictures(identity_id, faces))
        _repeat(lambda: _erase_faces(faces))
        _repeat(lambda: _erase_sightings(sightings))
        Track.objects.filter(identity_id=identity_id).delete()


def _repeat(step: Callable[[], int]) -> None:
    while step():
        pass


def _faces_of(identity_id: UUID) -> "QuerySet[Detection]":
    return Detection.objects.filter(Q(identity_id=identity_id) | Q(track__identity_id=identity_id))


def _cameras(rows: "QuerySet[Detection] | QuerySet[Sighting]") -> set[UUID]:
    return set(rows.order_by().values_list("camera_id", flat=True).distinct())


def _erase_pictures(identity_id: UUID, faces: "QuerySet[Detection]") -> int:
    """Of some frames of a person that still have one; answers how many."""
    shown = Frame.objects.filter(pk__in=faces.order_by().values("frame_id")).exclude(picture="")
    ended = shown.exclude(state=FrameState.WAITING).order_by("pk")
    some = list(ended[:CHUNK])
    prepared = prepare_cut_outs([frame.pk for frame in some], without=identity_id)
    with atomic_with_files():
        lock_timelines({frame.camera_id for frame in some})
        # Locked, so that none of them is given back to the workers meanwhile.
        frames = list(ended.filter(pk__in=[frame.pk for frame in some]).select_for_update(of=("self",)))
        remove_pictures(frames, prepared, code="erased", message=ERASED, without=identity_id)
    return len(some)


def _erase_faces(faces: "QuerySet[Detection]") -> int:
    some = dict(faces.order_by("pk").values_list("pk", "camera_id")[: 10 * CHUNK])
    with atomic_with_files():
        lock_timelines(some.values())
        delete_faces(faces.filter(pk__in=some).values_list("pk", flat=True))
    return len(some)


def _erase_sightings(sightings: "QuerySet[Sighting]") -> int:
    """Their pictures follow."""
    some = dict(sightings.order_by("pk").values_list("pk", "camera_id")[:CHUNK])
    with atomic_with_files():
        lock_timelines(some.values())
        Sighting.everything.filter(pk__in=some).delete()
    return len(some)


def remove_pictures(
    frames: Sequence[Frame],
    prepared: Mapping[UUID, CutOut],
    *,
    code: str,
    message: str,
    without: UUID | None = None,
) -> int:
    """Remove ended frames' pictures, once the sightings have their cut-outs of them; answers how many those were.

    Inside `atomic_with_files`, under the lock of the frames' cameras, with the frames' rows locked. prepared: see
    `prepare_cut_outs`, without: an identity whose sightings need none.
    """
    saved = save_cut_outs([frame.pk for frame in frames], prepared, without=without)
    ledger.expire(frames=frames, code=code, message=message)
    return saved


def delete_faces(detection_ids: Iterable[int]) -> None:
    """Remove faces with their vectors, and tracks that have none left; the others forget them. Under the lock of their
    cameras."""
    ids = list(detection_ids)
    faces = Detection.objects.filter(pk__in=ids)
    tracks = _tracks_of(faces)
    DetectionEmbedding.objects.filter(detection_id__in=ids).delete()
    faces.delete()
    _after_loss(tracks)


def _tracks_of(faces: "QuerySet[Detection]") -> list[int]:
    return list(faces.order_by().exclude(track=None).values_list("track_id", flat=True).distinct())


def _after_loss(track_ids: Collection[int]) -> None:
    """Tracks that lost faces: without any they go; the others are as long and as good as what is left of them. Who a
    track is stays decided until its next face comes."""
    Track.objects.filter(pk__in=track_ids, detections=None).delete()
    for track in Track.objects.filter(pk__in=track_ids).select_related("camera__collection__active_model"):
        left = Detection.objects.filter(track=track)
        ends = left.aggregate(first=Min("captured_at"), last=Max("captured_at"), frames=Count("frame", distinct=True))
        track.first_seen, track.last_seen, track.frames = ends["first"], ends["last"], ends["frames"]
        if left.filter(pk__in=track.template).count() < len(track.template):
            _renew_template(track, left)
        track.save()


def _renew_template(track: Track, faces: "QuerySet[Detection]") -> None:
    """The best of the faces that are left, and the exemplars with it."""
    best = faces.filter(grade__gt=Grade.POOR).order_by("-grade", "-quality_score", "captured_at", "id")
    ids = list(best.values_list("pk", flat=True)[:TEMPLATE_FACES])
    model = track.camera.collection.active_model
    judging.set_template(judging.Work(track.camera, model), track, ids)
    vectors = DetectionEmbedding.objects.filter(detection__track=track)
    vectors.filter(exemplar=True).exclude(detection_id__in=ids).update(exemplar=False)
    vectors.filter(exemplar=False, detection_id__in=ids).update(exemplar=True)


def delete_sighting(*, sighting: Sighting) -> None:
    """Take a sighting back: its row and picture go, and the faces in it are nobody's any more.

    The faces stay, dismissed: without a name and without a track for good, so that frames that come late do not bring
    the sighting back. Whoever wants the faces gone too erases the person, or waits for the camera's rule.
    """
    with atomic_with_files():
        lock_timelines([sighting.camera_id])
        row = Sighting.objects.filter(pk=sighting.pk).first()  # it may have grown meanwhile
        if row is None:
            return
        faces = Detection.objects.filter(
            camera_id=row.camera_id,
            identity_id=row.identity_id,
            captured_at__range=(row.first_seen, row.last_seen),
        )
        tracks = _tracks_of(faces)
        faces.update(identity=None, similarity=None, track=None, dismissed=True)
        _after_loss(tracks)
        row.delete()
