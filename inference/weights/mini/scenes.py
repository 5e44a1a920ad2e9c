"""Drawn scenes: coloured shapes on cluttered backgrounds, with their masks and one sentence each.

They teach, and measure, the small models of our own (`yolact-mini`, `blip-mini`), so that tests and a first run see
what these networks do and not noise. All of a scene follows from the generator's seed.
"""

import itertools
import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from inference.types import Box, Image

SHAPES = ("circle", "square", "triangle", "star", "cross", "ring")
COLOURS = {
    "red": (214, 40, 40),
    "green": (46, 160, 67),
    "blue": (38, 84, 214),
    "yellow": (240, 205, 40),
    "purple": (136, 56, 176),
    "white": (240, 240, 240),
}
SCENE_PX = 128
"""Height and width of a scene, unless asked otherwise."""
_LEAST_VISIBLE = 0.6
"""Of every shape at least this share is not covered by those in front of it."""
_CLEAR = 0.12
"""Centres are at least this share of the side apart along the axis that the sentence speaks of."""
_SUPERSAMPLING = 4

Bits = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class DrawnShape:
    """What is visible of one shape: `bits` (height, width) bool, and its box in pixels."""

    label: str
    colour: str
    bits: Bits
    box: Box


@dataclass(frozen=True, slots=True)
class Scene:
    """A picture, the shapes in it from back to front, and the sentence that says what is seen."""

    image: Image
    shapes: tuple[DrawnShape, ...]
    sentence: str


def draw_scene(rng: np.random.Generator, *, size_px: int = SCENE_PX, most: int = 3) -> Scene:
    """A scene of one to `most` shapes (at most 3), `size_px` high and wide."""
    count = int(rng.integers(1, most + 1))
    while True:
        scene = _attempt(rng, size_px, count)
        if scene is not None:
            return scene


def _attempt(rng: np.random.Generator, size_px: int, count: int) -> Scene | None:
    """A scene, or None where the shapes fell so that the sentence would not be clear or one is nearly hidden."""
    kinds = [(str(rng.choice(SHAPES)), str(rng.choice(list(COLOURS)))) for _ in range(count)]
    if len(set(kinds)) < count:
        return None
    image = _background(rng, size_px)
    layers: list[Bits] = []
    centres: list[tuple[float, float]] = []
    for label, colour in kinds:
        radius = size_px * float(rng.uniform(0.12, 0.22))
        x, y = (float(rng.uniform(radius * 1.05, size_px - radius * 1.05)) for _ in range(2))
        cover = _cover(label, (x, y), radius, float(rng.uniform(-0.35, 0.35)), size_px)
        _paint(image, cover, _shade(rng, COLOURS[colour]))
        layers.append(cover > 0.5)
        centres.append((x / size_px, y / size_px))
    visible = _visible(layers)
    if any(seen.sum() < _LEAST_VISIBLE * layer.sum() for seen, layer in zip(visible, layers, strict=True)):
        return None
    sentence = _sentence(kinds, centres)
    if sentence is None:
        return None
    shapes = [DrawnShape(*kind, bits, _box(bits)) for kind, bits in zip(kinds, visible, strict=True)]
    return Scene(_noisy(rng, image), tuple(shapes), sentence)


