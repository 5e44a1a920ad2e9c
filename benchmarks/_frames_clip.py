"""The frames that are played: the clip of ../shared, or, where that is absent, one made of the demo's photos."""

from dataclasses import dataclass

import cv2
import numpy as np

from benchmarks._measure import cycle
from inference.codec import decode, encode_jpeg
from inference.types import Image
from portrait.demo.photos import built_in
from portrait.env import BASE_DIR

CLIP = BASE_DIR.parent / "shared" / "data" / "people" / "short_hamilton_clip.mp4"
MADE_FRAMES, WIDTH, HEIGHT = 120, 640, 360


@dataclass(frozen=True, slots=True)
class Clip:
    """JPEGs in the order of their capture; `fps` of the source."""

    name: str
    frames: tuple[bytes, ...]
    fps: float

    def for_ever(self):
        """Frames in turn, from any thread."""
        return cycle(self.frames)


def clip() -> Clip:
    """Every frame of the clip, as a camera would send it."""
    if not CLIP.is_file():
        return Clip(f"made of the demo's photos, {WIDTH}x{HEIGHT}", tuple(map(encode_jpeg, _made())), 25.0)
    video, frames = cv2.VideoCapture(str(CLIP)), []
    while (read := video.read())[0]:
        frames.append(encode_jpeg(read[1], is_bgr=True))
    return Clip(CLIP.name, tuple(frames), float(video.get(cv2.CAP_PROP_FPS)))


def _made() -> list[Image]:
    """A slow pan over two people, one after the other and back."""
    photo = decode(next(photo.data for photo in built_in().probes if photo.name == "both in one picture"))
    scale = HEIGHT / photo.shape[0]
    wide = cv2.resize(photo, None, fx=1.4 * scale, fy=1.4 * scale, interpolation=cv2.INTER_AREA)
    room_x, room_y = max(0, wide.shape[1] - WIDTH), wide.shape[0] - HEIGHT
    turns = 0.5 - 0.5 * np.cos(np.linspace(0, 2 * np.pi, MADE_FRAMES, endpoint=False))
    images = []
    for turn in turns:
        left, top = int(room_x * turn), int(room_y * turn / 2)
        canvas = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        part = wide[top : top + HEIGHT, left : left + WIDTH]
        canvas[:, : part.shape[1]] = part
        images.append(canvas)
    return images
