"""Real faces with names, for `clustering`: the demo's photos and, where they are, those of ../shared/data."""

import io
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from inference.codec import decode
from inference.config import CENTERFACE, DLIB_RESNET, QualityLimits
from inference.faces.detect import Detector
from inference.faces.embed import Embedder
from inference.faces.pipeline import FacePipeline
from inference.local import LocalClient
from inference.types import Face
from portrait.demo.photos import built_in
from portrait.env import BASE_DIR, read_environment

SHARED = BASE_DIR.parent / "shared" / "data"
OBAMA, BIDEN, MIRANDA, LACAMOIRE = "Obama", "Biden", "Miranda", "Lacamoire"
# Who is on them from left to right, looked at by eye; None: in the shade.
PEOPLE: dict[str, list[str | None]] = {
    "alex-lacamoire.png": [LACAMOIRE],
    "biden.jpg": [BIDEN],
    "biden2.jpg": [BIDEN],
    "lin-manuel-miranda.png": [MIRANDA],
    "obama.jpg": [OBAMA],
    "obama2.jpg": [OBAMA],
    "obama_and_biden.jpg": [BIDEN, OBAMA, None],
    "two_people.jpg": [OBAMA, BIDEN],
}
# Frames of the clip (first, last) with as many faces as there are names: a speaker; six people in the audience.
CLIP: list[tuple[int, int, list[str | None]]] = [
    (90, 215, [MIRANDA]),
    (220, 274, ["man laughing", "woman in white", None, OBAMA, "Michelle Obama", None]),
]
CLIP_STEP = 5
LEAST_SCORE = 0.3
"""Of quality: what a track's best faces reach; darker ones decide nothing in `sightings` either."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """One face of a named person. altered: made out of another face by `alterations`."""

    who: str
    vector: NDArray[np.float32]
    altered: bool


def pipeline() -> FacePipeline:
    client = LocalClient(read_environment().models_dir)
    return FacePipeline(Detector(client, CENTERFACE), Embedder(client, DLIB_RESNET), QualityLimits())


def alterations(image: Image.Image) -> Iterator[Image.Image]:
    """What cameras, phones and mail make of a picture."""

    def jpeg(quality: int) -> Image.Image:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality)
        return Image.open(io.BytesIO(buffer.getvalue())).convert("RGB")

    noise = np.random.default_rng(1).normal(0, 18, (image.height, image.width, 3))
    small = image.resize((max(48, image.width // 3), max(48, image.height // 3)), Image.Resampling.LANCZOS)
    yield ImageOps.mirror(image)
    yield ImageEnhance.Brightness(image).enhance(0.35)
    yield ImageEnhance.Brightness(image).enhance(1.6)
    yield image.filter(ImageFilter.GaussianBlur(max(1.0, image.width / 140)))
    yield image.rotate(14, Image.Resampling.BICUBIC)
    yield small.resize(image.size, Image.Resampling.BILINEAR)
    yield jpeg(9)
    yield ImageOps.grayscale(image).convert("RGB")
    yield Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))


def _stills() -> Iterator[tuple[NDArray[np.uint8], list[str | None]]]:
    for name, photos in built_in().people.items():
        for photo in photos:
            yield decode(photo.data), [name]
    for photo in built_in().probes:
        if photo.name == "somebody not enrolled":
            yield decode(photo.data), ["the man with the camera"]
    for name, who in PEOPLE.items():
        if (SHARED / "people" / name).is_file():
            yield decode((SHARED / "people" / name).read_bytes()), who
    for path in sorted((SHARED / "coco").glob("*.jpg")):  # strangers: each face is somebody else
        yield decode(path.read_bytes()), []


def _frames() -> Iterator[tuple[NDArray[np.uint8], list[str | None]]]:
    path = SHARED / "people" / "short_hamilton_clip.mp4"
    capture, number = cv2.VideoCapture(str(path)), -1
    while path.is_file():
        got, frame = capture.read()
        if not got:
            break
        number += 1
        who = next((names for first, last, names in CLIP if first <= number <= last), None)
        if who is not None and number % CLIP_STEP == 0:
            yield np.ascontiguousarray(frame[:, :, ::-1]), who


def _cut(image: NDArray[np.uint8], face: Face) -> Image.Image:
    side = max(face.box.width, face.box.height)
    left, top = max(0, int(face.box.x - side / 2)), max(0, int(face.box.y - side / 2))
    return Image.fromarray(image[top : int(top + 2 * side), left : int(left + 2 * side)])


def labelled() -> list[Labelled]:
    """All faces, those of stills also altered."""
    faces, found = pipeline(), list[Labelled]()
    for index, (image, who) in enumerate(_stills()):
        seen = sorted(faces.analyse([image])[0].faces, key=lambda face: face.box.x)
        names = who or [f"stranger {index}.{place}" for place in range(len(seen))]
        for face, name in zip(seen, names, strict=True):
            if name is None or face.quality.score < LEAST_SCORE:
                continue
            found.append(Labelled(name, face.embedding.vector, altered=False))
            cuts = [np.asarray(each) for each in alterations(_cut(image, face))]
            analyses = faces.analyse(cuts)
            best = [max(each.faces, key=lambda face: face.box.width) for each in analyses if each.faces]
            found += [Labelled(name, each.embedding.vector, altered=True) for each in best]
    for image, who in _frames():
        seen = sorted(faces.analyse([image])[0].faces, key=lambda face: face.box.x)
        if len(seen) == len(who):
            for face, name in zip(seen, who, strict=True):
                if name is not None and face.quality.score >= LEAST_SCORE:
                    found.append(Labelled(name, face.embedding.vector, altered=False))
    return found


def by_person(faces: list[Labelled]) -> dict[str, list[Labelled]]:
    found: dict[str, list[Labelled]] = defaultdict(list)
    for face in faces:
        found[re.sub(r"\s+", " ", face.who)].append(face)
    return dict(found)
