"""The account at the end: from the database and the frame store, not from logs."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import pairwise

from django.db.models import Count, QuerySet

from inference.codec import decode
from portrait.cameras.models import Camera, CaptureStatus, Frame, FrameState
from portrait.cameras.services.audit import audit_camera
from portrait.core.pipelines import codec_limits, face_pipeline
from portrait.sightings.models import Alert, Detection, DetectionEmbedding, Sighting

_SAME_PX = 1.0
_BATCH = 8


@dataclass(slots=True)
class Account:
    """What is wrong, in words, by kind; nothing should be."""

    captured: int = 0
    done: int = 0
    detections: int = 0
    compared: int = 0
    """Frames whose faces were looked for once more."""
    lost: list[str] = field(default_factory=list)
    double: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


def account(
    *,
    cameras: Sequence[Camera],
    pushed: Mapping[str, Mapping[int, tuple[int, str]]],
    read: Mapping[str, int],
    nth: int,
) -> Account:
    """Account for every frame.

    pushed: by camera's name, sequence -> (frame's id, sha256) of what the API said it accepted. read: by camera's
    name, how many frames its file has. nth: frames whose id it divides are looked at by the networks once more.
    """
    found = Account()
    for camera in cameras:
        _audit(camera, found)
        _compare_promises(camera, pushed.get(camera.name, {}), found)
        if camera.name in read:
            _compare_file(camera, read[camera.name], found)
        _sightings_apart(camera, found)
    frames = Frame.objects.filter(camera__in=cameras)
    _files_as_sent(frames, found)
    _same_face_twice(cameras, found)
    _faces_again([frame for frame in frames.order_by("id") if frame.pk % nth == 0], found)
    found.done = frames.filter(state=FrameState.DONE).count()
    found.detections = Detection.objects.filter(camera__in=cameras).count()
    return found


def _audit(camera: Camera, found: Account) -> None:
    """accepted = done + failed + waiting, by the ledger's own audit; and the drill's clients count without a hole."""
    audit = audit_camera(camera=camera)
    found.captured += audit.captured
    if not audit.balanced:
        found.lost.append(f"{camera}: {audit.lost_rows} rows of {audit.accepted} accepted frames are gone")
    if audit.missing:
        found.lost.append(f"{camera}: {audit.missing} sequences without a row: {audit.gaps}")
    if audit.without_file_count:
        found.lost.append(f"{camera}: no picture of the frames {audit.without_file}")
    waiting = Frame.objects.filter(camera=camera, state=FrameState.WAITING).order_by("id")
    found.stuck += [f"{frame}: waits, {frame.attempts} attempts, until {frame.paused_until}" for frame in waiting]
    failed = Frame.objects.filter(camera=camera, state=FrameState.FAILED).order_by("id")
    found.failed += [f"{frame}: {frame.error_code}: {frame.error_message}" for frame in failed]


def _compare_promises(camera: Camera, accepted: Mapping[int, tuple[int, str]], found: Account) -> None:
    """What was said to be accepted has its row: the same one, with the same picture."""
    columns = ("sequence", "id", "sha256")
    rows = {sequence: (pk, sha) for sequence, pk, sha in Frame.objects.filter(camera=camera).values_list(*columns)}
    found.lost += [
        f"{camera}/{sequence}: accepted as {promise}, the ledger has {rows.get(sequence)}"
        for sequence, promise in accepted.items()
        if rows.get(sequence) != promise
    ]


def _compare_file(camera: Camera, frames: int, found: Account) -> None:
    """A file was read to its last frame."""
    have = Frame.objects.filter(camera=camera).count()
    not_taken = CaptureStatus.objects.get(camera=camera).not_taken
    if have < frames or not_taken:
        found.lost.append(f"{camera}: {have} of {frames} frames of the file, {not_taken} not taken")
    if have > frames:
        found.double.append(f"{camera}: {have} frames, the file has {frames}")


def _files_as_sent(frames: "QuerySet[Frame]", found: Account) -> None:
    for frame in frames.iterator():
        with frame.picture.open("rb") as file:
            if hashlib.sha256(file.read()).hexdigest() != frame.sha256:
                found.lost.append(f"{frame}: the picture is not the one that was sent")


def _same_face_twice(cameras: Sequence[Camera], found: Account) -> None:
    faces = Detection.objects.filter(camera__in=cameras).order_by()
    twice = faces.values("frame_id", "box").annotate(rows=Count("id")).filter(rows__gt=1)
    found.double += [f"frame {row['frame_id']}: {row['rows']} times the face {row['box']}" for row in twice]
    bare = faces.annotate(vectors=Count("embeddings")).exclude(vectors=1)
    found.double += [f"frame {face.frame_id}: {face.vectors} vectors of a face" for face in bare]
    undone = faces.exclude(frame__state=FrameState.DONE).values_list("frame_id", flat=True)
    found.double += [f"frame {frame_id}: has faces and is not done" for frame_id in undone]
    if orphans := DetectionEmbedding.objects.filter(camera__in=cameras, detection=None).count():
        found.double.append(f"{orphans} vectors of no face")


def _faces_again(frames: Sequence[Frame], found: Account) -> None:
    """The networks' answer once more: what is stored is exactly that, once."""
    for start in range(0, len(frames), _BATCH):
        batch = frames[start : start + _BATCH]
        images = [decode(frame.picture.read(), limits=codec_limits()) for frame in batch]
        for frame, analysis in zip(batch, face_pipeline().analyse(images), strict=True):
            stored = sorted(Detection.objects.filter(frame=frame).values_list("box", flat=True))
            wanted = sorted(face.box.as_list() for face in analysis.faces)
            if len(stored) > len(wanted):
                found.double.append(f"{frame}: {len(stored)} faces are stored, it has {len(wanted)}")
            elif not _alike(stored, wanted):
                found.lost.append(f"{frame}: stored are the faces {stored}, it has {wanted}")
        found.compared += len(batch)


def _alike(stored: Sequence[Sequence[float]], wanted: Sequence[Sequence[float]]) -> bool:
    return len(stored) == len(wanted) and all(
        abs(one - other) <= _SAME_PX
        for left, right in zip(stored, wanted, strict=True)
        for one, other in zip(left, right, strict=True)
    )


def _sightings_apart(camera: Camera, found: Account) -> None:
    """Nobody is there twice at a time, and one stay is one sighting; an alert is raised once."""
    rows = Sighting.objects.filter(camera=camera).order_by("identity_id", "first_seen").select_related("identity")
    for one, other in pairwise(rows):
        if one.identity_id == other.identity_id and other.first_seen - one.last_seen <= timedelta(seconds=camera.gap_s):
            found.double.append(f"{camera}: two sightings of one stay: {one} and {other}")
    alerts = Alert.objects.filter(camera=camera).order_by().values("watch_id", "sighting_id")
    twice = alerts.annotate(rows=Count("id")).filter(rows__gt=1)
    found.double += [f"{camera}: {row['rows']} alerts of one sighting" for row in twice]
