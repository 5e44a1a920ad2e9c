"""What YOLACT's raw heads mean (Bolya et al. 2019, arXiv 1904.02689; https://github.com/dbolya/yolact for what the
paper leaves open): priors, boxes, Fast NMS. Array maths only.

Boxes are shares of the picture's sides: corners x1, y1, x2, y2, in any order and not cut at the border.
"""

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inference.config import SegmenterSpec
from inference.types import FloatArray

_VARIANCES = (0.1, 0.2)
_SMALLEST_AREA = 1e-12


@dataclass(frozen=True, slots=True)
class Candidates:
    """Found objects, best first. boxes (k, 4); coef (k, masks); scores (k,); labels (k,): 0 is the first that is not
    background."""

    boxes: FloatArray
    coef: FloatArray
    scores: FloatArray
    labels: NDArray[np.intp]


@functools.lru_cache(maxsize=8)
def priors(size_px: int, grids: tuple[int, ...], scales_px: tuple[float, ...], ratios: tuple[float, ...]) -> FloatArray:
    """Shape (priors, 4): centre x, y, width, height; level by level, row by row, cell by cell, ratio by ratio.

    All are square: the published weights were trained with the height set to the width, scale * sqrt(ratio).
    """
    levels = []
    for grid, scale in zip(grids, scales_px, strict=True):
        middles = (np.arange(grid) + 0.5) / grid
        rows, columns, widths = np.meshgrid(middles, middles, scale * np.sqrt(ratios) / size_px, indexing="ij")
        levels.append(np.stack([columns, rows, widths, widths], axis=-1).reshape(-1, 4))
    array = np.concatenate(levels).astype(np.float32)
    array.flags.writeable = False
    return array


def spec_priors(spec: SegmenterSpec) -> FloatArray:
    return priors(spec.size_px, spec.grids, spec.scales_px, spec.ratios)


def decode(loc: FloatArray, centred: FloatArray) -> FloatArray:
    """Boxes of what the network says (k, 4) at priors (k, 4)."""
    middle = centred[:, :2] + loc[:, :2] * np.float32(_VARIANCES[0]) * centred[:, 2:]
    # beyond e^20 a box is wider than any picture: no overflow then, and the same result after it is cut
    size = centred[:, 2:] * np.exp(np.minimum(loc[:, 2:] * np.float32(_VARIANCES[1]), np.float32(20)))
    low = middle - size / 2
    return np.concatenate([low, low + size], axis=1)


def overlaps(boxes: FloatArray) -> FloatArray:
    """IoU of all pairs of (k, 4): (k, k)."""
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    width, height = np.moveaxis(np.maximum(high - low, 0), -1, 0)
    shared = width * height
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    result: FloatArray = shared / np.maximum(area[:, None] + area[None, :] - shared, np.float32(_SMALLEST_AREA))
    return result


def fast_nms(boxes: FloatArray, iou: float) -> NDArray[np.bool_]:
    """Which of boxes (k, 4), best score first, stay: those that overlap none before them by more than `iou`.

    A box that goes takes others with it all the same: this is what makes it fast, and other than the greedy kind.
    """
    worst = np.triu(overlaps(boxes), k=1).max(axis=0, initial=0)
    kept: NDArray[np.bool_] = worst <= iou
    return kept


def find(conf: FloatArray, loc: FloatArray, coef: FloatArray, spec: SegmenterSpec, threshold: float) -> Candidates:
    """At most `spec.max_objects` objects of one picture with a score above `threshold` (0: whatever its score).

    Args:
        conf: (priors, 1 + labels), loc: (priors, 4), coef: (priors, masks).
    """
    places, classes = _likely(conf[:, 1:], spec.least_score, threshold)
    scores = conf[places, classes + 1]
    used, where = np.unique(places, return_inverse=True)
    boxes = decode(loc[used], spec_priors(spec)[used])[where]
    kept = []
    for label in np.unique(classes):
        members = np.flatnonzero(classes == label)
        members = members[np.argsort(-scores[members], kind="stable")][: spec.nms_top_k]
        kept.append(members[fast_nms(boxes[members], spec.nms_iou)])
    chosen = np.concatenate(kept) if kept else np.empty(0, np.intp)
    chosen = chosen[np.argsort(-scores[chosen], kind="stable")][: spec.max_objects]
    return Candidates(boxes[chosen], coef[places[chosen]], scores[chosen], classes[chosen])


def _likely(foreground: FloatArray, least: float, threshold: float) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Pairs of prior and class that are worth a look.

    A prior counts if its best class scores above `least`; then all its classes do. In one class only a higher score
    takes a box away, so that pairs up to `threshold` may go before the suppression instead of after: same result,
    and few pairs are left.
    """
    rows = np.flatnonzero(foreground.max(axis=1) > least)
    if threshold <= 0:
        places, classes = np.divmod(np.arange(len(rows) * foreground.shape[1]), foreground.shape[1])
    else:
        places, classes = np.nonzero(foreground[rows] > threshold)
    return rows[places], classes
