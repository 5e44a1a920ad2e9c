"""Which faces of neighbouring frames are one person's. Pure: arrays in, pairs out.

Two faces are linked, or not, by what these two are alone. A track is what hangs together by links, so that it is the
same whatever order the frames were processed in.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from inference.calibration import Calibration
from inference.config import DLIB_RESNET

LINK_S = 1.0
"""Faces that are further apart in time are not compared."""


@dataclass(frozen=True, slots=True)
class LinkLimits:
    """How alike two faces must be. Distances are the embedder's; `*_sure`: of two faces that are good enough to decide
    who it is, otherwise at least one is poor, and poor faces of strangers look alike.

    anywhere: two good faces so near belong together wherever in the picture they are (a camera of few frames).
    """

    overlap_sure: float = 0.2
    distance_sure: float = 0.5
    overlap: float = 0.4
    distance: float = 0.4
    anywhere: float = 0.38


LIMITS = LinkLimits()
"""For dlib's vectors."""


def limits_for(calibration: Calibration) -> LinkLimits:
    """The limits for another model's vectors: the distances at which it says of two faces what dlib's network says."""
    if calibration == DLIB_RESNET.calibration:
        return LIMITS
    names = ("distance_sure", "distance", "anywhere")
    translated = {
        name: max(0.0, DLIB_RESNET.calibration.translated(getattr(LIMITS, name), calibration)) for name in names
    }
    return replace(LIMITS, **translated)


@dataclass(frozen=True, slots=True)
class Spots:
    """Faces in columns. frame: int64 (n,); at: seconds, float64 (n,); box: x, y, width, height in pixels, float64
    (n, 4); good: bool (n,); vector: float32 (n, dims)."""

    frame: NDArray[np.int64]
    at: NDArray[np.float64]
    box: NDArray[np.float64]
    good: NDArray[np.bool_]
    vector: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.frame)


def links(new: Spots, old: Spots, limits: LinkLimits = LIMITS) -> list[tuple[int, int]]:
    """Pairs (index into `new`, index into `new` followed by `old`) of faces that belong together."""
    every = _joined(new, old)
    if not len(new) or not len(every):
        return []
    near = np.abs(new.at[:, None] - every.at[None]) <= LINK_S
    near &= new.frame[:, None] != every.frame[None]
    overlap = _overlap(new.box, every.box)
    distance = _distance(new.vector, every.vector)
    sure = new.good[:, None] & every.good[None]
    same_place = np.where(
        sure,
        (overlap >= limits.overlap_sure) & (distance <= limits.distance_sure),
        (overlap >= limits.overlap) & (distance <= limits.distance),
    )
    linked = near & (same_place | (sure & (distance <= limits.anywhere)))
    return [(int(one), int(other)) for one, other in zip(*np.nonzero(linked), strict=True)]


def groups(size: int, pairs: Iterable[tuple[int, int]]) -> list[list[int]]:
    """What hangs together of 0 .. size - 1, by these pairs; in ascending order, single ones too."""
    parent = list(range(size))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    for one, other in pairs:
        first, second = sorted((root(one), root(other)))
        parent[second] = first
    found: dict[int, list[int]] = {}
    for index in range(size):
        found.setdefault(root(index), []).append(index)
    return list(found.values())


def _joined(new: Spots, old: Spots) -> Spots:
    if not len(old):
        return new
    pairs: Sequence[tuple[NDArray[np.generic], NDArray[np.generic]]] = [
        (getattr(new, name), getattr(old, name)) for name in Spots.__slots__
    ]
    return Spots(*(np.concatenate(pair) for pair in pairs))


def _overlap(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intersection over union of every pair."""
    corner = np.maximum(one[:, None, :2], other[None, :, :2])
    far = np.minimum(one[:, None, :2] + one[:, None, 2:], other[None, :, :2] + other[None, :, 2:])
    shared = (far - corner).clip(0).prod(axis=2)
    area = one[:, 2:].prod(axis=1)[:, None] + other[:, 2:].prod(axis=1)[None] - shared
    return np.asarray(shared / np.maximum(area, 1e-9))


def _distance(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.asarray(np.linalg.norm(one[:, None].astype(np.float64) - other[None], axis=2))
