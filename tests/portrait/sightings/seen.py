"""What cameras saw, made without workers: real pictures, real frames of the ledger, what the real networks find."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from django.core.files.storage import default_storage
from django.utils import timezone

from inference.codec import decode
from inference.types import Face, FaceAnalysis
from portrait.cameras.incoming import IncomingFrame
from portrait.cameras.models import Camera, Frame, FrameState, frame_storage
from portrait.cameras.services.accept import accept_frame
from portrait.core.pipelines import face_pipeline
from portrait.demo.photos import COLLINS, HOPPER, built_in
from portrait.gallery.face_json import quality_json
from portrait.gallery.models import Collection, Identity
from portrait.gallery.services.enrolment import enrol_person
from portrait.sightings.models import Detection, DetectionEmbedding, Sighting, Timeline, Track

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@lru_cache(maxsize=1)
def pictures() -> dict[str, bytes]:
    """The demo's pictures by name; `collins` and `hopper` are those that are enrolled."""
    photos = built_in()
    enrolled = {"collins": photos.people[COLLINS][0].data, "hopper": photos.people[HOPPER][0].data}
    return enrolled | {photo.name: photo.data for photo in photos.probes}


BOTH, STRANGER, FLIPPED, SMALL = "both in one picture", "somebody not enrolled", "flipped", "small"


@lru_cache(maxsize=32)
def analysis(picture: str) -> FaceAnalysis:
    return face_pipeline().analyse([decode(pictures()[picture])])[0]


def faces(picture: str) -> list[Face]:
    """From left to right."""
    return sorted(analysis(picture).faces, key=lambda face: face.box.x)


def enrol(collection: Collection, name: str, picture: str, **values: Any) -> Identity:
    identity, _, _ = enrol_person(collection=collection, name=name, photos=[pictures()[picture]], **values)
    return identity


def make_camera(collection: Collection, name: str = "door", **values: Any) -> Camera:
    return Camera.objects.create(collection=collection, name=name, **values)


def make_frame(camera: Camera, picture: str, at: datetime = NOON, **values: Any) -> Frame:
    """An accepted frame that was processed."""
    incoming = IncomingFrame(pictures()[picture], captured_at=at, metadata={"by": "a test"})
    frame = accept_frame(camera=camera, incoming=incoming).frame
    ended = {"state": FrameState.DONE, "finished_at": at, "attempts": 1} | values
    Frame.objects.filter(pk=frame.pk).update(**ended)
    frame.refresh_from_db()
    return frame


def see(frame: Frame, picture: str, who: Sequence[Identity | None], *, tracks: bool = True) -> list[Detection]:
    """The faces of a frame from left to right, as these people; each in a track of its own, and an exemplar of it."""
    rows = []
    for face, identity in zip(faces(picture), who, strict=True):
        similarity = 0.9 if identity else None
        track = None
        if tracks:
            when = {"first_seen": frame.captured_at, "last_seen": frame.captured_at, "frames": 1}
            track = Track.objects.create(camera=frame.camera, identity=identity, similarity=similarity, **when)
        row = Detection.objects.create(
            frame=frame,
            camera=frame.camera,
            track=track,
            identity=identity,
            similarity=similarity,
            captured_at=frame.captured_at,
            box=face.box.as_list(),
            landmarks=face.landmarks.as_dict() if face.landmarks else None,
            score=face.score,
            quality=quality_json(face.quality),
            quality_score=face.quality.score,
            acceptable=face.quality.acceptable,
        )
        DetectionEmbedding.objects.create(
            detection=row,
            model=frame.camera.collection.active_model,
            collection=frame.camera.collection,
            camera=frame.camera,
            captured_at=frame.captured_at,
            exemplar=True,
            vector=face.embedding.vector,
        )
        if track is not None:
            Track.objects.filter(pk=track.pk).update(template=[row.pk])
        rows.append(row)
    return rows


def make_sighting(best: Detection, *, seconds: float = 10, hits: int = 5, **values: Any) -> Sighting:
    """A sighting that begins with its best face."""
    Timeline.objects.get_or_create(
        camera=best.camera, defaults={"latest": best.captured_at, "advanced_at": best.captured_at}
    )
    given = {
        "first_seen": best.captured_at,
        "last_seen": best.captured_at + timedelta(seconds=seconds),
        "hits": hits,
        "best": best,
        "similarity": 0.9,
    }
    assert best.identity is not None
    return Sighting.objects.create(
        collection=best.camera.collection, camera=best.camera, identity=best.identity, **given | values
    )


def seen_once(camera: Camera, picture: str, identity: Identity, at: datetime = NOON, **values: Any) -> Sighting:
    """A frame with one face, and the sighting that it is the best of."""
    (face,) = see(make_frame(camera, picture, at), picture, [identity])
    return make_sighting(face, **values)


def ago(**values: float) -> datetime:
    return timezone.now() - timedelta(**values)


def frame_files() -> set[str]:
    """Names of the frames' pictures in the store."""
    return _files(frame_storage(), "frames")


def sighting_files() -> set[str]:
    return _files(default_storage, "sightings")


def _files(storage: Any, folder: str) -> set[str]:
    if not storage.exists(folder):
        return set()
    folders, names = storage.listdir(folder)
    return {f"{folder}/{name}" for name in names}.union(*(_files(storage, f"{folder}/{sub}") for sub in folders))
