"""Faces and the vectors that dlib itself gives for them: what a converted embedder is checked against.

`references/dlib_resnet.npz` is written by `make_references.py`, which says how; it needs dlib, reading it does not.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inference.types import FloatArray

DLIB_RESNET_FILE = Path(__file__).with_name("references") / "dlib_resnet.npz"
Chips = NDArray[np.uint8]
"""Aligned faces, RGB, shape (n, size, size, 3)."""


@dataclass(frozen=True, slots=True)
class References:
    """`chips` are stored, `embeddings` (float32, shape (4 n, dims)) belong to `views(chips)`."""

    chips: Chips
    embeddings: FloatArray


def views(chips: Chips) -> Chips:
    """The chips, then all mirrored, all at half the brightness and all upside down: exact integer operations,
    so that four times as many pictures are checked as are stored."""
    return np.ascontiguousarray(np.concatenate([chips, chips[:, :, ::-1], chips // 2, chips[:, ::-1]]))


def read_references(path: Path = DLIB_RESNET_FILE) -> References:
    with np.load(path, allow_pickle=False) as arrays:
        return References(chips=arrays["chips"], embeddings=arrays["embeddings"])


def probe_pictures(height: int, width: int) -> Chips:
    """Two pictures with faces, for detectors: the reference chips side by side on grey, and the same mirrored."""
    chips = read_references().chips
    picture = np.full((height, width, 3), 96, dtype=np.uint8)
    row = np.concatenate(list(chips), axis=1)[:height, :width]
    top, left = (height - row.shape[0]) // 2, (width - row.shape[1]) // 2
    picture[top : top + row.shape[0], left : left + row.shape[1]] = row
    return np.ascontiguousarray(np.stack([picture, picture[:, ::-1]]))
