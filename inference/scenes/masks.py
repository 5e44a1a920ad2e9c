"""Masks of prototypes and coefficients, as YOLACT assembles them (Bolya et al. 2019, arXiv 1904.02689, section 3.3)."""

import functools
from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from inference.types import FloatArray, Image, Mask

_PAD = 1
"""Cells by which a box is widened before the mask is cut."""
_LEVEL = np.float32(0.5)
_LARGE_PX = 8_000_000
_CHUNK = 1 << 16
"""Pixels of one step: they stay in the processor's cache."""


@dataclass(frozen=True, slots=True)
class Taps:
    """Bilinear interpolation along one axis: `new[i] = old[low[i]] * (1 - weight[i]) + old[high[i]] * weight[i]`."""

    low: NDArray[np.intp]
    high: NDArray[np.intp]
    weight: FloatArray

    def part(self, first: int, last: int) -> tuple["Taps", int]:
        """Those that use any of old `first` to `last`, and the index of the first of them."""
        start = int(np.searchsorted(self.high, first, side="left"))
        end = int(np.searchsorted(self.low, last, side="right"))
        return Taps(self.low[start:end], self.high[start:end], self.weight[start:end]), start


@functools.lru_cache(maxsize=256)
def taps(old: int, new: int) -> Taps:
    """From `old` to `new` pixels; centres at halves, the border repeated, no smoothing."""
    place = np.clip((np.arange(new) + 0.5) * (old / new) - 0.5, 0, old - 1)
    low = np.floor(place).astype(np.intp)
    return Taps(low, np.minimum(low + 1, old - 1), (place - low).astype(np.float32))


def squashed(image: Image, size_px: int) -> FloatArray:
    """The image as float32 (size_px, size_px, 3), bilinear without smoothing, its proportions not kept.

    In float from the start: rounding to whole grey levels is not what the network was trained with. Of a large
    picture only the rows (of a wide one the columns) that count are converted, or 50 megapixels would take 600 MB;
    of others all, which is faster.
    """
    reducible = [axis for axis in (0, 1) if image.shape[axis] > 2 * size_px]
    if reducible and image.shape[0] * image.shape[1] > _LARGE_PX:
        pixels = _interpolated(image, reducible[0], size_px)
    else:
        pixels = image.astype(np.float32)
    return cast(FloatArray, cv2.resize(pixels, (size_px, size_px), interpolation=cv2.INTER_LINEAR))


def _interpolated(image: Image, axis: int, new: int) -> FloatArray:
    """Along one axis only."""
    steps = taps(image.shape[axis], new)
    weight = np.expand_dims(steps.weight, (1, 2) if axis == 0 else (0, 2))
    return cast(FloatArray, image.take(steps.low, axis) * (1 - weight) + image.take(steps.high, axis) * weight)


def assemble(proto: FloatArray, coef: FloatArray, box: FloatArray, height: int, width: int) -> Mask:
    """One object's mask in a picture of `height` x `width`.

    The same as cutting the prototypes' sum at the box, enlarging all of it and taking what is above a half: a pixel
    is set only if a cell that it is interpolated from is above a half, so that only those places are enlarged.

    Args:
        proto: (rows, columns, masks). coef: (masks,). box: corners, shares of the sides.
    """
    cells, left, top = _cut(proto, coef, box)
    high = cells > _LEVEL
    if not high.any():
        return Mask.of((height, width), 0, 0, np.zeros((0, 0), dtype=bool))
    rows, columns = (np.flatnonzero(high.any(axis=axis)) for axis in (1, 0))
    down, first_row = taps(proto.shape[0], height).part(top + int(rows[0]), top + int(rows[-1]))
    across, first_column = taps(proto.shape[1], width).part(left + int(columns[0]), left + int(columns[-1]))
    # a cell more all around, if only of zeros, for the pixels between the last cell and the one beyond
    wide = np.pad(cells, 1)
    bits = _enlarged(wide, _moved(down, top - 1), _moved(across, left - 1))
    return Mask.of((height, width), first_column, first_row, bits)


def _moved(part: Taps, start: int) -> Taps:
    """For a picture that begins at old pixel `start`."""
    return Taps(part.low - start, part.high - start, part.weight)


def _cut(proto: FloatArray, coef: FloatArray, box: FloatArray) -> tuple[FloatArray, int, int]:
    """The mask's cells inside the box, 0..1, and the column and row of the first."""
    rows, columns = proto.shape[:2]
    (left, top), (right, bottom) = _inside(box, rows, columns)
    logits = proto[top:bottom, left:right] @ coef
    cells: FloatArray = np.float32(0.5) * (1 + np.tanh(logits * np.float32(0.5)))  # the sigmoid, without overflow
    return cells, left, top


def _inside(box: FloatArray, rows: int, columns: int) -> tuple[list[int], list[int]]:
    """The first column and row, and those after the last, of the cells at or after the box's lower edges and before
    its upper ones, both moved out by `_PAD` cells and not rounded. In single precision, as published."""
    counts = np.array([columns, rows], np.float32)
    one, other = box[:2] * counts, box[2:] * counts
    low = np.clip(np.ceil(np.minimum(one, other) - np.float32(_PAD)), 0, counts).astype(int)
    high = np.clip(np.ceil(np.maximum(one, other) + np.float32(_PAD)), low, counts).astype(int)
    return low.tolist(), high.tolist()


def _enlarged(cells: FloatArray, down: Taps, across: Taps) -> NDArray[np.bool_]:
    """Which pixels are above a half. Rows are copied whole, as single columns would be slow: first along the
    turned picture, then along the upright one."""
    turned = cells.T
    weight = across.weight[:, None]
    wide = np.ascontiguousarray((turned[across.low] * (1 - weight) + turned[across.high] * weight).T)
    bits = np.empty((len(down.low), len(across.low)), dtype=bool)
    step = max(1, _CHUNK // max(1, bits.shape[1]))
    for start in range(0, len(bits), step):
        rows = slice(start, start + step)
        weight = down.weight[rows, None]
        np.greater(wide[down.low[rows]] * (1 - weight) + wide[down.high[rows]] * weight, _LEVEL, out=bits[rows])
    return bits
