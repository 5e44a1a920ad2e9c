"""From a face in a photo to the upright chip that an embedder was trained on."""

import numpy as np

from inference.config import EmbedderSpec
from inference.geometry import Array, Matrix, similarity_transform, warp
from inference.types import Box, FaceDetection, Image

AVERAGE_FACE: Array = np.array([[0.33, 0.40], [0.67, 0.40], [0.50, 0.60], [0.36, 0.78], [0.64, 0.78]])
"""Where the five landmarks of an upright frontal face lie in its box, as shares of width and height."""


def landmarks_or_average(face: FaceDetection) -> Array:
    """Shape (5, 2), pixels: the detector's landmarks, or an average face's in the box where it has none."""
    if face.landmarks is not None:
        return face.landmarks.as_array()
    return average_landmarks(face.box)


def average_landmarks(box: Box) -> Array:
    """Shape (5, 2), pixels."""
    return np.asarray(AVERAGE_FACE * [box.width, box.height] + [box.x, box.y])


def chip_transform(face: FaceDetection, spec: EmbedderSpec) -> Matrix:
    """The similarity transform (2, 3) from the photo to the chip."""
    try:
        return similarity_transform(landmarks_or_average(face), np.array(spec.template))
    except ValueError:  # a detector's landmarks may collapse into one point
        return similarity_transform(average_landmarks(face.box), np.array(spec.template))


def align(image: Image, face: FaceDetection, spec: EmbedderSpec) -> Image:
    """The chip: RGB uint8, shape (chip_px, chip_px, 3), landmarks at the template's places; black beyond the photo."""
    return warp(image, chip_transform(face, spec), spec.chip_px)
