"""Masks as COCO's compressed run lengths, `{"size": [height, width], "counts": text}`, through pycocotools."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from inference.types import Mask


def mask_to_rle(mask: Mask) -> dict[str, Any]:
    """Only the mask's own region is looked at: a small object in a large picture costs little."""
    height, width = mask.picture_px
    rle = coco.frPyObjects({"size": [height, width], "counts": _runs(mask).tolist()}, height, width)
    return {"size": [height, width], "counts": rle["counts"].decode("ascii")}


def _runs(mask: Mask) -> NDArray[np.int64]:
    """Lengths of the runs of unset and set pixels in turn, column by column, unset first."""
    height, width = mask.picture_px
    padded = np.pad(mask.bits.T, ((0, 0), (1, 1))).astype(np.int8)
    change = np.diff(padded, axis=1)
    edges = []
    for kind in (1, -1):
        columns, rows = np.nonzero(change == kind)
        edges.append((mask.left + columns) * height + mask.top + rows)
    starts, ends = edges
    apart = starts[1:] != ends[:-1]  # a run may go on from the foot of one column to the head of the next
    starts = starts[np.concatenate([np.ones(min(1, len(starts)), bool), apart])]
    ends = ends[np.concatenate([apart, np.ones(min(1, len(ends)), bool)])]
    borders = np.column_stack([starts, ends]).ravel()
    runs = np.diff(np.concatenate([[0], borders, [height * width]]))
    return runs[:-1] if runs[-1] == 0 and len(runs) > 1 else runs


def rle_to_mask(rle: Mapping[str, Any]) -> Mask:
    """The mask, its region as small as can be.

    Raises:
        ValueError: `rle` is none.
    """
    try:
        height, width = (int(side) for side in rle["size"])
        counts = str(rle["counts"])
        if height < 1 or width < 1:
            raise ValueError(f"a picture of {width} x {height}")
        full = np.asarray(coco.decode({"size": [height, width], "counts": counts.encode("ascii")}), dtype=bool)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"not a mask as run lengths: {error}") from error
    rows, columns = (np.flatnonzero(full.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return Mask.of((height, width), 0, 0, np.zeros((0, 0), dtype=bool))
    region = full[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return Mask.of((height, width), int(columns[0]), int(rows[0]), region.copy())