def _background(rng: np.random.Generator, size_px: int) -> NDArray[np.float32]:
    """A grey gradient with faint lines and patches: clutter that is no shape."""
    dark, bright = (float(rng.uniform(70, 150)) for _ in range(2))
    angle = float(rng.uniform(0, 2 * math.pi))
    rows, columns = np.mgrid[0:size_px, 0:size_px] / size_px
    slope = (math.cos(angle) * columns + math.sin(angle) * rows + 1) / 2
    image = np.repeat((dark + (bright - dark) * slope)[..., None], 3, axis=2).astype(np.float32)
    image += rng.uniform(-12, 12, size=3).astype(np.float32)
    for _ in range(int(rng.integers(4, 10))):
        start, end = (tuple(int(v) for v in rng.integers(0, size_px, size=2)) for _ in range(2))
        tone = float(rng.uniform(60, 160))
        cv2.line(image, start, end, (tone, tone, tone), 1, cv2.LINE_AA)
    for _ in range(int(rng.integers(3, 8))):
        x, y, width, height = (int(v) for v in rng.integers(2, size_px, size=4) // (1, 1, 8, 8))
        tint = rng.uniform(-18, 18, size=3).astype(np.float32)
        image[y : y + height, x : x + width] += tint
    return image


def _outline(label: str, radius: float, turn: float) -> list[tuple[float, float]]:
    """Corners about (0, 0) of the shapes that have any."""

    def around(count: int, radii: tuple[float, ...], start: float) -> list[tuple[float, float]]:
        steps = range(count)
        return [
            (radii[i % len(radii)] * math.cos(a), radii[i % len(radii)] * math.sin(a))
            for i, a in ((i, start + turn + 2 * math.pi * i / count) for i in steps)
        ]

    match label:
        case "square":
            return around(4, (radius,), math.pi / 4)
        case "triangle":
            return around(3, (radius,), -math.pi / 2)
        case "star":
            return around(10, (radius, radius * 0.42), -math.pi / 2)
        case _:
            thin = radius * 0.34
            plus = [(thin, radius), (thin, thin), (radius, thin)]
            quarter = [*plus, *((x, -y) for x, y in reversed(plus))]
            corners = [*quarter, *((-x, -y) for x, y in quarter)]
            cos, sin = math.cos(turn), math.sin(turn)
            return [(x * cos - y * sin, x * sin + y * cos) for x, y in corners]


def _cover(label: str, centre: tuple[float, float], radius: float, turn: float, size_px: int) -> NDArray[np.float32]:
    """How much of each pixel the shape covers, 0..1."""
    scale = _SUPERSAMPLING
    large = np.zeros((size_px * scale, size_px * scale), dtype=np.uint8)
    middle = (round(centre[0] * scale), round(centre[1] * scale))
    if label in ("circle", "ring"):
        cv2.circle(large, middle, round(radius * scale), 255, cv2.FILLED)
        if label == "ring":
            cv2.circle(large, middle, round(radius * scale * 0.55), 0, cv2.FILLED)
    else:
        corners = np.array(_outline(label, radius * scale, turn)) + middle
        cv2.fillPoly(large, [np.rint(corners).astype(np.int32)], 255)
    small: NDArray[np.float32] = cv2.resize(large, (size_px, size_px), interpolation=cv2.INTER_AREA).astype(np.float32)
    return small / np.float32(255)


def _shade(rng: np.random.Generator, colour: tuple[int, int, int]) -> NDArray[np.float32]:
    return (np.array(colour) * rng.uniform(0.85, 1.0) + rng.uniform(-10, 10, size=3)).astype(np.float32)


def _paint(image: NDArray[np.float32], cover: NDArray[np.float32], colour: NDArray[np.float32]) -> None:
    image += cover[..., None] * (colour - image)


def _visible(layers: list[Bits]) -> list[Bits]:
    """What is left of each when those after it lie in front."""
    seen, covered = [], np.zeros_like(layers[0])
    for layer in reversed(layers):
        seen.append(layer & ~covered)
        covered = covered | layer
    return seen[::-1]


def _box(bits: Bits) -> Box:
    rows, columns = np.flatnonzero(bits.any(axis=1)), np.flatnonzero(bits.any(axis=0))
    left, top = int(columns[0]), int(rows[0])
    return Box(left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top)


def _sentence(kinds: list[tuple[str, str]], centres: list[tuple[float, float]]) -> str | None:
    """What is seen, from left to right; two shapes that stand one above the other, from above. None: not clear."""
    if len(kinds) == 2:
        return _sentence_of_two(kinds, centres)
    ordered = sorted(zip(centres, kinds, strict=True))
    if any(right[0][0] - left[0][0] < _CLEAR for left, right in itertools.pairwise(ordered)):
        return None
    names = [_named(kind) for _, kind in ordered]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _sentence_of_two(kinds: list[tuple[str, str]], centres: list[tuple[float, float]]) -> str | None:
    across, down = (abs(centres[0][axis] - centres[1][axis]) for axis in (0, 1))
    if abs(across - down) < _CLEAR or max(across, down) < _CLEAR:
        return None
    axis, words = (0, "left of") if across > down else (1, "above")
    (_, first), (_, second) = sorted(zip((centre[axis] for centre in centres), kinds, strict=True))
    return f"{_named(first)} {words} {_named(second)}"


def _named(kind: tuple[str, str]) -> str:
    label, colour = kind
    return f"a {colour} {label}"


def _noisy(rng: np.random.Generator, image: NDArray[np.float32]) -> Image:
    noise = rng.normal(0, 5, size=image.shape).astype(np.float32)
    noisy: Image = np.clip(image + noise, 0, 255).astype(np.uint8)
    return noisy
