"""Fewer numbers a face: principal components, what they cost, and the similarity curve of what is left. Pure."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inference.calibration import DECISION, Calibration

Vectors = NDArray[np.float32]
Distances = NDArray[np.float64]

FAR = 1e-3
_STEPS = 100


@dataclass(frozen=True, slots=True)
class Components:
    """mean: float32 (source's dims,); axes: float32 (dims, source's dims), orthonormal, the most varied first;
    explained: the share of the variance along them."""

    mean: Vectors
    axes: Vectors
    explained: float


def principal_components(vectors: Vectors, dims: int) -> Components:
    """By the covariance in float64 (K. Pearson 1901). vectors: float32 (n, source's dims), n > dims."""
    exact = vectors.astype(np.float64)
    mean = exact.mean(axis=0)
    centred = exact - mean
    values, axes = np.linalg.eigh(centred.T @ centred / max(1, len(exact) - 1))
    best = np.argsort(values)[::-1][:dims]
    return Components(
        mean.astype(np.float32), axes[:, best].T.astype(np.float32), float(values[best].sum() / values.sum())
    )


@dataclass(frozen=True, slots=True)
class Pairs:
    """Rows of an array of vectors, two by two. same: bool (n,): one person's."""

    one: NDArray[np.int64]
    other: NDArray[np.int64]
    same: NDArray[np.bool_]

    def distances(self, vectors: Vectors) -> Distances:
        """Euclidean, float64 (n,); by stretches, as all differences at once may be much."""
        found = np.empty(len(self.one))
        for start in range(0, len(found), 50_000):
            part = slice(start, start + 50_000)
            apart = vectors[self.one[part]].astype(np.float64) - vectors[self.other[part]]
            found[part] = np.sqrt((apart**2).sum(axis=1))
        return found


def pairs_of(people: NDArray[np.int64], random: np.random.Generator, *, genuine: int, impostor: int) -> Pairs:
    """At most so many pairs of one person's rows and of two people's, drawn at random. people: int (n,): whose row."""
    order = np.argsort(people, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(people[order])) + 1)
    alike = [np.stack(np.triu_indices(len(group), 1), axis=1) for group in groups]
    same = np.concatenate([group[index] for group, index in zip(groups, alike, strict=True)])
    if len(same) > genuine:
        same = same[random.choice(len(same), genuine, replace=False)]
    drawn = random.integers(0, len(people), size=(4 * impostor, 2)) if len(groups) > 1 else np.empty((0, 2), np.int64)
    drawn = drawn[people[drawn[:, 0]] != people[drawn[:, 1]]]
    apart = np.unique(np.sort(drawn, axis=1), axis=0)
    if len(apart) > impostor:
        apart = apart[random.choice(len(apart), impostor, replace=False)]
    both = np.concatenate([same, apart]).astype(np.int64)
    return Pairs(both[:, 0], both[:, 1], np.arange(len(both)) < len(same))


def fitted(distances: Distances, targets: Distances, weights: Distances) -> Calibration:
    """The logistic curve nearest to the targets (0..1), by Newton's method on the weighted cross entropy.

    Raises:
        ValueError: similarity does not fall with the distance.
    """
    features = np.stack([np.ones_like(distances), -distances], axis=1)
    values = np.zeros(2)
    for _ in range(_STEPS):
        told = 1 / (1 + np.exp(-np.clip(features @ values, -30, 30)))
        slope = features.T @ (weights * (targets - told))
        bend = (features * (weights * told * (1 - told))[:, None]).T @ features + 1e-6 * np.eye(2)
        step = np.clip(np.linalg.solve(bend, slope), -5, 5)
        values += step
        if np.abs(step).max() < 1e-9:
            break
    if values[1] <= 0:
        raise ValueError("similarity does not fall with the distance: these are not vectors of faces")
    return Calibration(threshold=float(values[0] / values[1]), slope=float(values[1]))


def balanced(same: NDArray[np.bool_]) -> Distances:
    """Weights by which pairs of one person count as much as pairs of two."""
    return np.asarray(np.where(same, 0.5 / max(1, same.sum()), 0.5 / max(1, (~same).sum())) * len(same))


def similarities(calibration: Calibration, distances: Distances) -> Distances:
    return np.asarray(0.5 * (1 - np.tanh(0.5 * calibration.slope * (distances - calibration.threshold))))


def true_accept_rate(distances: Distances, same: NDArray[np.bool_], far: float = FAR) -> float:
    """The share of one person's pairs that are nearer than all but `far` of two people's."""
    apart = np.sort(distances[~same])
    return float((distances[same] < apart[int(far * len(apart))]).mean())


def same_decisions(before: Distances, after: Distances) -> float:
    """The share of pairs about which two models say the same; similarities."""
    return float(((before >= DECISION) == (after >= DECISION)).mean())


def first_is_right(probes: NDArray[np.int64], vectors: Vectors, people: NDArray[np.int64]) -> float:
    """identity@1: the share of these rows whose nearest other row is the same person's."""
    squares = (vectors.astype(np.float64) ** 2).sum(axis=1)
    right = 0
    for start in range(0, len(probes), 256):
        rows = probes[start : start + 256]
        near = squares[None] - 2 * (vectors[rows].astype(np.float64) @ vectors.T.astype(np.float64))
        near[np.arange(len(rows)), rows] = np.inf
        right += int((people[near.argmin(axis=1)] == people[rows]).sum())
    return right / len(probes)
