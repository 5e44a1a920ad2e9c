"""Pictures of what was seen: a sighting's best face, cut out of its frame, and frames with names drawn in."""

import logging
from collections.abc import Sequence
from typing import ClassVar

import cv2
import numpy as np

from inference.codec import decode, encode_jpeg
from inference.errors import ImageError
from inference.types import Box, Image
from portrait.cameras.models import Frame
from portrait.core.drawing import KNOWN, STRANGER, UNKNOWN_PERSON, LabelledFace, draw_faces
from portrait.core.errors import PortraitError
from portrait.core.files import delete_on_commit, stored, write_file
from portrait.core.pipelines import codec_limits
from portrait.gallery.models import Identity
from portrait.gallery.services.photos import slow_work
from portrait.gallery.thumbnails import surroundings
from portrait.sightings.models import Detection, Sighting
from portrait.sightings.selectors import faces_of_frame

logger = logging.getLogger(__name__)

MARGIN = 0.75
"""Around the best face, on each side, as a share of its longer side."""
SIDE_PX = 640
PIXELS_ACROSS = 5
"""Another person's face in a cut-out has so few."""


class PictureExpiredError(PortraitError):
    """There was a picture, and it is no longer kept."""

    code: ClassVar[str] = "expired"
    status: ClassVar[int] = 410


def frame_bytes(frame: Frame) -> bytes:
    """A frame's JPEG as it was accepted.

    Raises:
        PictureExpiredError: it is no longer kept.
    """
    if not frame.picture:
        raise PictureExpiredError(frame.error_message or "The picture of this frame is no longer kept.")
    try:
        with frame.picture.open("rb") as file:
            return bytes(file.read())
    except FileNotFoundError:  # it went after the row was read, or was lost
        raise PictureExpiredError("The picture of this frame is no longer there.") from None


def annotated(frame: Frame) -> bytes:
    """The frame with its faces' boxes and names, as JPEG.

    Raises:
        PictureExpiredError: its picture is no longer kept.
    """
    labels = [_label(face) for face in faces_of_frame(frame.pk)]
    data = frame_bytes(frame)
    with slow_work():
        return encode_jpeg(draw_faces(decode(data, limits=codec_limits()), labels))


def _label(face: Detection) -> LabelledFace:
    text, colour = "unknown", STRANGER
    if face.identity is not None:
        text = f"{face.identity.name} {face.similarity or 0:.2f}"
        colour = KNOWN if face.identity.kind == Identity.Kind.KNOWN else UNKNOWN_PERSON
    elif face.track is None or not face.track.template:
        text = "not decided"  # no face of the track was good enough
    return LabelledFace(Box(*face.box), text, colour)


def sighting_picture(sighting: Sighting) -> bytes:
    """JPEG of a sighting's best face with its surroundings: out of the frame, or as it was saved from there.

    Raises:
        PictureExpiredError: neither is there any more.
    """
    best = Detection.objects.select_related("frame").filter(pk=sighting.best_id).first() if sighting.best_id else None
    if best is not None and best.frame.picture:
        try:
            data, others = frame_bytes(best.frame), _others(best)
        except PictureExpiredError:  # at this very moment: then the cut-out was saved before
            sighting.refresh_from_db(fields=["picture"])
        else:
            with slow_work():
                return cut_out(decode(data, limits=codec_limits()), Box(*best.box), others)
    if not sighting.picture:
        raise PictureExpiredError("The picture of this sighting is no longer kept.")
    try:
        with sighting.picture.open("rb") as file:
            return bytes(file.read())
    except FileNotFoundError:
        raise PictureExpiredError("The picture of this sighting is no longer there.") from None


def cut_out(image: Image, box: Box, others: Sequence[Box]) -> bytes:
    """JPEG of a face with its surroundings, at most `SIDE_PX` a side. Other people's faces are made coarse: the picture
    must not outlive their erasure."""
    shown = image.copy()
    height, width = image.shape[:2]
    face = _inside(box, width, height)
    for other in others:
        left, top, right, bottom = _inside(other, width, height)
        if right > left and bottom > top:
            small = cv2.resize(image[top:bottom, left:right], (PIXELS_ACROSS,) * 2, interpolation=cv2.INTER_AREA)
            shown[top:bottom, left:right] = cv2.resize(
                small, (right - left, bottom - top), interpolation=cv2.INTER_NEAREST
            )
    shown[face[1] : face[3], face[0] : face[2]] = image[face[1] : face[3], face[0] : face[2]]
    left, top, right, bottom = surroundings(image, box, MARGIN)
    cut = shown[top:bottom, left:right]
    scale = min(1.0, SIDE_PX / max(cut.shape[:2]))
    size = (max(1, round(cut.shape[1] * scale)), max(1, round(cut.shape[0] * scale)))
    return encode_jpeg(np.asarray(cv2.resize(cut, size, interpolation=cv2.INTER_AREA), dtype=np.uint8))


def _inside(box: Box, width: int, height: int) -> tuple[int, int, int, int]:
    return (
        max(0, int(box.x)),
        max(0, int(box.y)),
        min(width, int(box.right) + 1),
        min(height, int(box.bottom) + 1),
    )


def _others(face: Detection) -> list[Box]:
    return [Box(*other.box) for other in Detection.objects.filter(frame_id=face.frame_id).exclude(pk=face.pk)]


def save_cut_outs(sightings: Sequence[Sighting]) -> int:
    """Give sightings their own picture, before their best frame loses its; answers how many got one.

    To be called inside `atomic_with_files` under the camera's lock. A frame whose picture is missing or broken can
    give none; a store that does not answer is an error, so that nothing is removed meanwhile.
    """
    saved = 0
    for sighting in sightings:
        best = sighting.best
        if best is None or not best.frame.picture:
            continue
        try:
            with best.frame.picture.open("rb") as file:
                image = decode(file.read(), limits=codec_limits())
        except (FileNotFoundError, ImageError) as error:
            logger.warning("the best picture of sighting %s cannot be kept: %s", sighting.pk, error)
            continue
        old = stored(sighting.picture)
        write_file(sighting.picture, "best.jpg", cut_out(image, Box(*best.box), _others(best)))
        Sighting.objects.filter(pk=sighting.pk).update(picture=sighting.picture.name)
        delete_on_commit(old)
        saved += 1
    return saved
