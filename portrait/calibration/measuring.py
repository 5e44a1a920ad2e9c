"""Genuine and impostor distances of a sample. Pure: arrays in, arrays out."""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from inference.types import FloatArray
from portrait.calibration.sampling import Sample

NEAR_DUPLICATE = 0.1
"""Two portraits of one person that are nearer are one shot, stored twice: their pair says nothing."""
BATCH = 50_000
MOST_LOOKED_AT = 5_000
"""Of the nearest impostor pairs, whether they look like one person."""
Floats = NDArray[np.float64]
Indexes = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Pairs:
    """Distances of faces, and whose these are: indexes of people. `second` equals `first` of genuine pairs."""

    distances: Floats
    first: Indexes
    second: Indexes

    def keep(self, which: NDArray[np.bool_]) -> "Pairs":
        return Pairs(self.distances[which], self.first[which], self.second[which])


@dataclass(frozen=True, slots=True)
class Measured:
    """What a sample comes to.

    suspects: pairs whose several faces say that they are one person; they are not among the impostors. alike: pairs
    that look like one person by a single face; these are among the impostors too, see `_suspect`.
    """

    genuine: Pairs
    impostors: Pairs
    suspects: Pairs
    alike: Pairs
    same_shot: int
    all_pairs: bool


def _distances(vectors: FloatArray, one: Indexes, two: Indexes) -> Floats:
    parts = [
        np.linalg.norm(vectors[one[at : at + BATCH]] - vectors[two[at : at + BATCH]], axis=1)
        for at in range(0, len(one), BATCH)
    ]
    return np.concatenate(parts).astype(np.float64) if parts else np.zeros(0)


def measure(sample: Sample, *, most_pairs: int, seed: int) -> Measured:
    """All genuine pairs of the sample, and a pair of faces of each pair of people, or of `most_pairs` at random."""
    genuine, same_shot = _genuine(sample)
    impostors, everybody = _impostors(sample, most_pairs, np.random.default_rng(seed))
    suspect, alike = _suspect(sample, genuine, impostors)
    return Measured(
        genuine, impostors.keep(~suspect), impostors.keep(suspect), impostors.keep(alike), same_shot, everybody
    )


def _genuine(sample: Sample) -> tuple[Pairs, int]:
    pairs = [
        pair
        for rows in np.split(np.arange(len(sample.owners)), np.flatnonzero(np.diff(sample.owners)) + 1)
        for pair in combinations(rows.tolist(), 2)
    ]
    one, two = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    owners = sample.owners[one]
    found = Pairs(_distances(sample.vectors, one, two), owners, owners)
    same_shot = found.distances < NEAR_DUPLICATE
    return found.keep(~same_shot), int(same_shot.sum())


def _impostors(sample: Sample, most: int, rng: np.random.Generator) -> tuple[Pairs, bool]:
    people = len(sample.people)
    everybody = people * (people - 1) // 2 <= most
    if everybody:
        first, second = np.triu_indices(people, 1)
    else:
        drawn = rng.integers(0, people, (int(most * 1.2), 2))
        drawn = np.unique(np.sort(drawn[drawn[:, 0] != drawn[:, 1]], axis=1), axis=0)
        first, second = rng.permutation(drawn)[:most].T
    return Pairs(
        _distances(sample.vectors, _a_face(sample, first, rng), _a_face(sample, second, rng)),
        first.astype(np.int64),
        second.astype(np.int64),
    ), everybody


def _a_face(sample: Sample, people: Indexes, rng: np.random.Generator) -> Indexes:
    """For each of these people one of their rows, at random."""
    counts = np.bincount(sample.owners, minlength=len(sample.people))
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    return np.asarray(starts[people] + (rng.random(len(people)) * counts[people]).astype(np.int64))


def _suspect(sample: Sample, genuine: Pairs, impostors: Pairs) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Pairs that look like one person under two names: by several faces of both, and by a single one.

    By several: their faces are on average as near as those of three quarters of all people are to each other. By a
    single one: nearer than half of the genuine pairs. That one distance is also what the false matches are counted
    by, and of very many pairs some strangers are that near: to leave these out would be to leave out the errors. They
    are only told. Those that somebody said are two people are impostors, however alike.
    """
    several, single = (np.zeros(len(impostors.distances), dtype=np.bool_) for _ in range(2))
    if not len(genuine.distances):
        return several, single
    squares = np.bincount(genuine.first, genuine.distances**2) / np.maximum(np.bincount(genuine.first), 1)
    usual = float(np.sqrt(np.quantile(squares[squares > 0], 0.75)))
    middle = float(np.median(genuine.distances))
    near = np.flatnonzero(impostors.distances <= float(np.quantile(genuine.distances, 0.99)))
    for index in near[np.argsort(impostors.distances[near])][:MOST_LOOKED_AT]:
        one, two = int(impostors.first[index]), int(impostors.second[index])
        if (one, two) not in sample.distinct:
            mine, theirs = sample.vectors[sample.owners == one], sample.vectors[sample.owners == two]
            average = np.sqrt((np.linalg.norm(mine[:, None] - theirs[None], axis=2) ** 2).mean())
            if min(len(mine), len(theirs)) > 1:
                several[index] = average <= usual
            else:
                single[index] = average <= middle
    return several, single
