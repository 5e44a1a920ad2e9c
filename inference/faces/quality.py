"""How good a portrait a detected face is: six measurements, each with a limit and a reason.

Every measurement is mapped to 0..1 by a straight line that gives 0.5 at its limit and 1 where more makes no
difference; the score is the weakest of them, and a reason is given for each one below 0.5.
"""

from dataclasses import dataclass
from typing import TypeVar, cast

import cv2
import numpy as np

from inference.config import EmbedderSpec, QualityLimits
from inference.faces.align import chip_transform
from inference.geometry import visible_share
from inference.types import FaceDetection, FloatArray, Image, Landmarks, Quality, QualityReason

Grey = TypeVar("Grey", Image, FloatArray)

_SHARPNESS_PX = 64
"""Sharpness is measured on a chip of this side: a face that fills it in the photo and a larger one then measure
alike, as both hold more detail than it can show."""
_MARGIN = 0.15
_NOSE_DEPTH = 0.9
"""How far the nose's tip stands before the eyes and the mouth's corners, in halves of their distance across."""
_PROFILE_DEGREES = 90.0


@dataclass(frozen=True, slots=True)
class _Measurement:
    value: float
    limit: float
    best: float
    reason: QualityReason

    @property
    def mark(self) -> float:
        """0..1: 0.5 at the limit, 1 at `best`; the line falls or rises as `best` lies."""
        return float(np.clip(0.5 + 0.5 * (self.value - self.limit) / (self.best - self.limit), 0, 1))


def assess(image: Image, face: FaceDetection, chip: Image, spec: EmbedderSpec, limits: QualityLimits) -> Quality:
    """Measure `face` of `image`; `chip` is the face aligned for `spec`."""
    height, width = image.shape[:2]
    visible = visible_share(chip_transform(face, spec), spec.chip_px, width, height)
    size_px = min(face.box.width, face.box.height)
    brightness, sharpness = chip_brightness(chip), chip_sharpness(chip)
    yaw, roll = (None, None) if face.landmarks is None else (yaw_of(face.landmarks), roll_of(face.landmarks))
    marks = [
        _Measurement(size_px, limits.min_size_px, 3 * limits.min_size_px, QualityReason.TOO_SMALL),
        _Measurement(sharpness, limits.min_sharpness, 4 * limits.min_sharpness, QualityReason.BLURRED),
        _Measurement(abs(yaw or 0.0), limits.max_yaw, 0.0, QualityReason.TURNED_AWAY),
        _Measurement(abs(roll or 0.0), limits.max_roll, 0.0, QualityReason.TILTED),
        _Measurement(face.score, limits.min_detector_score, 1.0, QualityReason.UNSURE_DETECTION),
        _Measurement(brightness, limits.min_brightness, 2.5 * limits.min_brightness, QualityReason.TOO_DARK),
        _Measurement(brightness, limits.max_brightness, 0.75 * limits.max_brightness, QualityReason.TOO_BRIGHT),
        _Measurement(visible, limits.min_visible, 1.0, QualityReason.CUT_OFF),
    ]
    return Quality(
        score=min(mark.mark for mark in marks),
        size_px=size_px,
        sharpness=sharpness,
        brightness=brightness,
        detector_score=face.score,
        visible=visible,
        yaw=yaw,
        roll=roll,
        reasons=tuple(mark.reason for mark in marks if mark.mark < 0.5),
    )


def chip_brightness(chip: Image) -> float:
    """Mean grey of the middle of the chip, 0..255; hair and background around the face do not count."""
    return float(_grey(_middle(chip)).mean())


def chip_sharpness(chip: Image) -> float:
    """Variance of the Laplacian of the chip's grey middle at `_SHARPNESS_PX`, in units of its own variance, in percent.

    Reducing every chip to one small size makes it independent of the face's size in the photo; dividing by the
    variance makes it independent of light and contrast.
    """
    small = cv2.resize(_grey(chip), (_SHARPNESS_PX, _SHARPNESS_PX), interpolation=cv2.INTER_AREA).astype(np.float32)
    middle = _middle(small)
    contrast = float(middle.var())
    return float(100 * cv2.Laplacian(middle, cv2.CV_32F).var() / contrast) if contrast > 1 else 0.0


def yaw_of(marks: Landmarks) -> float:
    """Degrees the head is turned about its vertical axis, positive when the nose points to the picture's right.

    With the eyes and mouth corners at +-1 across the face and the nose's tip `_NOSE_DEPTH` before them, a turn by
    yaw shifts the nose by depth * sin(yaw) while their half distance shrinks to cos(yaw): the ratio gives the tangent.
    """
    points = marks.as_array()
    left, right, nose = points[[0, 3]].mean(axis=0), points[[1, 4]].mean(axis=0), points[2]
    across = right - left
    half_px = float(np.linalg.norm(across)) / 2
    if half_px < 1e-6:
        return _PROFILE_DEGREES
    shift = float((nose - (left + right) / 2) @ across) / (2 * half_px**2)
    return float(np.degrees(np.arctan(shift / _NOSE_DEPTH)))


def roll_of(marks: Landmarks) -> float:
    """Degrees the head leans, positive clockwise in the picture: the direction from the left eye to the right one."""
    dx, dy = np.subtract(marks.right_eye, marks.left_eye)
    return float(np.degrees(np.arctan2(dy, dx)))


def _grey(image: Image) -> Image:
    return cast(Image, cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))


def _middle(chip: Grey) -> Grey:
    """The part that the face itself fills."""
    side = chip.shape[0]
    margin = round(_MARGIN * side)
    return chip[margin : side - margin, margin : side - margin]
