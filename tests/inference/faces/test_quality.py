"""What each measurement sees, and that every reason stands for a mark below one half."""

import cv2
import numpy as np
import pytest

from inference.config import DLIB_RESNET, QualityLimits
from inference.faces.align import align, average_landmarks, chip_transform
from inference.faces.quality import assess, chip_brightness, chip_sharpness, roll_of, yaw_of
from inference.geometry import transform_points
from inference.types import Box, FaceDetection, Image, Landmarks, Quality, QualityReason

LIMITS = QualityLimits()


def photo(side: int = 600) -> Image:
    """Smooth texture at face scale with some fine detail: what a sharp photo of a face has."""
    rng = np.random.default_rng(0)
    coarse = cv2.resize(rng.integers(40, 220, (12, 12, 3), dtype=np.uint8), (side, side), interpolation=cv2.INTER_CUBIC)
    fine = cv2.resize(rng.normal(0, 18, (side // 4, side // 4, 3)), (side, side))
    return np.clip(coarse + fine, 0, 255).astype(np.uint8)


def turned(points: np.ndarray, degrees: float) -> np.ndarray:
    angle = np.radians(degrees)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    centre = points.mean(axis=0)
    return (points - centre) @ rotation.T + centre


BOX = Box(200, 200, 160, 200)
NOSE_ASIDE = np.array([[0, 0], [0, 0], [60, 0], [0, 0], [0, 0]])


def face(box: Box = BOX, score: float = 0.95, points: np.ndarray | None = None) -> FaceDetection:
    return FaceDetection(box, score, Landmarks.from_array(average_landmarks(box) if points is None else points))


def assessed(image: Image, detection: FaceDetection) -> Quality:
    return assess(image, detection, align(image, detection, DLIB_RESNET), DLIB_RESNET, LIMITS)


def test_a_good_face_has_no_reason_against_it() -> None:
    quality = assessed(photo(), face())
    assert quality.acceptable
    assert quality.score > 0.5


@pytest.mark.parametrize(
    ("image", "detection", "reason"),
    [
        (photo(), face(Box(200, 200, 22, 28)), QualityReason.TOO_SMALL),
        (cv2.GaussianBlur(photo(), (0, 0), 12), face(), QualityReason.BLURRED),
        ((photo() * 0.08).astype(np.uint8), face(), QualityReason.TOO_DARK),
        (np.clip(photo().astype(int) + 150, 0, 255).astype(np.uint8), face(), QualityReason.TOO_BRIGHT),
        (photo(), face(score=0.55), QualityReason.UNSURE_DETECTION),
        (photo(), face(Box(-60, 200, 160, 200)), QualityReason.CUT_OFF),
        (photo(), face(points=turned(average_landmarks(Box(200, 200, 160, 200)), 60)), QualityReason.TILTED),
        (photo(), face(points=average_landmarks(BOX) + NOSE_ASIDE),
         QualityReason.TURNED_AWAY),
    ],
    ids=lambda value: value.value if isinstance(value, QualityReason) else "",
)  # fmt: skip
def test_each_fault_has_its_reason(image: Image, detection: FaceDetection, reason: QualityReason) -> None:
    quality = assessed(image, detection)
    assert reason in quality.reasons
    assert quality.score < 0.5


def test_a_face_without_landmarks_has_no_pose_but_a_quality() -> None:
    quality = assessed(photo(), FaceDetection(Box(200, 200, 160, 200), 0.95, None))
    assert (quality.yaw, quality.roll) == (None, None)
    assert quality.acceptable


@pytest.mark.parametrize("scale", [0.5, 2.0, 4.0])
def test_sharpness_does_not_depend_on_the_faces_size_in_the_photo(scale: float) -> None:
    large = photo(600)
    other = cv2.resize(large, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    box = Box(200 * scale, 200 * scale, 160 * scale, 200 * scale)
    here = chip_sharpness(align(large, face(), DLIB_RESNET))
    there = chip_sharpness(align(other, face(box), DLIB_RESNET))
    assert there == pytest.approx(here, rel=0.35)  # without the fixed size it would differ fourfold and more


def test_sharpness_does_not_depend_on_light_but_falls_with_blur() -> None:
    chip = align(photo(), face(), DLIB_RESNET)
    assert chip_sharpness((chip * 0.5).astype(np.uint8)) == pytest.approx(chip_sharpness(chip), rel=0.1)
    blurs = [chip_sharpness(cv2.GaussianBlur(chip, (0, 0), sigma)) for sigma in (1, 2, 4, 8)]
    assert blurs == sorted(blurs, reverse=True)
    assert chip_sharpness(np.full((150, 150, 3), 90, np.uint8)) == 0


def test_brightness_is_that_of_the_face_not_of_its_surroundings() -> None:
    chip = np.full((150, 150, 3), 255, np.uint8)
    chip[22:128, 22:128] = 30
    assert chip_brightness(chip) == pytest.approx(30, abs=2)


@pytest.mark.parametrize("roll", [-50, -20, 0, 35, 120])
def test_roll_is_the_direction_of_the_eyes(roll: float) -> None:
    points = turned(average_landmarks(Box(0, 0, 100, 120)), roll)
    assert roll_of(Landmarks.from_array(points)) == pytest.approx(roll)


@pytest.mark.parametrize("yaw", [-60, -30, 0, 15, 45])
@pytest.mark.parametrize("roll", [0, 40])
def test_yaw_of_a_modelled_head_is_found_whatever_its_roll(yaw: float, roll: float) -> None:
    angle = np.radians(yaw)
    head = np.array([[-1, -1, 0], [1, -1, 0], [0, 0, 0.9], [-1, 1, 0], [1, 1, 0]])
    seen = np.column_stack([head[:, 0] * np.cos(angle) + head[:, 2] * np.sin(angle), head[:, 1]]) * 30 + 100
    assert yaw_of(Landmarks.from_array(turned(seen, roll))) == pytest.approx(yaw, abs=0.01)


def test_landmarks_that_collapse_do_not_stop_the_analysis() -> None:
    quality = assessed(photo(), face(points=np.full((5, 2), 250.0)))
    assert QualityReason.TURNED_AWAY in quality.reasons


def test_alignment_puts_the_landmarks_at_the_template() -> None:
    detection = face(points=turned(average_landmarks(Box(200, 200, 160, 200)), 25))
    assert detection.landmarks is not None
    placed = transform_points(chip_transform(detection, DLIB_RESNET), detection.landmarks.as_array())
    assert np.abs(placed - np.array(DLIB_RESNET.template)).max() < 12
