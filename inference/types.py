"""The values that cross `inference`'s border. All are frozen and own their invariants.

Conventions: an *image* is RGB uint8, shape (height, width, 3), upright (EXIF turn applied); coordinates
are pixels of that image, origin top left, x to the right, y down, and may be fractional.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
"""RGB uint8, shape (height, width, 3)."""

FloatArray = NDArray[np.float32]

Point = tuple[float, float]
"""(x, y) in pixels."""


@dataclass(frozen=True, slots=True)
class Box:
    """An axis-aligned rectangle: top-left corner and extent, in pixels."""

    x: float
    y: float
    width: float
    height: float

    def __post_init__(self) -> None:
        if not (self.width > 0 and self.height > 0):
            raise ValueError(f"a box needs a positive width and height, not {self.width} x {self.height}")

    @property
    def right(self) -> float:
        return self.x + self.width

    @property
    def bottom(self) -> float:
        return self.y + self.height

    @property
    def area(self) -> float:
        return self.width * self.height

    def as_list(self) -> list[float]:
        """`[x, y, width, height]`, rounded to a hundredth of a pixel, as the API shows it."""
        return [round(float(value), 2) for value in (self.x, self.y, self.width, self.height)]


@dataclass(frozen=True, slots=True)
class Landmarks:
    """Five points of a face. Left and right are the viewer's: `left_eye` is the eye at the picture's left."""

    left_eye: Point
    right_eye: Point
    nose: Point
    mouth_left: Point
    mouth_right: Point

    def as_array(self) -> NDArray[np.float64]:
        """Shape (5, 2), rows in the order of the fields, columns x and y."""
        return np.array([self.left_eye, self.right_eye, self.nose, self.mouth_left, self.mouth_right], dtype=np.float64)

    def as_dict(self) -> dict[str, list[float]]:
        return {
            name: [round(float(getattr(self, name)[0]), 2), round(float(getattr(self, name)[1]), 2)]
            for name in ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")
        }

    @classmethod
    def from_array(cls, points: "Sequence[Sequence[float]] | NDArray[np.floating]") -> "Landmarks":
        """From five (x, y) pairs in the order of the fields."""
        pairs = [(float(x), float(y)) for x, y in points]
        if len(pairs) != 5:
            raise ValueError(f"a face has five landmarks, not {len(pairs)}")
        return cls(*pairs)


@dataclass(frozen=True, slots=True)
class FaceDetection:
    """What a detector says of one face. `score` is 0..1; `landmarks` is None for a detector without them."""

    box: Box
    score: float
    landmarks: Landmarks | None


class QualityReason(StrEnum):
    """Why a face is a poor portrait. The names are part of the API."""

    TOO_SMALL = "too_small"
    BLURRED = "blurred"
    TURNED_AWAY = "turned_away"
    TILTED = "tilted"
    UNSURE_DETECTION = "unsure_detection"
    TOO_DARK = "too_dark"
    TOO_BRIGHT = "too_bright"
    CUT_OFF = "cut_off"


@dataclass(frozen=True, slots=True)
class Quality:
    """How good a portrait a face is: the measurements, a score, and the reasons against it.

    score: 0..1, the weakest of the single measurements, each mapped so that its limit is 0.5.
    size_px: the shorter side of the box. sharpness: variance of the Laplacian of the aligned grey chip at a fixed
    small size, in percent of the chip's own variance. brightness: mean grey of the chip's middle, 0..255.
    yaw, roll: degrees, estimated from landmarks (None without them). visible: share of the chip inside the photo.
    """

    score: float
    size_px: float
    sharpness: float
    brightness: float
    detector_score: float
    yaw: float | None
    roll: float | None
    visible: float = 1.0
    reasons: tuple[QualityReason, ...] = ()

    @property
    def acceptable(self) -> bool:
        return not self.reasons


@dataclass(frozen=True, slots=True)
class Embedding:
    """A face's vector. `vector` is float32, shape (dims,), finite and read-only; `model` names its maker."""

    model: str
    vector: FloatArray = field(repr=False)

    def __post_init__(self) -> None:
        vector = np.array(self.vector, dtype=np.float32)
        if vector.ndim != 1 or vector.size == 0 or not np.isfinite(vector).all():
            raise ValueError(f"an embedding is one finite vector, not shape {vector.shape}")
        vector.flags.writeable = False
        object.__setattr__(self, "vector", vector)


