"""Masks of prototypes and coefficients, as YOLACT assembles them (Bolya et al. 2019, arXiv 1904.02689, section 3.3)."""

import functools
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from inference.types import FloatArray, Image, Mask

_PAD = 1
"""Cells by which a box is widened before the mask is cut."""
_LEVEL = np.float32(0.5)
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

    In float from the start: rounding to whole grey levels is not what the network was trained with. Of a high
    picture only the rows that count are converted, or 50 megapixels would take 600 MB.
    """
    if image.shape[0] > 2 * size_px:
        rows = taps(image.shape[0], size_px)
        weight = rows.weight[:, None, None]
        pixels = image[rows.low] * (1 - weight) + image[rows.high] * weight
    else:
        pixels = image.astype(np.float32)
    resized: FloatArray = cv2.resize(pixels, (size_px, size_px), interpolation=cv2.INTER_LINEAR)
    return resized


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
        return Mask((height, width), 0, 0, np.zeros((0, 0), dtype=bool))
    rows, columns = (np.flatnonzero(high.any(axis=axis)) for axis in (1, 0))
    down, first_row = taps(proto.shape[0], height).part(top + int(rows[0]), top + int(rows[-1]))
    across, first_column = taps(proto.shape[1], width).part(left + int(columns[0]), left + int(columns[-1]))
    # a cell more all around, if only of zeros, for the pixels between the last cell and the one beyond
    wide = np.pad(cells, 1)
    bits = _enlarged(wide, _moved(down, top - 1), _moved(across, left - 1))
    return Mask((height, width), first_column, first_row, bits)


def _moved(part: Taps, start: int) -> Taps:
    """For a picture that begins at old pixel `start`."""
    return Taps(part.low - start, part.high - start, part.weight)


def _cut(proto: FloatArray, coef: FloatArray, box: FloatArray) -> tuple[FloatArray, int, int]:
    """The mask's cells inside the box, 0..1, and the column and row of the first."""
    rows, columns = proto.shape[:2]
    left, right = _range(box[0], box[2], columns)
    top, bottom = _range(box[1], box[3], rows)
    logits = proto[top:bottom, left:right] @ coef
    cells: FloatArray = np.float32(0.5) * (1 + np.tanh(logits * np.float32(0.5)))  # the sigmoid, without overflow
    return cells, left, top


def _range(one: np.float32, other: np.float32, count: int) -> tuple[int, int]:
    """Cells at or after the lower edge and before the upper one, both `_PAD` cells farther out and not rounded."""
    low = max(min(one, other) * np.float32(count) - _PAD, 0)
    high = min(max(one, other) * np.float32(count) + _PAD, count)
    first = min(int(np.ceil(low)), count)
    return first, max(int(np.ceil(high)), first)


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
