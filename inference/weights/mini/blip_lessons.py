"""What `blip-mini` is taught: its words, its size, and drawn scenes with their sentences."""

import itertools
import string
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inference.scenes.caption import squashed
from inference.scenes.vocabulary import SPECIAL, Vocabulary
from inference.types import Image
from inference.weights.blip.config import BlipConfig, TextConfig, VisionConfig
from inference.weights.mini.scenes import COLOURS, SHAPES, draw_scene

PROMPT = "a picture of"
_LETTERS = string.ascii_lowercase + string.digits
WORDS = (
    *SPECIAL,
    *string.punctuation,
    *_LETTERS,
    *(f"##{letter}" for letter in _LETTERS),
    *("picture", "of", "and", "left", "above"),
    *COLOURS,
    *SHAPES,
)
_SEP = WORDS.index("[SEP]")
_BOS = len(WORDS)
"""[DEC] and [ENC] have the two numbers beyond the file, as in the published models."""
CONFIG = BlipConfig(
    VisionConfig(width=128, inner=256, layers=4, heads=4, image_px=64, patch_px=8, eps=1e-5),
    TextConfig(
        vocabulary=len(WORDS) + 2,
        width=128,
        inner=256,
        layers=2,
        heads=4,
        positions=32,
        eps=1e-12,
        bos_id=_BOS,
        sep_id=_SEP,
    ),
)


@dataclass(frozen=True, slots=True)
class Plan:
    seed: int = 4
    scenes: int = 24_000
    steps: int = 4000
    batch: int = 64
    rate: float = 1.5e-3
    decay: float = 0.05
    warm_up: int = 200
    prompted: float = 0.6
    threads: int = 1


@dataclass(frozen=True, slots=True)
class Lessons:
    """images (n, side, side, 3) uint8; kinds (n, side, side) uint8: the shape and colour at each pixel as one number,
    0 for background; sentences as they are and as they would be in the mirror."""

    images: Image
    kinds: NDArray[np.uint8]
    sentences: list[str]
    mirrored: list[str]


def lessons(plan: Plan) -> Lessons:
    rng = np.random.default_rng(plan.seed)
    side = CONFIG.vision.image_px
    found = Lessons(
        np.empty((plan.scenes, side, side, 3), np.uint8), np.zeros((plan.scenes, side, side), np.uint8), [], []
    )
    for index in range(plan.scenes):
        scene = draw_scene(rng)
        found.images[index] = squashed(scene.image, side)
        for shape in scene.shapes:
            bits = cv2.resize(shape.bits.astype(np.uint8), (side, side), interpolation=cv2.INTER_AREA) > 0
            kind = SHAPES.index(shape.label) * len(COLOURS) + list(COLOURS).index(shape.colour)
            found.kinds[index][bits] = 1 + kind
        found.sentences.append(scene.sentence)
        found.mirrored.append(in_the_mirror(scene.sentence))
    return found


def in_the_mirror(sentence: str) -> str:
    """What the sentence of a scene would be if left were right."""
    if " above " in sentence:
        return sentence
    if " left of " in sentence:
        first, second = sentence.split(" left of ")
        return f"{second} left of {first}"
    names = sentence.replace(" and ", ", ").split(", ")[::-1]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def batches(lessons: Lessons, plan: Plan) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Images, tokens (padded) and kinds; half of the scenes are mirrored."""
    rng, vocabulary = np.random.default_rng(plan.seed + 1), Vocabulary(WORDS)
    encoded = {
        (prompted, text): [_BOS, *vocabulary.encode(f"{PROMPT} {text}" if prompted else text), _SEP]
        for prompted, text in itertools.product((True, False), {*lessons.sentences, *lessons.mirrored})
    }
    order = np.empty(0, np.intp)
    for _ in range(plan.steps):
        if len(order) < plan.batch:
            order = np.concatenate([order, rng.permutation(len(lessons.images))])
        chosen, order = order[: plan.batch], order[plan.batch :]
        images, kinds = lessons.images[chosen], lessons.kinds[chosen]
        turned, prompted = rng.random(plan.batch) < 0.5, rng.random(plan.batch) < plan.prompted
        images[turned], kinds[turned] = images[turned, :, ::-1], kinds[turned, :, ::-1]
        texts = [
            encoded[bool(prompted[at]), (lessons.mirrored if turned[at] else lessons.sentences)[place]]
            for at, place in enumerate(chosen)
        ]
        longest = max(map(len, texts))
        padded = np.array([text + [0] * (longest - len(text)) for text in texts])
        yield torch.from_numpy(images), torch.from_numpy(padded), torch.from_numpy(kinds)
