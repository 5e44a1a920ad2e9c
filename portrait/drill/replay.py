"""A second, undisturbed pass: the same faces, frame by frame in the order in which they were accepted, which is that of
each camera, on cameras and in a collection of their own. What a disturbed day gives must be what this gives."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from django.db import transaction

from inference.types import Box, Embedding, Face, FaceAnalysis, Landmarks, Quality, QualityReason
from portrait.cameras.models import Camera, Frame, FrameState
from portrait.gallery.models import Collection, EmbeddingModel, Identity
from portrait.gallery.services.enrolment import enrol_person
from portrait.gallery.services.identities import create_collection, default_embedding_model
from portrait.gallery.vectors import stored_vector
from portrait.sightings.evidence import microseconds
from portrait.sightings.models import Detection, DetectionEmbedding, Sighting
from portrait.sightings.services import strangers, timeline
from portrait.sightings.services.tracks import SeenFrame

_RULES = ("min_hits", "window_s", "gap_s", "window_mode")

Stay = tuple[str, int, int, int]
"""(who, first, last, hits); nobody's number counts of unknown people. Capture times in microseconds."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """The sightings of both passes, by camera, where they differ."""

    sightings: int
    differences: tuple[str, ...]


def replayed(*, cameras: Sequence[Camera], people: Mapping[str, Sequence[bytes]], collection: str) -> Comparison:
    """Play what was found once more, in order, and compare. people: who was enrolled with which pictures."""
    second = create_collection(name=collection)
    for name, pictures in people.items():
        enrol_person(collection=second, name=name, photos=list(pictures))
    twins = {camera.pk: _twin(camera, second) for camera in cameras}
    model = default_embedding_model()
    for frame in Frame.objects.filter(camera__in=cameras, state=FrameState.DONE).order_by("id"):
        _play(frame, twins[frame.camera_id], model)
    return compared(cameras, twins)


def compared(cameras: Sequence[Camera], twins: Mapping[UUID, Camera]) -> Comparison:
    differences, total = [], 0
    for camera in cameras:
        first, second = stays(camera), stays(twins[camera.pk])
        total += len(first)
        differences += [f"{camera}: only in the drill: {_words(stay)}" for stay in _without(first, second)]
        differences += [f"{camera}: only undisturbed: {_words(stay)}" for stay in _without(second, first)]
    return Comparison(total, tuple(differences))


def stays(camera: Camera) -> list[Stay]:
    """A camera's sightings; unknown people have no name of their own."""
    return sorted(
        (
            each.identity.name if each.identity.kind == Identity.Kind.KNOWN else "unknown",
            microseconds(each.first_seen),
            microseconds(each.last_seen),
            each.hits,
        )
        for each in Sighting.objects.filter(camera=camera).select_related("identity")
    )


def _without(some: Sequence[Stay], others: Sequence[Stay]) -> list[Stay]:
    left = list(others)
    return [stay for stay in some if stay not in left or left.remove(stay)]  # type: ignore[func-returns-value]


def _words(stay: Stay) -> str:
    who, first, last, hits = stay
    return f"{who} for {(last - first) / 1e6:.2f} s, {hits} hits, from {first / 1e6:.2f} on"


def _twin(camera: Camera, collection: Collection) -> Camera:
    rules = {name: getattr(camera, name) for name in _RULES}
    twin = Camera.objects.create(collection=collection, name=camera.name, **rules)
    return Camera.objects.select_related("collection__active_model").get(pk=twin.pk)


def _play(frame: Frame, camera: Camera, model: EmbeddingModel) -> None:
    """The frame has the same picture: strangers are cut out of it."""
    columns = ("sequence", "captured_at", "sha256", "size_bytes", "width", "height")
    values = {name: getattr(frame, name) for name in columns}
    faces = _faces(frame, model)
    with transaction.atomic():
        copy = Frame.objects.create(camera=camera, state=FrameState.DONE, picture=frame.picture.name, **values)
        timeline.lock(camera.pk)
        analysis = FaceAnalysis(width=frame.width, height=frame.height, faces=faces)
        timeline.record(camera=camera, model=model, seen=[SeenFrame(copy, analysis)])
    strangers.register_due(camera_ids=[camera.pk])


def _faces(frame: Frame, model: EmbeddingModel) -> tuple[Face, ...]:
    """What the networks found in a frame, as it was stored."""
    rows = list(Detection.objects.filter(frame=frame).order_by("id"))
    vectors = DetectionEmbedding.objects.filter(detection__in=rows, model=model)
    by_face = {vector.detection_id: stored_vector(vector) for vector in vectors}
    found = []
    for row in rows:
        quality = dict(row.quality) | {"score": row.quality_score}  # the report rounds it
        reasons = tuple(QualityReason(reason) for reason in quality.pop("reasons"))
        landmarks = {name: (x, y) for name, (x, y) in row.landmarks.items()} if row.landmarks else None
        found.append(
            Face(
                box=Box(*row.box),
                score=row.score,
                landmarks=Landmarks(**landmarks) if landmarks else None,
                quality=Quality(**quality, reasons=reasons),
                embedding=Embedding(model.name, by_face[row.pk]),
            )
        )
    return tuple(found)
