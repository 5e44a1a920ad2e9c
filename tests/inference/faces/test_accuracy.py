"""What the default models reach on real photos, in this process.

The demo's photos come from scikit-image and matplotlib; the others lie beside the repository, in ../shared, and their
tests are skipped where they do not. Faces were counted and named by looking at the pictures.
"""

import itertools
from collections.abc import Callable
from pathlib import Path

import cv2
import matplotlib
import numpy as np
import pytest
import skimage

from inference.codec import decode, encode_jpeg
from inference.config import CENTERFACE, DLIB_RESNET, QualityLimits
from inference.faces.detect import Detector
from inference.faces.embed import Embedder, distance
from inference.faces.pipeline import FacePipeline
from inference.local import LocalClient
from inference.types import Face, Image

ROOT = Path(__file__).resolve().parents[3]
MODELS = ROOT / "triton_models"
SHARED = ROOT.parent / "shared" / "data"
SKIMAGE = Path(skimage.__file__).parent / "data"
COLLINS = SKIMAGE / "astronaut.png"
HOPPER = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"

BUILT = all((MODELS / name / "1" / "model.onnx").exists() for name in ("centerface", "dlib_resnet"))
pytestmark = pytest.mark.skipif(not BUILT, reason="the models are not built: run manage.py models build")
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"{SHARED} is not there")

PEOPLE = {  # who, from left to right
    "alex-lacamoire.png": ["lacamoire"],
    "biden.jpg": ["biden"],
    "biden2.jpg": ["biden"],
    "lin-manuel-miranda.png": ["miranda"],
    "obama.jpg": ["obama"],
    "obama2.jpg": ["obama"],
    "obama_and_biden.jpg": ["biden", "obama", "a girl"],
    "two_people.jpg": ["obama", "biden"],
}
SINGER = {"miranda": (96, 120, 144, 168, 192)}
"""Frames of the clip that show only him."""
FACES_IN_COCO = {36: 1, 86: 1, 110: 6, 113: 2, 151: 1}
"""What is found in the 32 photos, each looked at and a face. Not among them: faces behind hands, from behind, in pure
profile, or under 12 px."""


@pytest.fixture(scope="module")
def pipeline() -> FacePipeline:
    client = LocalClient(MODELS)
    return FacePipeline(Detector(client, CENTERFACE), Embedder(client, DLIB_RESNET), QualityLimits())


def read(path: Path) -> Image:
    return decode(path.read_bytes())


def only_face(pipeline: FacePipeline, image: Image) -> Face:
    (result,) = pipeline.analyse([image])
    assert len(result.faces) == 1
    return result.faces[0]


def turned(image: Image, degrees: float) -> Image:
    height, width = image.shape[:2]
    return cv2.warpAffine(image, cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1), (width, height))


ALTERATIONS: dict[str, Callable[[Image], Image]] = {
    "flipped": lambda image: np.ascontiguousarray(image[:, ::-1]),
    "half as bright": lambda image: (image * 0.5).astype(np.uint8),
    "half the size": lambda image: cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "leaning left": lambda image: turned(image, 20),
    "leaning right": lambda image: turned(image, -20),
    "recompressed": lambda image: decode(encode_jpeg(image, quality=20)),
    "on its side": lambda image: np.ascontiguousarray(np.rot90(image)),
}


@pytest.mark.parametrize("alteration", ALTERATIONS)
@pytest.mark.parametrize("name", [COLLINS, HOPPER], ids=["collins", "hopper"])
def test_an_altered_photo_is_the_same_person(pipeline: FacePipeline, name: Path, alteration: str) -> None:
    image = read(name)
    one, other = only_face(pipeline, image), only_face(pipeline, ALTERATIONS[alteration](image))
    assert distance(one.embedding, other.embedding) < DLIB_RESNET.calibration.threshold


def test_two_people_in_one_picture_are_found_and_told_apart(pipeline: FacePipeline) -> None:
    collins, hopper = read(COLLINS), read(HOPPER)
    height = min(collins.shape[0], hopper.shape[0])
    (both,) = pipeline.analyse([np.hstack([collins[:height], hopper[:height]])])
    assert len(both.faces) == 2
    right, left = both.faces  # the larger first
    assert right.box.x > left.box.x
    limit = DLIB_RESNET.calibration.threshold
    assert distance(left.embedding, only_face(pipeline, collins).embedding) < limit
    assert distance(right.embedding, only_face(pipeline, hopper).embedding) < limit
    assert distance(left.embedding, right.embedding) > limit


def test_pictures_without_a_face_have_none(pipeline: FacePipeline) -> None:
    results = pipeline.analyse([read(SKIMAGE / name) for name in ("coffee.png", "chelsea.png")])
    assert [len(result.faces) for result in results] == [0, 0]


def test_ordinary_photos_are_good_portraits_and_poor_ones_are_not(pipeline: FacePipeline) -> None:
    collins = read(COLLINS)
    poor = [cv2.GaussianBlur(collins, (0, 0), 6), (collins * 0.08).astype(np.uint8), cv2.resize(collins, (150, 150))]
    assert only_face(pipeline, collins).quality.acceptable
    assert only_face(pipeline, read(HOPPER)).quality.acceptable
    assert not any(only_face(pipeline, image).quality.acceptable for image in poor)


@needs_shared
def test_every_clear_face_is_found_and_none_that_is_not_there(pipeline: FacePipeline) -> None:
    photos = {path.name: read(path) for path in sorted((SHARED / "people").glob("*.[jp][pn]g"))}
    found = dict(zip(photos, pipeline.detect(list(photos.values())), strict=True))
    assert {name: len(result.faces) for name, result in found.items()} == {
        name: len(who) for name, who in PEOPLE.items()
    }


@needs_shared
def test_photos_of_things_animals_and_crowds_give_no_false_face(pipeline: FacePipeline) -> None:
    paths = sorted((SHARED / "coco").glob("*.jpg"))
    found = pipeline.detect([read(path) for path in paths])
    counts = {int(path.stem): len(result.faces) for path, result in zip(paths, found, strict=True) if result.faces}
    assert counts == FACES_IN_COCO


@needs_shared
def test_same_and_different_are_told_right_in_99_of_100_pairs(pipeline: FacePipeline) -> None:
    known: list[tuple[str, Face]] = []
    for name, who in PEOPLE.items():
        (result,) = pipeline.analyse([read(SHARED / "people" / name)])
        known += zip(who, sorted(result.faces, key=lambda face: face.box.x), strict=True)
    clip = cv2.VideoCapture(str(SHARED / "people" / "short_hamilton_clip.mp4"))
    for frame in SINGER["miranda"]:
        clip.set(cv2.CAP_PROP_POS_FRAMES, frame)
        known.append(("miranda", only_face(pipeline, cv2.cvtColor(clip.read()[1], cv2.COLOR_BGR2RGB))))
    known += [("collins", only_face(pipeline, read(COLLINS))), ("hopper", only_face(pipeline, read(HOPPER)))]
    right = [
        (distance(one.embedding, other.embedding) <= DLIB_RESNET.calibration.threshold) == (who == whom)
        for (who, one), (whom, other) in itertools.combinations(known, 2)
    ]
    assert len(right) == 153
    assert sum(right) >= 0.99 * len(right)
