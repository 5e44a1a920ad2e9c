"""Steady strangers become unknown people of the gallery, once, and are recognised from then on, on every camera."""

import logging
from collections.abc import Collection, Sequence
from uuid import UUID

from inference.codec import decode
from inference.errors import ImageError
from inference.types import Box, Embedding, Face, Landmarks, Quality, QualityReason
from portrait.cameras.models import Camera
from portrait.core.files import atomic_with_files
from portrait.core.pipelines import codec_limits, embedder_spec
from portrait.gallery.models import Identity
from portrait.gallery.services import spaces
from portrait.gallery.services.identities import delete_identity
from portrait.gallery.services.photos import PreparedPhoto, prepare_face, slow_work
from portrait.gallery.services.strangers import register_unknown
from portrait.gallery.vectors import stored_vector
from portrait.sightings.models import Detection, DetectionEmbedding, Stranger, Track
from portrait.sightings.services import judging, timeline
from portrait.sightings.services.pictures import others_in_frame, without_others

logger = logging.getLogger(__name__)

PORTRAITS = 3


def due(camera_ids: Sequence[UUID] | None = None) -> list[int]:
    """Ids of tracks whose stranger is yet to be registered."""
    tracks = Track.objects.filter(stranger_due=True)
    if camera_ids is not None:
        tracks = tracks.filter(camera_id__in=camera_ids)
    return list(tracks.order_by("id").values_list("id", flat=True)[:100])


def register(*, track_id: int) -> Identity | None:
    """Make the stranger of a track an unknown person; None where nothing is to be done any more.

    Somebody who was registered out of another track meanwhile is found, not registered again.
    """
    before = Track.objects.filter(pk=track_id, stranger_due=True).select_related("camera").first()
    if before is None:
        return None
    chosen = Detection.objects.filter(pk__in=before.template).select_related("frame")
    networks = spaces.networks_of([before.camera.collection_id])
    photos = _photos(list(chosen.order_by("-grade", "-quality_score", "id")), networks)
    with atomic_with_files():
        timeline.lock(before.camera_id)
        track = Track.objects.filter(pk=track_id, stranger_due=True).first()
        if track is None or track.template != before.template:
            return None  # better faces came meanwhile: it stays due, with those
        camera = Camera.objects.select_related("collection__active_model").get(pk=track.camera_id)
        camera.collection = spaces.lock_models(camera.collection_id).collection
        model = camera.collection.active_model
        face = judging.template_of(model, track)
        if not photos or face is None:
            Track.objects.filter(pk=track_id).update(stranger_due=False)  # the pictures are gone
            return None
        found = register_unknown(
            collection=camera.collection, photos=photos, vector=face.vector, exclude=judging.taken(camera, track)
        )
        if found.created:
            track.registered = found.candidate.identity
            Stranger.objects.create(identity=found.candidate.identity, camera=camera, met_at=track.first_seen)
        timeline.look_again(camera=camera, model=model, track=track)
    return found.candidate.identity


def forget_unseen(*, identity_ids: Sequence[UUID]) -> None:
    """Remove strangers who turned out to be somebody else: nobody named them, or looks for them, and no face is theirs
    any more."""
    unnamed = Stranger.objects.filter(
        identity_id__in=identity_ids,
        identity__kind=Identity.Kind.UNKNOWN,
        identity__merged_into=None,  # whoever was merged or deleted by hand can come back
        identity__deleted_at=None,
        identity__merged=None,  # they are somebody else as well, whose past may be on its way here
    )
    for stranger in unnamed.filter(identity__watches=None).select_related("identity"):
        if not Detection.objects.filter(identity_id=stranger.identity_id).exists():
            delete_identity(identity=stranger.identity)


def _photos(faces: Sequence[Detection], networks: Collection[str]) -> list[PreparedPhoto]:
    """The best faces as portraits, cut out of their frames, seen by these networks."""
    photos = []
    for face in faces[:PORTRAITS]:
        embeddings = _embeddings(face)
        try:
            with face.frame.picture.open("rb") as file:
                data = file.read()
            others = others_in_frame(face)
            with slow_work():
                image = decode(data, limits=codec_limits())
                image = without_others(image, Box(*face.box), others)
                photo = prepare_face(data, image, _face(face, embeddings), alone=False)
                photos.append(spaces.seen_by(photo, networks))
        except (OSError, ValueError, ImageError) as error:
            logger.warning("the picture of %s cannot be used for a portrait: %s", face.frame, error)
    return photos


def _embeddings(face: Detection) -> list[Embedding]:
    """The face's vectors, those that a network made first, that of every collection's usual one before all."""
    rows = DetectionEmbedding.objects.filter(detection=face).select_related("model")
    usual = embedder_spec().name
    ordered = sorted(rows, key=lambda row: (row.model.source_id is not None, row.model.name != usual, row.model_id))
    return [Embedding(row.model.name, stored_vector(row)) for row in ordered]


def _face(row: Detection, embeddings: Sequence[Embedding]) -> Face:
    """A stored face as the networks gave it."""
    quality = dict(row.quality)
    reasons = tuple(QualityReason(reason) for reason in quality.pop("reasons"))
    return Face(
        box=Box(*row.box),
        score=row.score,
        landmarks=Landmarks(**{name: (x, y) for name, (x, y) in row.landmarks.items()}) if row.landmarks else None,
        quality=Quality(**quality, reasons=reasons),
        embedding=embeddings[0],
        others=tuple(embeddings[1:]),
    )


def register_due(*, camera_ids: Sequence[UUID] | None = None) -> int:
    """Register all strangers that wait for it (of these cameras); answers how many there were."""
    ids = due(camera_ids)
    for track_id in ids:
        try:
            register(track_id=track_id)
        except Exception:  # one must not stop the others; beat tries again
            logger.exception("the stranger of track %s could not be registered", track_id)
    return len(ids)
