"""Boxes with names, drawn into pictures. OpenCV's own font has the letters of most languages."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from inference.types import Box, Image

Colour = tuple[int, int, int]

KNOWN: Colour = (46, 160, 67)
UNKNOWN_PERSON: Colour = (154, 103, 0)
STRANGER: Colour = (207, 34, 46)
_WHITE: Colour = (255, 255, 255)
_LEAST_TEXT_PX = 9


@dataclass(frozen=True, slots=True)
class LabelledFace:
    """A face's box in pixels, what is written at it, and its colour (RGB)."""

    box: Box
    text: str
    colour: Colour


def draw_faces(image: Image, faces: Sequence[LabelledFace]) -> Image:
    """A copy of the picture with these boxes and texts; lines and letters grow with the picture."""
    drawn: Image = np.ascontiguousarray(image).copy()
    side = min(image.shape[:2])
    for face in faces:
        corners = (round(face.box.x), round(face.box.y)), (round(face.box.right), round(face.box.bottom))
        cv2.rectangle(drawn, *corners, face.colour, max(2, side // 200))
    for face in faces:  # above all boxes, so that none is drawn across a name
        _write(drawn, face, max(14, side // 28))
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
