"""Boxes with names, and masks, drawn into pictures. OpenCV's own font has the letters of most languages."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from inference.types import Box, Image, Mask

Colour = tuple[int, int, int]

KNOWN: Colour = (46, 160, 67)
UNKNOWN_PERSON: Colour = (154, 103, 0)
STRANGER: Colour = (207, 34, 46)
_OBJECTS: tuple[Colour, ...] = (
    *((31, 111, 235), (191, 57, 137), (46, 139, 87), (188, 76, 0), (130, 80, 223), (0, 122, 138)),
    *((207, 34, 46), (120, 100, 0), (87, 96, 106), (214, 92, 160), (9, 105, 218), (90, 140, 20)),
)
_MASK_SHARE = 0.45
_WHITE: Colour = (255, 255, 255)
_LEAST_TEXT_PX = 9


@dataclass(frozen=True, slots=True)
class LabelledFace:
    """A face's box in pixels, what is written at it, and its colour (RGB)."""

    box: Box
    text: str
    colour: Colour


@dataclass(frozen=True, slots=True)
class DrawnObject:
    """An object's box in pixels, what is written at it, its colour (RGB) and its mask, of the picture's size."""

    box: Box
    text: str
    colour: Colour
    mask: Mask


def colour_of(place: int) -> Colour:
    """Colours that neighbours in a list can be told apart by; white letters can be read on each."""
    return _OBJECTS[place % len(_OBJECTS)]


def draw_objects(image: Image, objects: Sequence[DrawnObject]) -> Image:
    """A copy of the picture with these objects' masks, boxes and texts; the first is uppermost."""
    drawn: Image = np.ascontiguousarray(image).copy()
    for each in reversed(objects):
        _tint(drawn, each.mask, each.colour)
    boxes = [LabelledFace(each.box, each.text, each.colour) for each in reversed(objects)]
    return draw_faces(drawn, boxes, least_text_px=_LEAST_TEXT_PX)


def _tint(image: Image, mask: Mask, colour: Colour) -> None:
    """In place, with an outline, as the colour may be the object's own."""
    bits, (height, width) = mask.bits, mask.shape
    region = image[mask.top : mask.top + height, mask.left : mask.left + width]
    mixed = region[bits] * (1 - _MASK_SHARE) + np.asarray(colour) * _MASK_SHARE
    region[bits] = mixed.round().astype(np.uint8)
    if bits.size:
        lines, _ = cv2.findContours(bits.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(image, lines, -1, colour, max(1, min(image.shape[:2]) // 300), offset=(mask.left, mask.top))


def draw_faces(image: Image, faces: Sequence[LabelledFace], *, least_text_px: int = 14) -> Image:
    """A copy of the picture with these boxes and texts; lines and letters grow with the picture."""
    drawn: Image = np.ascontiguousarray(image).copy()
    side = min(image.shape[:2])
    for face in faces:
        corners = (round(face.box.x), round(face.box.y)), (round(face.box.right), round(face.box.bottom))
        cv2.rectangle(drawn, *corners, face.colour, max(2, side // 200))
    for face in faces:  # above all boxes, so that none is drawn across a name
        _write(drawn, face, max(least_text_px, side // 28))
    return drawn


def _write(image: Image, face: LabelledFace, size_px: int) -> None:
    """The text on its colour: above the box, or in it where the picture ends; as far left as it has to be."""
    height, width = image.shape[:2]
    text = "".join(letter if letter.isprintable() else " " for letter in face.text)
    font = cv2.FontFace("sans")  # one a call: it keeps letters it has drawn, and threads share none
    while True:
        wide = _extent(text, font, size_px)[2]
        if wide + 4 <= width or size_px <= _LEAST_TEXT_PX:
            break
        size_px = max(_LEAST_TEXT_PX, min(size_px - 1, size_px * (width - 4) // max(1, wide)))
    while len(text) > 1 and wide + 4 > width:
        text = f"{text.rstrip('…')[:-1]}…"
        wide = _extent(text, font, size_px)[2]
    line = round(size_px * 1.35)
    x = max(2, min(round(face.box.x), width - wide - 2))
    y = min(max(round(face.box.y), line), height)
    cv2.rectangle(image, (x - 2, y - line), (x + wide + 2, y), face.colour, cv2.FILLED)
    cv2.putText(image, text, (x, y - round(line * 0.28)), _WHITE, font, size_px, 500)


def _extent(text: str, font: "cv2.FontFace", size_px: int) -> Sequence[int]:
    """Left, top, width, height."""
    return cv2.getTextSize((0, 0), text, (0, 0), font, size_px, 500)
