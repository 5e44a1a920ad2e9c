"""Writes `references/dlib_resnet.npz`: `python -m inference.weights.make_references`.

Needs the packages dlib-bin, face_recognition_models, scikit-image and matplotlib. dlib's own HOG detector (one
enlargement), five-point shape predictor and chip extraction (150x150, padding 0.25) cut the largest face out of two
public-domain photos, Eileen Collins (skimage `astronaut.png`) and Grace Hopper (matplotlib `grace_hopper.jpg`), both
NASA/US Navy portraits; dlib's own network gives the vectors.
"""

import sys
from importlib.metadata import version
from pathlib import Path

import dlib
import matplotlib
import numpy as np
import skimage.data
from PIL import Image

from inference.types import FloatArray
from inference.weights.manifest import PackageSource
from inference.weights.references import DLIB_RESNET_FILE, Chips, views
from inference.weights.sources import package_file

PACKAGE = "face_recognition_models"
NETWORK = "dlib_face_recognition_resnet_model_v1.dat"
LANDMARKS = "shape_predictor_5_face_landmarks.dat"


def _model_file(name: str) -> str:
    return str(package_file(PackageSource(package=PACKAGE, version="0.3.0", file=f"{PACKAGE}/models/{name}")))


def photos() -> list[Chips]:
    """The two photos, RGB."""
    collins = Path(skimage.data.__file__).with_name("astronaut.png")
    hopper = Path(matplotlib.get_data_path(), "sample_data", "grace_hopper.jpg")
    return [np.asarray(Image.open(path).convert("RGB")) for path in (collins, hopper)]


def chip_of_largest_face(photo: Chips) -> Chips:
    """dlib's aligned chip, shape (150, 150, 3)."""
    faces = dlib.get_frontal_face_detector()(photo, 1)
    face = max(faces, key=lambda rectangle: rectangle.area())
    landmarks = dlib.shape_predictor(_model_file(LANDMARKS))(photo, face)
    chip: Chips = dlib.get_face_chip(photo, landmarks, size=150, padding=0.25)
    return chip


def embeddings_of(chips: Chips) -> FloatArray:
    """dlib's own vectors, shape (n, 128)."""
    network = dlib.face_recognition_model_v1(_model_file(NETWORK))
    return np.array([network.compute_face_descriptor(chip) for chip in chips], dtype=np.float32)


def main(path: Path) -> None:
    chips = np.stack([chip_of_largest_face(photo) for photo in photos()])
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        path, chips=chips, embeddings=embeddings_of(views(chips)), made_with=np.array(f"dlib-bin {version('dlib-bin')}")
    )
    sys.stdout.write(f"{path}: {len(chips)} chips, {path.stat().st_size} bytes\n")


if __name__ == "__main__":
    main(DLIB_RESNET_FILE)
