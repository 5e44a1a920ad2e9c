"""The small picture of a face that lists show."""

import cv2
import numpy as np

from inference.codec import encode_jpeg
from inference.types import Box, Image

SIDE_PX = 160
MARGIN = 0.35


def face_thumbnail(image: Image, box: Box) -> bytes:
    """JPEG of the face with some surroundings, a square cut off at the picture's borders, at most 160 px."""
    half = max(box.width, box.height) * (0.5 + MARGIN)
    centre_x, centre_y = box.x + box.width / 2, box.y + box.height / 2
    height, width = image.shape[:2]
    left, right = max(0, int(centre_x - half)), min(width, int(centre_x + half) + 1)
    top, bottom = max(0, int(centre_y - half)), min(height, int(centre_y + half) + 1)
    crop = image[top:bottom, left:right]
    scale = min(1.0, SIDE_PX / max(crop.shape[:2]))
    size = (max(1, round(crop.shape[1] * scale)), max(1, round(crop.shape[0] * scale)))
    small = np.asarray(cv2.resize(crop, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    return encode_jpeg(small, quality=85)
