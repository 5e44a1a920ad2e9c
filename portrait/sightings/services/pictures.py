"""Pictures of what was seen: a sighting's best face, cut out of its frame, and frames with names drawn in."""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar
from uuid import UUID

import cv2
import numpy as np
from django.db.models import QuerySet
from django.db.models.fields.files import FieldFile

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
        own = face.track is not None and face.track.likens_itself
        text = face.identity.name if own else f"{face.identity.name} {face.similarity or 0:.2f}"
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
            data, others = frame_bytes(best.frame), others_in_frame(best)
        except PictureExpiredError:  # at this very moment: then the cut-out was saved before
            sighting.refresh_from_db(fields=["picture"])
        else:
            with slow_work():
                return cut_out(decode(data, limits=codec_limits()), Box(*best.box), others)
    kept = sighting.picture or _picture_of_joined(sighting)
    if not kept:
        raise PictureExpiredError("The picture of this sighting is no longer kept.")
    try:
        with kept.open("rb") as file:
            return bytes(file.read())
    except FileNotFoundError:
        raise PictureExpiredError("The picture of this sighting is no longer there.") from None


def _picture_of_joined(sighting: Sighting) -> FieldFile | None:
    """Its best face may be one of a sighting that became a part of it."""
    rows = Sighting.everything.filter(best__isnull=False, best=sighting.best_id).exclude(picture="")
    row = rows.first()
    return row.picture if row is not None else None


def cut_out(image: Image, box: Box, others: Sequence[Box]) -> bytes:
    """JPEG of a face with its surroundings, at most `SIDE_PX` a side. Other people's faces are made coarse: the picture
    must not outlive their erasure."""
    shown = without_others(image, box, others)
    left, top, right, bottom = surroundings(image, box, MARGIN)
    cut = shown[top:bottom, left:right]
    scale = min(1.0, SIDE_PX / max(cut.shape[:2]))
    size = (max(1, round(cut.shape[1] * scale)), max(1, round(cut.shape[0] * scale)))
    return encode_jpeg(np.asarray(cv2.resize(cut, size, interpolation=cv2.INTER_AREA), dtype=np.uint8))


def without_others(image: Image, box: Box, others: Sequence[Box]) -> Image:
    """A copy in which other people's faces are coarse; where they overlap this face, it stays as it is."""
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
    return shown


def _inside(box: Box, width: int, height: int) -> tuple[int, int, int, int]:
    return (
        max(0, int(box.x)),
        max(0, int(box.y)),
        min(width, int(box.right) + 1),
        min(height, int(box.bottom) + 1),
    )


def others_in_frame(face: Detection) -> list[Box]:
    """The boxes of all other faces of its frame."""
    return [Box(*other.box) for other in Detection.objects.filter(frame_id=face.frame_id).exclude(pk=face.pk)]


@dataclass(frozen=True, slots=True)
class CutOut:
    """A sighting's picture, made while nobody waits for it. It fits as long as `best_id` is the sighting's best."""

    best_id: int
    jpeg: bytes = field(repr=False)


def prepare_cut_outs(frame_ids: Collection[int], *, without: UUID | None = None) -> dict[UUID, CutOut]:
    """The pictures that sightings need before these frames lose theirs, by sighting: to be called without a lock.

    without: an identity whose sightings need none. A frame whose picture is missing or broken can give none; a store
    that does not answer is an error, so that nothing is removed meanwhile.
    """
    found = ((row, _cut_out_of(row)) for row in _that_need(frame_ids, without))
    return {row.pk: made for row, made in found if made is not None}


def save_cut_outs(frame_ids: Collection[int], prepared: Mapping[UUID, CutOut], *, without: UUID | None = None) -> int:
    """Give sightings their own picture, before these frames lose theirs; answers how many got one.

    To be called inside `atomic_with_files` under the camera's lock. Where a sighting has another best face than when
    its picture was prepared, it is made here and now.
    """
    saved = 0
    for row in _that_need(frame_ids, without):
        made = prepared.get(row.pk)
        if made is None or made.best_id != row.best_id:
            made = _cut_out_of(row)
        if made is None:
            continue
        old = stored(row.picture)
        write_file(row.picture, "best.jpg", made.jpeg)
        Sighting.everything.filter(pk=row.pk).update(picture=row.picture.name)
        delete_on_commit(old)
        saved += 1
    return saved


def _that_need(frame_ids: Collection[int], without: UUID | None) -> "QuerySet[Sighting]":
    rows = Sighting.everything.filter(best__frame__in=frame_ids).exclude(best__frame__picture="")
    if without is not None:
        rows = rows.exclude(identity_id=without)
    return rows.select_related("best__frame").order_by("pk")


def _cut_out_of(sighting: Sighting) -> CutOut | None:
    best = sighting.best
    if best is None:
        return None
    try:
        with best.frame.picture.open("rb") as file:
            image = decode(file.read(), limits=codec_limits())
    except (FileNotFoundError, ImageError) as error:
        logger.warning("the best picture of sighting %s cannot be kept: %s", sighting.pk, error)
        return None
    return CutOut(best.pk, cut_out(image, Box(*best.box), others_in_frame(best)))
