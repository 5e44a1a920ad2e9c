"""The clips that the drill plays: people of the demo's photos who come and go before a background, as scripted.

A script repeats itself, so that a clip may be as long as it has to be.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from django.core.management.base import CommandError
from numpy.typing import NDArray
from PIL import Image as Pictures

from inference.codec import encode_jpeg
from inference.types import Image
from portrait.demo.photos import COLLINS, HOPPER, UNKNOWN, PhotoSet

WIDTH_PX, HEIGHT_PX = 640, 360
PERIOD_S = 40.0
JPEG_QUALITY = 90
_EDGE = 0.12
"""So much of a cut-out fades into the background."""


@dataclass(frozen=True, slots=True)
class Visit:
    """Somebody crosses the picture. Seconds of the script; left and right in parts of the picture's width."""

    person: str
    since_s: float
    until_s: float
    left: float
    right: float
    height_px: int = 300


CORRIDOR = (
    Visit(COLLINS, 1, 9, 0.02, 0.12),
    Visit(HOPPER, 5, 13, 0.62, 0.52),
    Visit(COLLINS, 24, 29, 0.55, 0.62, 260),
)
YARD = (
    Visit(HOPPER, 2, 10, 0.55, 0.45, 330),
    Visit(COLLINS, 12, 22, 0.10, 0.25, 240),
    Visit(UNKNOWN, 14, 24, 0.60, 0.62, 330),
)
ENTRANCE = (
    Visit(COLLINS, 1, 12, 0.40, 0.30, 340),
    Visit(UNKNOWN, 16, 26, 0.10, 0.15, 330),
    Visit(HOPPER, 20, 30, 0.55, 0.60, 280),
)


def write_clip(path: Path, photos: PhotoSet, script: tuple[Visit, ...], *, fps: float, frames: int) -> None:
    """Play a script into a video file.

    Raises:
        CommandError: OpenCV cannot write videos here.
    """
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), fps, (WIDTH_PX, HEIGHT_PX))
    if not writer.isOpened():
        raise CommandError(f"OpenCV cannot write the clip {path}.")
    stage = _Stage(photos)
    try:
        for index in range(frames):
            writer.write(cv2.cvtColor(stage.picture(script, index / fps), cv2.COLOR_RGB2BGR))
    finally:
        writer.release()


def played(path: Path, *, step: int = 1, pause_s: float = 0.0) -> Iterator[tuple[float, bytes]]:
    """(seconds from the beginning, JPEG) of every `step`th frame, again and again, with a pause in between.

    Raises:
        CommandError: OpenCV cannot read the clip.
    """
    begin_s = 0.0
    while True:
        capture, index = cv2.VideoCapture(str(path)), 0
        fps = capture.get(cv2.CAP_PROP_FPS) or 25.0
        while True:
            found, picture = capture.read()
            if not found:
                break
            if index % step == 0:
                rgb = np.ascontiguousarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), dtype=np.uint8)
                yield begin_s + index / fps, encode_jpeg(rgb, quality=JPEG_QUALITY)
            index += 1
        capture.release()
        if not index:
            raise CommandError(f"OpenCV cannot read the clip {path}.")
        begin_s += index / fps + pause_s


class _Stage:
    """Background and people. A person is cut out of a photo so that head and shoulders are in it."""

    _CUTS = {COLLINS: (0.16, 0.0, 0.74, 0.62), HOPPER: (0.14, 0.02, 0.92, 0.72), UNKNOWN: (0.34, 0.08, 0.66, 0.42)}

    def __init__(self, photos: PhotoSet) -> None:
        data = {name: pictures[0].data for name, pictures in photos.people.items()}
        data |= {UNKNOWN: next(probe.data for probe in photos.probes if probe.expected == (UNKNOWN,))}
        self._people = {name: _cut(_open(each), *self._CUTS[name]) for name, each in data.items()}
        coffee = _open(next(probe.data for probe in photos.probes if probe.expected == ()))
        wide = cv2.resize(coffee, (WIDTH_PX + 100, HEIGHT_PX), interpolation=cv2.INTER_AREA)
        self._background = cv2.GaussianBlur(wide, (0, 0), 4)

    def picture(self, script: tuple[Visit, ...], time_s: float) -> Image:
        shift = round(50 + 50 * np.sin(time_s / 3))
        picture = self._background[:, shift : shift + WIDTH_PX].astype(np.float32)
        phase = time_s % PERIOD_S
        for visit in script:
            if visit.since_s <= phase < visit.until_s:
                self._place(picture, visit, (phase - visit.since_s) / (visit.until_s - visit.since_s))
        return np.clip(np.rint(picture), 0, 255).astype(np.uint8)

    def _place(self, picture: NDArray[np.float32], visit: Visit, part: float) -> None:
        """part: how much of the visit is over; the person walks, comes a little nearer, and the light changes."""
        person = self._people[visit.person]
        height = round(visit.height_px * (0.92 + 0.08 * part))
        width = round(height * person.shape[1] / person.shape[0])
        scaled = cv2.resize(person, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32)
        scaled *= 0.9 + 0.1 * np.sin(6 * part)
        left = round(WIDTH_PX * (visit.left + (visit.right - visit.left) * part))
        left = max(0, min(left, WIDTH_PX - width))
        mask = _soft(height, width)[..., None]
        place = picture[HEIGHT_PX - height :, left : left + width]
        place[:] = place * (1 - mask) + scaled * mask


def _open(data: bytes) -> Image:
    return np.array(Pictures.open(io.BytesIO(data)).convert("RGB"))


def _cut(picture: Image, left: float, top: float, right: float, bottom: float) -> Image:
    height, width = picture.shape[:2]
    return picture[round(top * height) : round(bottom * height), round(left * width) : round(right * width)]


def _soft(height: int, width: int) -> NDArray[np.float32]:
    """1 within, 0 at the edges, float32 (height, width)."""

    def ramp(size: int) -> NDArray[np.float32]:
        near = np.minimum(np.arange(size), np.arange(size)[::-1]) / (_EDGE * size)
        return np.minimum(near, 1).astype(np.float32)

    return np.outer(ramp(height), ramp(width))
