"""Stored pictures -> what a network sees in the faces that were found in them: nothing is looked for again."""

import logging
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

import numpy as np
from django.db.models.fields.files import FieldFile

from inference.codec import decode
from inference.errors import ImageError
from inference.faces.align import align
from inference.faces.embed import Embedder
from inference.types import Box, FaceDetection, FloatArray, Image, Landmarks
from portrait.core.pipelines import codec_limits
from portrait.gallery.models import Portrait
from portrait.gallery.thumbnails import surroundings
from portrait.sightings.models import Detection, Sighting
from portrait.sightings.services.pictures import MARGIN, SIDE_PX

logger = logging.getLogger(__name__)

Found = dict[Any, FloatArray]
"""Vectors of the network by primary key; rows without a usable picture are left out."""


def of_portraits(portraits: Sequence[Portrait], network: Embedder) -> Found:
    """What the network sees in these portraits, a few dozen at most. Files and the network; no transaction.

    Raises:
        ServerError: the network cannot be reached.
        OSError: the store does not answer.
    """
    chips = [(row.pk, chip) for row in portraits if (chip := _portrait_chip(row, network)) is not None]
    return _embedded(chips, network)


def of_detections(detections: Iterable[Detection], network: Embedder) -> Found:
    """The same of detections, with their frames: by the frame's picture, or by that of the sighting whose best they
    are, where the frame's is gone."""
    chips: list[tuple[Any, Image]] = []
    for frame, faces in groupby(sorted(detections, key=lambda face: (face.frame_id, face.pk)), lambda face: face.frame):
        rows = list(faces)
        image = _picture(frame.picture) if frame.picture else None
        if image is not None:
            chips += [(face.pk, _chip(image, _spot(face), network)) for face in rows]
        else:
            chips += [(face.pk, chip) for face in rows if (chip := _cut_out_chip(face, network)) is not None]
    return _embedded(chips, network)


def _embedded(chips: Sequence[tuple[Any, Image]], network: Embedder) -> Found:
    if not chips:
        return {}
    embeddings = network.embed([chip for _, chip in chips])
    return {key: embedding.vector for (key, _), embedding in zip(chips, embeddings, strict=True)}


def _portrait_chip(row: Portrait, network: Embedder) -> Image | None:
    image = _picture(row.image)
    return None if image is None else _chip(image, _spot(row), network)


def _cut_out_chip(face: Detection, network: Embedder) -> Image | None:
    """Out of the picture of a sighting: the same face, in other pixels (`sightings.services.pictures.cut_out`)."""
    sighting = Sighting.objects.filter(best=face).exclude(picture="").first()
    image = _picture(sighting.picture) if sighting is not None else None
    if image is None:
        return None
    spot = _spot(face)
    whole = np.broadcast_to(np.uint8(0), (face.frame.height, face.frame.width, 3))
    left, top, right, bottom = surroundings(whole, spot.box, MARGIN)
    scale = min(1.0, SIDE_PX / max(right - left, bottom - top))
    box = spot.box
    moved = Box((box.x - left) * scale, (box.y - top) * scale, box.width * scale, box.height * scale)
    marks = spot.landmarks and Landmarks.from_array((spot.landmarks.as_array() - (left, top)) * scale)
    return _chip(image, FaceDetection(moved, face.score, marks), network)


def _spot(row: Portrait | Detection) -> FaceDetection:
    marks = {name: (x, y) for name, (x, y) in row.landmarks.items()} if row.landmarks else None
    return FaceDetection(Box(*row.box), row.score, Landmarks(**marks) if marks else None)


def _chip(image: Image, spot: FaceDetection, network: Embedder) -> Image:
    return align(image, spot, network.spec)


def _picture(field: FieldFile) -> Image | None:
    """None: the file is missing, or cannot be read. A store that does not answer is an error."""
    try:
        with field.open("rb") as file:
            return decode(file.read(), limits=codec_limits())
    except (FileNotFoundError, ValueError, ImageError) as error:  # ValueError: the row names no file
        logger.warning("a stored picture cannot be used: %s", error)
        return None
