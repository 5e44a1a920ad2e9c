"""Array maths on images, boxes and points. Nothing here knows a network.

A box array has shape (n, 4) and columns x1, y1, x2, y2; points have columns x, y.
"""

from dataclasses import dataclass
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from inference.types import Box, Image

Array = NDArray[np.floating[Any]]
Matrix = NDArray[np.float64]
"""Shape (2, 3): maps a column (x, y, 1) to (x', y')."""


@dataclass(frozen=True, slots=True)
class Letterbox:
    """A network's input made of an image, and the way back: `original = network * (x_ratio, y_ratio)`."""

    image: Image
    x_ratio: float
    y_ratio: float

    def to_original(self, coordinates: Array) -> Array:
        """Map coordinates of the network's input to the image's; the last axis alternates x and y."""
        ratios = np.resize([self.x_ratio, self.y_ratio], coordinates.shape[-1])
        return cast(Array, coordinates * ratios)


def letterbox(image: Image, *, long_side_px: int, stride_px: int) -> Letterbox:
    """Scale so that the longest side is at most `long_side_px` (never enlarge), then pad with black at the
    right and bottom to a multiple of `stride_px`."""
    height, width = image.shape[:2]
    scale = min(1.0, long_side_px / max(height, width))
    new_width, new_height = max(1, round(width * scale)), max(1, round(height * scale))
    if scale < 1:
        image = cast(Image, cv2.resize(image, (new_width, new_height), interpolation=cv2.INTER_AREA))
    right, bottom = -new_width % stride_px, -new_height % stride_px
    if right or bottom:
        image = cast(Image, cv2.copyMakeBorder(image, 0, bottom, 0, right, cv2.BORDER_CONSTANT))
    return Letterbox(image=image, x_ratio=width / new_width, y_ratio=height / new_height)


def non_maximum_suppression(boxes: Array, scores: Array, iou: float) -> NDArray[np.intp]:
    """Indexes of the boxes to keep, best score first: a box that overlaps a better one by more than `iou` goes."""
    if len(boxes) == 0:
        return np.empty(0, np.intp)
    corners_and_sizes = np.hstack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]]).astype(np.float64)
    kept = cv2.dnn.NMSBoxes(cast(Any, corners_and_sizes), cast(Any, scores.astype(np.float32)), 0.0, iou)
    return np.asarray(kept, np.intp).reshape(-1)


def similarity_transform(source: Array, target: Array) -> Matrix:
    """The shift, turn and uniform scale that brings `source` nearest to `target` (least squares, no mirroring).

    The problem of S. Umeyama, "Least-squares estimation of transformation parameters between two point patterns",
    IEEE PAMI 13(4), 1991. In the plane, with points as complex numbers about their means, its solution is one
    complex factor: sum(conj(s) * t) / sum(|s|^2).

    Args:
        source, target: (n, 2), n >= 2, in pixels.

    Raises:
        ValueError: all source points coincide.
    """
    points, wanted = _complex(source), _complex(target)
    centred = points - points.mean()
    spread = float(np.sum(np.abs(centred) ** 2))
    if spread < 1e-9:
        raise ValueError("a similarity transform needs points that do not all coincide")
    factor = np.sum(np.conj(centred) * (wanted - wanted.mean())) / spread
    shift = wanted.mean() - factor * points.mean()
    return np.array([[factor.real, -factor.imag, shift.real], [factor.imag, factor.real, shift.imag]])


def transform_points(matrix: Matrix, points: Array) -> Matrix:
    """`points` (n, 2) through `matrix` (2, 3)."""
    return points @ matrix[:, :2].T + matrix[:, 2]


def warp(image: Image, matrix: Matrix, side_px: int) -> Image:
    """The square of `side_px` that `matrix` maps `image` to; black where the image does not reach.

    A strong reduction is first done by area averaging: bilinear sampling alone would skip pixels.
    """
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    if scale < 0.5:
        image, matrix = _reduced(image, matrix, side_px, factor=2 * scale)
    return cast(Image, cv2.warpAffine(image, matrix, (side_px, side_px), flags=cv2.INTER_LINEAR))


def visible_share(matrix: Matrix, side_px: int, width: int, height: int) -> float:
    """0..1: how much of the square of `warp` lies inside an image of `width` x `height` pixels."""
    square = np.array([[0, 0], [side_px, 0], [side_px, side_px], [0, side_px]], np.float64)
    quadrangle = transform_points(_inverse(matrix), square).astype(np.float32)
    frame = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    area = cv2.contourArea(quadrangle)
    return float(np.clip(cv2.intersectConvexConvex(quadrangle, frame)[0] / area, 0, 1)) if area else 0.0


def intersection_over_union(one: Box, other: Box) -> float:
    """How much two boxes are the same place, 0..1."""
    width = min(one.right, other.right) - max(one.x, other.x)
    height = min(one.bottom, other.bottom) - max(one.y, other.y)
    shared = max(0.0, width) * max(0.0, height)
    return shared / (one.area + other.area - shared)


def _complex(points: Array) -> NDArray[np.complex128]:
    array = np.asarray(points, np.float64)
    return cast(NDArray[np.complex128], array[:, 0] + 1j * array[:, 1])


def _inverse(matrix: Matrix) -> Matrix:
    return cast(Matrix, cv2.invertAffineTransform(matrix))


def _reduced(image: Image, matrix: Matrix, side_px: int, factor: float) -> tuple[Image, Matrix]:
    """The part of `image` that the chip needs, shrunk by `factor`, and the matrix that fits it."""
    square = np.array([[0, 0], [side_px, 0], [side_px, side_px], [0, side_px]], np.float64)
    corners = transform_points(_inverse(matrix), square)
    size = np.array(image.shape[1::-1])
    first = np.clip(np.floor(corners.min(axis=0)) - 2, 0, size - 1).astype(int)
    last = np.clip(np.ceil(corners.max(axis=0)) + 2, first + 1, size).astype(int)
    part = image[first[1] : last[1], first[0] : last[0]]
    shape = np.maximum(1, np.round((last - first) * factor)).astype(int)
    small = cv2.resize(part, (int(shape[0]), int(shape[1])), interpolation=cv2.INTER_AREA)
    # OpenCV's pixel centres are integers: small = (original - first + 0.5) * ratio - 0.5, solved for the original
    back = (last - first) / shape
    moved = np.column_stack([matrix[:, 0] * back[0], matrix[:, 1] * back[1], matrix[:, :2] @ (first + back / 2 - 0.5)])
    moved[:, 2] += matrix[:, 2]
    return cast(Image, small), moved
