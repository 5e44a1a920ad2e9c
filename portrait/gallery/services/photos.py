"""From the bytes of pictures to what enrolment and recognition need: the slow half, before any transaction."""

import hashlib
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from django.conf import settings

from inference.codec import decode, encode_jpeg
from inference.errors import ImageError, ServerBusyError
from inference.types import Box, Face, FaceAnalysis, Image, Landmarks
from portrait.core.database import release_connection
from portrait.core.errors import PoorQualityError, PortraitError
from portrait.core.pipelines import codec_limits, face_pipeline, further_embedders
from portrait.gallery.face_choice import choose_face
from portrait.gallery.face_json import quality_json
from portrait.gallery.models import Collection
from portrait.gallery.thumbnails import face_thumbnail, surroundings
from portrait.gallery.vectors import network_of

IMAGE_QUALITY = 95
CHUNK_PIXELS = 50_000_000
"""Pictures are held decoded only so many pixels at a time: a hundred small files may unfold to many gigabytes."""
SLOT_WAIT_S = 30.0

_slots = threading.BoundedSemaphore(max(4, 2 * settings.PORTRAIT.cores))


@dataclass(frozen=True, slots=True)
class PreparedPhoto:
    """The one face to enrol, with what is kept of its picture. `box` and `landmarks` are pixels of `jpeg`."""

    sha256: str
    width: int
    height: int
    jpeg: bytes
    thumbnail: bytes
    box: Box
    landmarks: Landmarks | None
    face: Face


Prepared = PreparedPhoto | PortraitError | ImageError


@contextmanager
def slow_work() -> Iterator[None]:
    """Decoding and networks, by a bounded number of threads at a time and without a database connection.

    Raises:
        ServerBusyError: no slot became free.
    """
    release_connection()
    if not _slots.acquire(timeout=SLOT_WAIT_S):
        raise ServerBusyError("Too many pictures are being worked on at this moment; try again shortly.")
    try:
        yield
    finally:
        _slots.release()


def analyse(data: bytes, *, collection: Collection | None = None) -> tuple[Image, FaceAnalysis]:
    """Decode and analyse one picture. collection: the faces are seen by the network of its active model too."""
    networks = [network_of(collection.active_model)] if collection is not None else []
    with slow_work():
        image = decode(data, limits=codec_limits())
        return image, face_pipeline().analyse([image], also=further_embedders(networks))[0]


def prepare_photos(
    photos: Sequence[bytes],
    *,
    choice: str | Box | None = None,
    force: bool = False,
    networks: Iterable[str] = (),
) -> list[Prepared]:
    """Decode, analyse and judge pictures, in chunks; a bad one becomes its error and stops no other.

    choice: which face of a picture with several (`face_choice.parse_choice`). force: take poor faces too.
    networks: which are to see the faces, beside the usual one (`spaces.networks_of`).

    Raises:
        inference.errors.ServerError: the networks cannot be reached.
    """
    results: dict[int, Prepared] = {}
    also = further_embedders(networks)
    with slow_work():
        for chunk in _chunks(photos, results):
            analyses = face_pipeline().analyse([image for _, image in chunk], also=also)
            for (index, image), analysis in zip(chunk, analyses, strict=True):
                results[index] = _chosen(photos[index], image, analysis, choice, force)
    return [results[index] for index in range(len(photos))]


def _chunks(photos: Sequence[bytes], results: dict[int, Prepared]) -> Iterator[list[tuple[int, Image]]]:
    """Decoded pictures, about `CHUNK_PIXELS` at a time; those that cannot be decoded go to `results`."""
    chunk: list[tuple[int, Image]] = []
    for index, data in enumerate(photos):
        try:
            chunk.append((index, decode(data, limits=codec_limits())))
        except ImageError as error:
            results[index] = error
        if sum(image.shape[0] * image.shape[1] for _, image in chunk) >= CHUNK_PIXELS / 2:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _chosen(data: bytes, image: Image, analysis: FaceAnalysis, choice: str | Box | None, force: bool) -> Prepared:
    try:
        face = choose_face(analysis.faces, choice)
        require_quality(face, force=force)
    except PortraitError as error:
        return error
    return prepare_face(data, image, face, alone=len(analysis.faces) == 1)


def prepare_face(data: bytes, image: Image, face: Face, *, alone: bool) -> PreparedPhoto:
    """Encode what is kept: upright, without metadata. Where the picture shows other people too, only the face with
    its surroundings is kept: one person's portrait must not outlive the erasure of another."""
    box, landmarks, kept = face.box, face.landmarks, image
    if not alone:
        left, top, right, bottom = surroundings(image, box, margin=0.5)
        kept = image[top:bottom, left:right]
        box = Box(box.x - left, box.y - top, box.width, box.height)
        landmarks = landmarks and Landmarks.from_array(landmarks.as_array() - (left, top))
    height, width = kept.shape[:2]
    return PreparedPhoto(
        sha256=hashlib.sha256(data).hexdigest(),
        width=width,
        height=height,
        jpeg=encode_jpeg(kept, quality=IMAGE_QUALITY),
        thumbnail=face_thumbnail(image, face.box),
        box=box,
        landmarks=landmarks,
        face=face,
    )


def require_quality(face: Face, *, force: bool) -> None:
    """Raise `PoorQualityError`, with the reasons, unless the face is a good portrait or `force` is given."""
    if face.quality.acceptable or force:
        return
    reasons = [str(reason) for reason in face.quality.reasons]
    raise PoorQualityError(
        f"The face is too poor to be a portrait: {', '.join(reasons)}. Send a better picture, or 'force' it.",
        field="image",
        details={"reasons": reasons, "quality": quality_json(face.quality)},
    )
