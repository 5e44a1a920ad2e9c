"""What the raw outputs of each detector family mean: one decoder a family.

A decoder takes one image's outputs (without the batch axis) and the size of the network's input, and gives the
candidates above the threshold, in pixels of that input, before non-maximum suppression.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from inference.config import DetectorFamily
from inference.geometry import Array
from inference.types import FloatArray

Outputs = Mapping[str, FloatArray]

_CENTERFACE_STRIDE = 4
_YUNET_STRIDES = (8, 16, 32)


@dataclass(frozen=True, slots=True)
class Candidates:
    """`boxes` (n, 4) as x1, y1, x2, y2; `scores` (n,); `points` (n, 10) as five x, y pairs, or None."""

    boxes: Array
    scores: Array
    points: Array | None


@dataclass(frozen=True, slots=True)
class Decoder:
    """`decode(outputs, height, width, score_threshold)` and the names of the outputs it reads."""

    outputs: tuple[str, ...]
    decode: Callable[[Outputs, int, int, float], Candidates]


def decode_centerface(outputs: Outputs, height: int, width: int, threshold: float) -> Candidates:
    """CenterFace (Xu et al., "CenterFace: Joint Face Detection and Alignment Using Face as Point", 2019).

    `heatmap` (1, h, w): a face's centre is in this cell. `scale` (2, h, w): logarithm of its height and width in
    cells. `offset` (2, h, w): the centre's place in the cell. `landmarks` (10, h, w): from the box's top left,
    in box heights and widths. All pairs are ordered y, x. A cell is 4 pixels.
    """
    rows, columns = np.nonzero(outputs["heatmap"][0] > threshold)
    box_height, box_width = np.exp(outputs["scale"][:, rows, columns]) * _CENTERFACE_STRIDE
    offset_y, offset_x = outputs["offset"][:, rows, columns]
    top = (rows + offset_y + 0.5) * _CENTERFACE_STRIDE - box_height / 2
    left = (columns + offset_x + 0.5) * _CENTERFACE_STRIDE - box_width / 2
    marks = outputs["landmarks"][:, rows, columns]
    points = np.empty((len(rows), 10))
    points[:, 0::2] = (left + marks[1::2] * box_width).T
    points[:, 1::2] = (top + marks[0::2] * box_height).T
    boxes = np.stack([left, top, left + box_width, top + box_height], axis=1)
    return Candidates(boxes, outputs["heatmap"][0, rows, columns], points)


def decode_yunet(outputs: Outputs, height: int, width: int, threshold: float) -> Candidates:
    """YuNet (Wu et al., "YuNet: A Tiny Millisecond-level Face Detector", 2023).

    For each stride s and cell, row by row: `cls_s` and `obj_s`, whose geometric mean is the score; `bbox_s`, the
    centre's shift in cells and the logarithm of width and height in cells; `kps_s`, five points' shifts in cells.
    """
    parts = [_yunet_level(outputs, stride, -(-width // stride), threshold) for stride in _YUNET_STRIDES]
    return Candidates(
        boxes=np.concatenate([part.boxes for part in parts]),
        scores=np.concatenate([part.scores for part in parts]),
        points=np.concatenate([part.points for part in parts if part.points is not None]),
    )


def _yunet_level(outputs: Outputs, stride: int, columns: int, threshold: float) -> Candidates:
    confidence = np.sqrt(outputs[f"cls_{stride}"][:, 0].clip(0, 1) * outputs[f"obj_{stride}"][:, 0].clip(0, 1))
    cells = np.nonzero(confidence > threshold)[0]
    corner = np.stack([cells % columns, cells // columns], axis=1)
    shift = outputs[f"bbox_{stride}"][cells]
    centre = (corner + shift[:, :2]) * stride
    half = np.exp(shift[:, 2:]) * stride / 2
    points = (np.tile(corner, 5) + outputs[f"kps_{stride}"][cells]) * stride
    return Candidates(np.hstack([centre - half, centre + half]), confidence[cells], points)


def decode_ultraface(outputs: Outputs, height: int, width: int, threshold: float) -> Candidates:
    """UltraFace (github.com/Linzaer/Ultra-Light-Fast-Generic-Face-Detector-1MB).

    `scores` (n, 2): background, face. `boxes` (n, 4): x1, y1, x2, y2 relative to the input's width and height.
    """
    scores = outputs["scores"][:, 1]
    chosen = scores > threshold
    return Candidates(outputs["boxes"][chosen] * np.array([width, height, width, height]), scores[chosen], None)


DECODERS: Mapping[DetectorFamily, Decoder] = MappingProxyType(
    {
        DetectorFamily.CENTERFACE: Decoder(("heatmap", "scale", "offset", "landmarks"), decode_centerface),
        DetectorFamily.YUNET: Decoder(
            tuple(f"{head}_{stride}" for head in ("cls", "obj", "bbox", "kps") for stride in _YUNET_STRIDES),
            decode_yunet,
        ),
        DetectorFamily.ULTRAFACE: Decoder(("scores", "boxes"), decode_ultraface),
    }
)
