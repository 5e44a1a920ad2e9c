"""Who is this, is it new. Pure: no clock, no database.

A track is judged as a whole, by its few best faces: their mean says more than any of them, and a single frame that
looks like somebody else changes nothing. "Unknown" and "not sure" are answers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from inference.calibration import DECISION

TEMPLATE_FACES = 5
"""So many of a track's best faces decide."""
STEADY_FACES = 3
"""A stranger is only kept on the word of so many good faces."""
SURE_ALONE = 0.7
"""One good face alone has to be so similar to name somebody."""
CLEARLY_NOT = 0.3
"""Only who is less similar than this to everybody is new; between this and the decision it is not sure."""
STEADY_DISTANCE = 0.42
"""How far a stranger's single faces may be from their mean: more, and they may be several people's."""

Key = TypeVar("Key")


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
class Template:
    """A track's mean face. vector: float32 (dims,), as long as the faces' own vectors are on average.
    spread: the largest distance of one of them from it."""

    vector: NDArray[np.float32]
    faces: int
    spread: float


def template(vectors: Sequence[NDArray[np.float32]]) -> Template:
    """The mean of a track's best faces, at least one; the same whatever their order."""
    rows = np.array(sorted(vectors, key=lambda vector: vector.tobytes()), dtype=np.float64)
    mean = rows.mean(axis=0)
    length = float(np.linalg.norm(mean))
    if length > 0:  # a mean is shorter than what it is made of, and would look nearer to everybody
        mean *= float(np.linalg.norm(rows, axis=1).mean()) / length
    spread = float(np.linalg.norm(rows - mean, axis=1).max())
    return Template(mean.astype(np.float32), len(rows), spread)


def decide(face: Template, likenesses: Sequence[Likeness[Key]], *, frames: int, min_frames: int) -> Decision[Key]:
    """Who a track is. likenesses: the nearest of the gallery. frames: how many the track has.

    Somebody known by name goes before an unknown person who came out of the track itself, who always fits best.
    """
    needed = DECISION if face.faces > 1 else SURE_ALONE
    fitting = [each for each in likenesses if each.similarity >= (DECISION if each.own else needed)]
    if fitting:
        best = max(fitting, key=lambda each: (not each.own or not any(other.named for other in fitting), each.similarity))
        return Decision(best.key, best.similarity)
    steady = face.faces >= STEADY_FACES and frames >= min_frames and face.spread <= STEADY_DISTANCE
    alone = all(each.similarity < CLEARLY_NOT for each in likenesses)
    return Decision(stranger=steady and alone)
