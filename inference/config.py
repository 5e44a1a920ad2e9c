"""Frozen specifications of models and limits: the only place for a threshold, an input size or a model name.

Values come from the published models; what a deployment may change, `portrait.core` takes from settings
and hands over with `dataclasses.replace`.
"""

from dataclasses import dataclass
from enum import StrEnum

from inference.calibration import Calibration
from inference.types import Point


@dataclass(frozen=True, slots=True)
class CodecLimits:
    """What an uploaded picture may be."""

    max_bytes: int = 25 * 1024 * 1024
    max_pixels: int = 50_000_000
    min_side_px: int = 16


CODEC_LIMITS = CodecLimits()


class DetectorFamily(StrEnum):
    """One decoder each in `inference.faces.detect`."""

    CENTERFACE = "centerface"
    YUNET = "yunet"
    ULTRAFACE = "ultraface"


@dataclass(frozen=True, slots=True)
class FinePass:
    """A second, finer look at large photos in which the first found, or suspected, small faces.

    It is taken when the first pass scored anything narrower than `small_px` (pixels of its network's input) at
    `suspect_score` or more, and it may add or improve only faces that are so small: of large ones the first pass is
    the better judge, the finer one begins to see false ones.
    """

    long_side_px: int
    score_threshold: float
    suspect_score: float
    small_px: float


@dataclass(frozen=True, slots=True)
class DetectorSpec:
    """A face detector. Its input is `image`, uint8 RGB (n, height, width, 3), whatever the published network
    wants: the conversion is part of the ONNX graph. The image is scaled so that its longest side is at most
    `long_side_px` (never enlarged) and padded with black at the right and bottom to a multiple of `stride_px`.

    Of one image the `max_faces` best faces are kept. One request carries at most `max_batch` images, and at most
    `parallel` requests of one call are under way. On a CPU an image of a batch costs more than an image alone
    (CenterFace: 25 ms alone, 33 ms in a batch of 8), so that images go one by one and side by side; a GPU wants
    larger batches.
    """

    name: str
    family: DetectorFamily
    long_side_px: int
    stride_px: int
    score_threshold: float
    nms_iou: float
    has_landmarks: bool
    deadline_s: float = 10.0
    max_batch: int = 1
    parallel: int = 4
    max_faces: int = 256
    fine: FinePass | None = None


@dataclass(frozen=True, slots=True)
class EmbedderSpec:
    """A face embedder. Its input is `image`, uint8 RGB (n, chip_px, chip_px, 3): the published normalisation
    is part of the ONNX graph, so that a quarter of the bytes travel.

    `template` are the places of the five landmarks in the chip. `calibration` says from which Euclidean
    distance of two vectors on they are the same person's.
    """

    name: str
    version: str
    dims: int
    chip_px: int
    template: tuple[Point, Point, Point, Point, Point]
    calibration: Calibration
    deadline_s: float = 10.0
    max_batch: int = 32


@dataclass(frozen=True, slots=True)
class QualityLimits:
    """Where a face stops being a good portrait."""

    min_size_px: float = 40.0
    min_sharpness: float = 15.0
    max_yaw: float = 45.0
    max_roll: float = 45.0
    min_detector_score: float = 0.6
    min_brightness: float = 35.0
    max_brightness: float = 225.0
    min_visible: float = 0.85


CENTERFACE = DetectorSpec(
    name="centerface",
    family=DetectorFamily.CENTERFACE,
    long_side_px=640,
    stride_px=32,
    score_threshold=0.5,
    nms_iou=0.3,
    has_landmarks=True,
    fine=FinePass(long_side_px=1600, score_threshold=0.7, suspect_score=0.3, small_px=24),
)
YUNET = DetectorSpec(
    name="yunet",
    family=DetectorFamily.YUNET,
    long_side_px=640,
    stride_px=32,
    score_threshold=0.7,
    nms_iou=0.3,
    has_landmarks=True,
)
ULTRAFACE = DetectorSpec(
    name="ultraface",
    family=DetectorFamily.ULTRAFACE,
    long_side_px=320,
    stride_px=1,
    score_threshold=0.8,
    nms_iou=0.3,
    has_landmarks=False,
)
DETECTORS = {spec.name: spec for spec in (CENTERFACE, YUNET, ULTRAFACE)}

DLIB_RESNET = EmbedderSpec(
    name="dlib_resnet",
    version="1",
    dims=128,
    chip_px=150,
    # Where CenterFace's landmarks lie in dlib's own chips (46.4, 46.7) ... (98.9, 102.0), drawn 6 % nearer and 3 px up:
    # on 210 altered ordinary faces the separation d' of same and different people rose from 3.93 to 4.13.
    template=((44.7, 42.0), (104.9, 40.8), (74.4, 75.8), (48.0, 101.7), (100.3, 100.6)),
    calibration=Calibration(threshold=0.58, slope=16.0),
)
EMBEDDERS = {DLIB_RESNET.name: DLIB_RESNET}
