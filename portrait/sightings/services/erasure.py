"""What goes with whom: a person's faces, sightings and the frames that show them; a sighting that is taken back."""

from collections.abc import Collection, Iterable, Sequence
from uuid import UUID

from django.db.models import Q, QuerySet

from portrait.cameras.models import Frame, FrameState
from portrait.cameras.services import ledger
from portrait.core.files import atomic_with_files
from portrait.sightings.models import Detection, DetectionEmbedding, Sighting, Timeline, Track
from portrait.sightings.services.pictures import save_cut_outs

CHUNK = 200
ERASED = "Somebody whom this picture showed was erased."


def lock_timelines(camera_ids: Iterable[UUID]) -> None:
    """Wait until nobody else changes what was seen by these cameras; always in the same order."""
    rows = Timeline.objects.filter(camera_id__in=list(camera_ids)).order_by("camera_id")
    list(rows.select_for_update(of=("self",)))


def erase_identity(*, identity_id: UUID) -> None:
    """Remove whatever was seen of a person: faces, vectors, sightings, tracks, and the pictures of frames with them.

    In the transaction that deletes the identity, before its row goes. The frames' rows stay, as expired; what other
    people's sightings need of the pictures is saved first.
    """
    faces = Detection.objects.filter(Q(identity_id=identity_id) | Q(track__identity_id=identity_id))
    sightings = Sighting.objects.filter(identity_id=identity_id)
    with atomic_with_files():
        lock_timelines(
            {*faces.order_by().values_list("camera_id", flat=True).distinct()}
            | {*sightings.order_by().values_list("camera_id", flat=True).distinct()}
        )
        sightings.delete()  # their pictures follow
        while frames := _with_picture(faces):
            remove_pictures(frames, code="erased", message=ERASED)
        while ids := list(faces.order_by("pk").values_list("pk", flat=True)[: 5 * CHUNK]):
            delete_faces(ids)
        Track.objects.filter(identity_id=identity_id).delete()


def _with_picture(faces: "QuerySet[Detection]") -> list[Frame]:
    """A person's frames that still have a picture, locked: none is given back to the workers meanwhile."""
    frames = Frame.objects.filter(pk__in=faces.order_by().values("frame_id")).exclude(picture="")
    ended = frames.exclude(state=FrameState.WAITING).order_by("pk")
    return list(ended.select_for_update(of=("self",))[:CHUNK])


def remove_pictures(frames: Sequence[Frame], *, code: str, message: str) -> int:
    """Remove ended frames' pictures, once the sightings have their cut-outs of them; answers how many those were.

    Inside `atomic_with_files`, under the lock of the frames' cameras, with the frames' rows locked.
    """
    needed = Sighting.objects.filter(best__frame__in=[frame.pk for frame in frames]).select_related("best__frame")
    saved = save_cut_outs(list(needed))
    ledger.expire(frames=frames, code=code, message=message)
    return saved


def delete_faces(detection_ids: Collection[int]) -> None:
    """Remove faces with their vectors, and tracks that have none left. Under the lock of their cameras."""
    faces = Detection.objects.filter(pk__in=detection_ids)
    tracks = list(faces.order_by().exclude(track=None).values_list("track_id", flat=True).distinct())
    DetectionEmbedding.objects.filter(detection_id__in=detection_ids).delete()
    faces.delete()
    Track.objects.filter(pk__in=tracks, detections=None).delete()


def delete_sighting(*, sighting: Sighting) -> None:
    """Take a sighting back: its row and picture go, and the faces in it are nobody's any more.

    The faces stay, without a name and without their track, so that frames that come late do not bring the sighting
    back. Whoever wants the faces gone too erases the person, or waits for the camera's rule.
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
        tracks = list(faces.order_by().exclude(track=None).values_list("track_id", flat=True).distinct())
        faces.update(identity=None, similarity=None, track=None)
        Track.objects.filter(pk__in=tracks, detections=None).delete()
        row.delete()