@dataclass(frozen=True, slots=True)
class Face:
    """One analysed face. `others`: its embeddings by further networks, where they were asked for."""

    box: Box
    score: float
    landmarks: Landmarks | None
    quality: Quality
    embedding: Embedding
    others: tuple[Embedding, ...] = ()

    def embedding_by(self, network: str) -> Embedding | None:
        """The embedding that this network made; None: it was not asked."""
        return next((each for each in (self.embedding, *self.others) if each.model == network), None)


@dataclass(frozen=True, slots=True)
class AssessedFace:
    """A detected face with its quality, not embedded."""

    box: Box
    score: float
    landmarks: Landmarks | None
    quality: Quality


@dataclass(frozen=True, slots=True)
class FaceAssessment:
    """All faces of one image, largest first and not embedded, with the image's size in pixels."""

    width: int
    height: int
    faces: tuple[AssessedFace, ...]


@dataclass(frozen=True, slots=True)
class FaceAnalysis:
    """All faces of one image, largest first, with the image's size in pixels."""

    width: int
    height: int
    faces: tuple[Face, ...]


@dataclass(frozen=True, slots=True)
class Mask:
    """Which pixels of a picture belong to an object, one bit a pixel: a hundred objects of a large picture would
    otherwise take gigabytes.

    picture_px: (height, width) of the picture. left, top, shape (height, width): of the region that `bits` covers;
    outside of it no pixel is set. It may be empty (a height or width of 0). packed: see `of`.
    """

    picture_px: tuple[int, int]
    left: int
    top: int
    shape: tuple[int, int]
    packed: NDArray[np.uint8] = field(repr=False)

    def __post_init__(self) -> None:
        (height, width), (rows, columns) = self.shape, self.picture_px
        if self.left < 0 or self.top < 0 or self.top + height > rows or self.left + width > columns:
            raise ValueError(f"a mask of {width} x {height} at ({self.left}, {self.top}) leaves the picture")

    @classmethod
    def of(cls, picture_px: tuple[int, int], left: int, top: int, bits: NDArray[np.bool_]) -> "Mask":
        """bits: shape (height, width), bool."""
        height, width = bits.shape
        return cls(picture_px, left, top, (height, width), np.packbits(bits))

    @property
    def bits(self) -> NDArray[np.bool_]:
        """Shape `shape`, bool; made anew at each call."""
        height, width = self.shape
        return np.unpackbits(self.packed, count=height * width).reshape(height, width).astype(bool)

    def full(self) -> NDArray[np.bool_]:
        """Shape `picture_px`, bool."""
        whole = np.zeros(self.picture_px, dtype=bool)
        whole[self.top : self.top + self.shape[0], self.left : self.left + self.shape[1]] = self.bits
        return whole


@dataclass(frozen=True, slots=True)
class SceneObject:
    """One object of a picture. `score` is 0..1; box and mask are pixels of the upright picture."""

    label: str
    score: float
    box: Box
    mask: Mask


@dataclass(frozen=True, slots=True)
class CaptionSettings:
    """How a caption is looked for. Lengths are in tokens and count the beginning-of-sentence token and the prompt.

    prompt: text that the caption begins with, None: the model's own. num_beams: 1 is greedy.
    repetition_penalty: 1 is none (Keskar et al. 2019). length_penalty: exponent of the length by which a beam's
    log-likelihood is divided.
    """

    prompt: str | None = None
    num_beams: int = 3
    min_length: int = 5
    max_length: int = 20
    repetition_penalty: float = 1.0
    length_penalty: float = 1.0

    def __post_init__(self) -> None:
        if not 1 <= self.num_beams <= 10:
            raise ValueError(f"num_beams is 1 to 10, not {self.num_beams}")
        if not 0 <= self.min_length <= self.max_length:
            raise ValueError(f"min_length {self.min_length} and max_length {self.max_length} do not fit")
        if not 0 < self.repetition_penalty <= 10:
            raise ValueError(f"repetition_penalty is above 0 and at most 10, not {self.repetition_penalty}")
        if not -5 <= self.length_penalty <= 5:
            raise ValueError(f"length_penalty is -5 to 5, not {self.length_penalty}")


@dataclass(frozen=True, slots=True)
class Caption:
    """A sentence about a picture, without the prompt unless the caller gave it. score: mean log-likelihood of its
    tokens (with beams, under the length penalty), below 0."""

    text: str
    score: float
    token_ids: tuple[int, ...]
