"""YOLACT's post-processing, step by step and slowly, written from its description for comparison: PyTorch where the
published program uses it, loops elsewhere."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from inference.config import SegmenterSpec


@dataclass(frozen=True)
class SlowObject:
    label: str
    score: float
    box: tuple[int, int, int, int]
    mask: np.ndarray
    doubtful: np.ndarray
    """Pixels so near to the level of a half that rounding decides."""


def slow_priors(spec: SegmenterSpec) -> list[list[float]]:
    found = []
    for grid, scale in zip(spec.grids, spec.scales_px, strict=True):
        for row in range(grid):
            for column in range(grid):
                for ratio in spec.ratios:
                    side = scale * math.sqrt(ratio) / spec.size_px
                    found.append([(column + 0.5) / grid, (row + 0.5) / grid, side, side])
    return found


def slow_box(loc: list[float], prior: list[float]) -> list[float]:
    x = prior[0] + 0.1 * loc[0] * prior[2]
    y = prior[1] + 0.1 * loc[1] * prior[3]
    width = prior[2] * math.exp(0.2 * loc[2])
    height = prior[3] * math.exp(0.2 * loc[3])
    return [x - width / 2, y - height / 2, x + width / 2, y + height / 2]


def slow_iou(one: list[float], other: list[float]) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(0.0, width) * max(0.0, height)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    union = sum(areas) - shared
    return shared / union if union > 0 else 0.0


def slow_find(
    conf: np.ndarray, boxes: list[list[float]], spec: SegmenterSpec, threshold: float
) -> list[tuple[int, int, float]]:
    """(prior, class, score), best first: everything in the published order, the threshold last."""
    alive = [prior for prior in range(len(conf)) if conf[prior, 1:].max() > spec.least_score]
    found = []
    for label in range(conf.shape[1] - 1):
        ranked = sorted(alive, key=lambda prior: -conf[prior, label + 1])[: spec.nms_top_k]
        for place, prior in enumerate(ranked):
            if all(slow_iou(boxes[better], boxes[prior]) <= spec.nms_iou for better in ranked[:place]):
                found.append((prior, label, float(conf[prior, label + 1])))
    found = sorted(found, key=lambda item: -item[2])[: spec.max_objects]
    return [item for item in found if threshold == 0 or item[2] > threshold]


def slow_levels(proto: np.ndarray, coef: np.ndarray, box: list[float], height: int, width: int) -> np.ndarray:
    """The mask before the level of a half is asked for, at the picture's size."""
    rows, columns = proto.shape[:2]
    cells = torch.sigmoid(torch.from_numpy(proto) @ torch.from_numpy(coef))
    low_x, high_x = sorted(np.float32([box[0], box[2]]) * np.float32(columns))
    low_y, high_y = sorted(np.float32([box[1], box[3]]) * np.float32(rows))
    for row in range(rows):
        for column in range(columns):
            if not (low_x - 1 <= column < high_x + 1 and low_y - 1 <= row < high_y + 1):
                cells[row, column] = 0
    whole = functional.interpolate(cells[None, None], size=(height, width), mode="bilinear", align_corners=False)
    return whole[0, 0].numpy()


def slow_segment(
    heads: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
    spec: SegmenterSpec,
    height: int,
    width: int,
    threshold: float,
    top_k: int,
) -> list[SlowObject]:
    loc, conf, coef, proto = heads
    boxes = [slow_box(row.tolist(), prior) for row, prior in zip(loc, slow_priors(spec), strict=True)]
    objects = []
    for prior, label, score in slow_find(conf, boxes, spec, threshold):
        x1, x2 = sorted(min(max(int(value * width), 0), width) for value in boxes[prior][::2])
        y1, y2 = sorted(min(max(int(value * height), 0), height) for value in boxes[prior][1::2])
        if x1 == x2 or y1 == y2 or len(objects) == top_k:
            continue
        levels = slow_levels(proto, coef[prior], boxes[prior], height, width)
        near = np.abs(levels - 0.5) < 1e-5
        objects.append(SlowObject(spec.labels[label], score, (x1, y1, x2 - x1, y2 - y1), levels > 0.5, near))
    return objects
