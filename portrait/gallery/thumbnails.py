"""Cut-outs of a face."""

import cv2
import numpy as np

from inference.codec import encode_jpeg
from inference.types import Box, Image

SIDE_PX = 160
MARGIN = 0.35
"""On each side, as a share of the face's longer side."""


def surroundings(image: Image, box: Box, margin: float = MARGIN) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of a square around the face, cut off at the picture's borders."""
    half = max(box.width, box.height) * (0.5 + margin)
    centre_x, centre_y = box.x + box.width / 2, box.y + box.height / 2
    height, width = image.shape[:2]
    left, right = max(0, int(centre_x - half)), min(width, int(centre_x + half) + 1)
    top, bottom = max(0, int(centre_y - half)), min(height, int(centre_y + half) + 1)
    return left, top, right, bottom


def face_thumbnail(image: Image, box: Box) -> bytes:
    """JPEG of the face with some surroundings, at most 160 pixels a side."""
    left, top, right, bottom = surroundings(image, box)
    cut = image[top:bottom, left:right]
    scale = min(1.0, SIDE_PX / max(cut.shape[:2]))
    size = (max(1, round(cut.shape[1] * scale)), max(1, round(cut.shape[0] * scale)))
    small = np.asarray(cv2.resize(cut, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    return encode_jpeg(small, quality=85)
