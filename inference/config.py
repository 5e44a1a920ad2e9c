"""Frozen specifications of models and limits: the only place for a threshold, an input size or a model name.

Values come from the published models; what a deployment may change, `portrait.core` takes from settings
and hands over with `dataclasses.replace`.
"""

import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

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


class SceneTask(StrEnum):
    """What a network of scenes does. Its name begins so: `yolact-base`, `blip-mini`."""

    SEGMENTATION = "segmentation"
    CAPTIONING = "captioning"


SCENE_PREFIXES = {"yolact-": SceneTask.SEGMENTATION, "blip-": SceneTask.CAPTIONING}
SCENE_SPEC = "portrait.spec"
"""Key of the Triton model parameter that holds a scene model's specification as JSON: it travels with the model, so
that whoever calls it needs no file of it."""
SCENE_PREFERENCE = ("yolact-base", "yolact-im700", "yolact-resnet50", "blip-large", "blip-base")
"""Which of several loaded models is the default, where the settings name none: the first of these, then by name."""


def scene_task(name: str) -> SceneTask | None:
    """By the beginning of a model's name; None: no network of scenes."""
    return next((task for prefix, task in SCENE_PREFIXES.items() if name.startswith(prefix)), None)


@dataclass(frozen=True, slots=True)
class SegmenterSpec:
    """A YOLACT network (Bolya et al. 2019, arXiv 1904.02689) as it was imported.

    Its input is `image`, float32 RGB (n, size_px, size_px, 3), 0..255, the picture squashed to that size: mean and
    deviation are part of the graph. Outputs, raw: `loc` (n, priors, 4), `conf` (n, priors, 1 + labels) after softmax
    with the background first, `coef` (n, priors, masks) after tanh, `proto` (n, height, width, masks).

    grids: cells along a side, level by level. scales_px: of each level's priors, in pixels of the input.
    domain: what the model knows, if that is not what photos show; every answer says so, and such a model is never
    a default.
    """

    name: str
    size_px: int
    labels: tuple[str, ...]
    grids: tuple[int, ...]
    scales_px: tuple[float, ...]
    ratios: tuple[float, ...] = (1.0, 0.5, 2.0)
    least_score: float = 0.05
    nms_iou: float = 0.5
    nms_top_k: int = 200
    max_objects: int = 100
    domain: str = ""
    deadline_s: float = 60.0


@dataclass(frozen=True, slots=True)
class CaptionerSpec:
    """A BLIP captioning network (Li et al. 2022, arXiv 2201.12086) as it was imported.

    Its input is `image`, uint8 RGB (n, size_px, size_px, 3), the picture squashed to that size by Pillow's bicubic
    filter: mean and deviation are part of the graph. max_tokens: the longest text that it can write, prompt included.
    prompt: used where the caller gives none. domain: as in `SegmenterSpec`.
    """

    name: str
    size_px: int
    max_tokens: int
    prompt: str = ""
    domain: str = ""
    deadline_s: float = 120.0


def spec_to_json(spec: SegmenterSpec | CaptionerSpec) -> str:
    """The value of the parameter `SCENE_SPEC`."""
    return json.dumps(asdict(spec), sort_keys=True)


def spec_from_json(text: str) -> SegmenterSpec | CaptionerSpec:
    """The specification that a model's parameter `SCENE_SPEC` holds.

    Raises:
        ValueError: it is not one.
    """
    try:
        fields: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in json.loads(text).items()
        }
        if scene_task(fields["name"]) is SceneTask.SEGMENTATION:
            return SegmenterSpec(**fields)
        return CaptionerSpec(**fields)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"not the specification of a scene model: {error}") from error
