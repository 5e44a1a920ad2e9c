"""Who is this, is it new. Pure: no clock, no database.

A track is judged as a whole, by its few best faces: their mean says more than any of them, and a single frame that
looks like somebody else changes nothing. "Unknown" and "not sure" are answers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from inference.calibration import DECISION, Calibration
from inference.config import DLIB_RESNET
from inference.types import Quality, QualityReason

TEMPLATE_FACES = 5
"""So many of a track's best faces decide."""
STEADY_FACES = 3
"""Poor faces name nobody, and nobody new is kept, on the word of fewer."""
SURE_ALONE = 0.7
"""One good face alone has to be so similar to name somebody."""
CLEARLY_NOT = 0.3
"""Only who is less similar than this to everybody is new; between this and the decision it is not sure."""
CLEARLY_AHEAD = 0.2
"""So much more similar than to anybody else a track of poor faces has to be: poor faces look like many people."""
STEADY_DISTANCE = 0.42
"""How far single faces may be from their mean: more, and they may be several people's. dlib's distance."""

FAINT_SIZE_PX = 20.0
FAINT_SHARPNESS = 3.0

Key = TypeVar("Key")


class Grade(IntEnum):
    """How much a face may say about who it is."""

    POOR = 0
    """Nothing: dark, unsure, or so that it cannot be aligned."""
    FAINT = 1
    """Small or blurred: with others it may name somebody who is clearly ahead."""
    TURNED = 2
    """Sharp, but from the side: it may also be kept as somebody new."""
    GOOD = 3
    """Good enough for a portrait."""


def grade(quality: Quality) -> Grade:
    """What a face's quality allows."""
    reasons = set(quality.reasons)
    if not reasons:
        return Grade.GOOD
    if reasons == {QualityReason.TURNED_AWAY}:
        return Grade.TURNED
    faint = reasons <= {QualityReason.TOO_SMALL, QualityReason.BLURRED}
    if faint and quality.size_px >= FAINT_SIZE_PX and quality.sharpness >= FAINT_SHARPNESS:
        return Grade.FAINT
    return Grade.POOR


def deciding(grades: Sequence[Grade]) -> int:
    """How many of a track's best faces, best first, decide: where two or more are good, only these."""
    good = sum(each is Grade.GOOD for each in grades)
    return good if good > 1 else len(grades)


@dataclass(frozen=True, slots=True)
class Likeness(Generic[Key]):
    """Somebody of the gallery, and how similar the track is to them."""

    key: Key
    similarity: float
    named: bool
    """Known by name; otherwise an unknown person who was registered."""
    own: bool = False
    """Registered out of this very track: no evidence but the track's own."""


@dataclass(frozen=True, slots=True)
class Decision(Generic[Key]):
    """`key` None: nobody of the gallery, or not sure. `stranger`: somebody new, steady enough to be kept."""

    key: Key | None = None
    similarity: float | None = None
    stranger: bool = False


@dataclass(frozen=True, slots=True)
class Standing:
    """How much a track's best faces can say: how many they are, the grade of the poorest, and whether they are many
    enough and near enough to each other to be one person's."""

    faces: int
    grade: Grade
    steady: bool


@dataclass(frozen=True, slots=True)
class Template:
    """A track's mean face. vector: float32 (dims,), as long as the faces' own vectors are on average.
    spread: the largest distance of one of them from it."""

    vector: NDArray[np.float32]
    spread: float
    standing: Standing


def steady_distance(calibration: Calibration) -> float:
    """`STEADY_DISTANCE` by another model's vectors: where it says the same of two faces."""
    return max(0.0, DLIB_RESNET.calibration.translated(STEADY_DISTANCE, calibration))


def template(
    vectors: Sequence[NDArray[np.float32]], grades: Sequence[Grade], steady_within: float = STEADY_DISTANCE
) -> Template:
    """The mean of a track's best faces, at least one; the same whatever their order."""
    rows = np.array(sorted(vectors, key=lambda vector: vector.tobytes()), dtype=np.float64)
    mean = rows.mean(axis=0)
    length = float(np.linalg.norm(mean))
    if length > 0:  # a mean is shorter than what it is made of, and would look nearer to everybody
        mean *= float(np.linalg.norm(rows, axis=1).mean()) / length
    spread = float(np.linalg.norm(rows - mean, axis=1).max())
    steady = len(rows) >= STEADY_FACES and spread <= steady_within
    return Template(mean.astype(np.float32), spread, Standing(len(rows), min(grades), steady))


def decide(
    face: Standing,
    likenesses: Sequence[Likeness[Key]],
    *,
    taken: Mapping[Key, float],
    frames: int,
    min_frames: int,
) -> Decision[Key]:
    """Who a track is. likenesses: the nearest of the gallery. frames: how many the track has.

    taken: who is to be seen elsewhere in the same frames, and how similar: nobody is in two places at once.
    Somebody known by name goes before an unknown person who came out of the track itself, who always fits best.
    """
    free = [each for each in likenesses if each.key not in taken or each.similarity > taken[each.key]]
    fitting = [each for each in free if each.similarity >= DECISION]
    if fitting:
        named = any(each.named for each in fitting)
        best = max(fitting, key=lambda each: (not (each.own and named), each.similarity))
        others = max((each.similarity for each in likenesses if each is not best and each.named), default=0.0)
        return Decision(best.key, best.similarity) if _sure(face, best, others) else Decision()
    new = face.steady and face.grade >= Grade.TURNED and frames >= min_frames
    return Decision(stranger=new and all(each.similarity < CLEARLY_NOT for each in free))


def _sure(face: Standing, best: Likeness[Key], others: float) -> bool:
    """Whether the faces are good enough, and many enough, to name the one they fit best. others: how similar the
    next one is who is known by name; strangers come and go, and must not change who somebody is."""
    if best.own:
        return True
    if face.grade is Grade.GOOD:
        return face.faces > 1 or best.similarity >= SURE_ALONE
    return face.steady and best.similarity - others >= CLEARLY_AHEAD
