"""Who is one person: average-linkage clustering on a graph of near neighbours, with pairs that must stay apart. Pure.

Sokal and Michener, "A statistical method for evaluating systematic relationships" (1958), is the average linkage;
Davidson and Ravi, "Agglomerative Hierarchical Clustering with Constraints" (PKDD 2005), the rule that a merge is left
out which a cannot-link forbids. Only pairs that the graph joins are looked at, so that it costs the edges and not all
pairs; yet their distance is the exact average over all faces: with mean m and mean square spread v of each side, the
mean squared distance of the faces of A to those of B is |m_A - m_B|^2 + v_A + v_B.

Plain connected components chain: poor faces lie near the mean of all faces and join everybody. `benchmarks/clustering`
has the figures of both, and of HDBSCAN.
"""

import heapq
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

Key = TypeVar("Key", bound=Hashable)
Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Faces:
    """Several faces as one: how many, their mean, and the mean squared distance of them to it."""

    count: int
    mean: Vector
    spread: float

    @classmethod
    def of(cls, vectors: NDArray[np.float32]) -> "Faces":
        """vectors: (n, dims), at least one."""
        rows = np.asarray(vectors, dtype=np.float64)
        mean = rows.mean(axis=0)
        return cls(len(rows), mean, float(((rows - mean) ** 2).sum(axis=1).mean()))

    def distance(self, other: "Faces") -> float:
        """Root of the mean squared distance of each face here to each there."""
        return float(np.sqrt(((self.mean - other.mean) ** 2).sum() + self.spread + other.spread))

    def joined(self, other: "Faces") -> "Faces":
        total = self.count + other.count
        mean = (self.mean * self.count + other.mean * other.count) / total
        apart = ((self.mean - other.mean) ** 2).sum() * self.count * other.count / total**2
        spread = (self.spread * self.count + other.spread * other.count) / total + apart
        return Faces(total, mean, float(spread))


@dataclass(frozen=True, slots=True)
class Cluster(Generic[Key]):
    """People who are probably one. distance: the largest at which two parts of it were joined."""

    members: tuple[Key, ...]
    distance: float


class _Merging(Generic[Key]):
    """The state of one clustering. Clusters are numbered; a number is never used again."""

    def __init__(self, faces: dict[Key, Faces], threshold: float, never: Sequence[frozenset[Key]]) -> None:
        self.threshold = threshold
        self.keys = list(faces)
        self.number = {key: index for index, key in enumerate(self.keys)}
        self.faces: dict[int, Faces] = dict(enumerate(faces.values()))
        self.members: dict[int, frozenset[int]] = {index: frozenset([index]) for index in self.faces}
        self.height = dict.fromkeys(self.faces, 0.0)
        self.near: dict[int, set[int]] = defaultdict(set)
        self.groups: dict[int, set[int]] = {index: set() for index in self.faces}
        self.heap: list[tuple[float, int, int]] = []
        for group, people in enumerate(never):
            for key in people:
                if key in self.number:
                    self.groups[self.number[key]].add(group)

    def join(self, one: int, two: int) -> None:
        """An edge."""
        if two in self.near[one]:
            return
        self.near[one].add(two)
        self.near[two].add(one)
        distance = self.faces[one].distance(self.faces[two])
        if distance <= self.threshold:
            heapq.heappush(self.heap, (distance, min(one, two), max(one, two)))

    def forbidden(self, one: int, two: int) -> bool:
        return not self.groups[one].isdisjoint(self.groups[two])

    def run(self) -> None:
        while self.heap:
            distance, one, two = heapq.heappop(self.heap)
            if one in self.members and two in self.members and not self.forbidden(one, two):
                self._merge(one, two, distance)

    def _merge(self, one: int, two: int, distance: float) -> None:
        new = len(self.height)
        self.faces[new] = self.faces.pop(one).joined(self.faces.pop(two))
        self.members[new] = self.members.pop(one) | self.members.pop(two)
        self.groups[new] = self.groups.pop(one) | self.groups.pop(two)
        self.height[new] = max(distance, self.height[one], self.height[two])
        around = (self.near.pop(one) | self.near.pop(two)) - {one, two}
        for other in sorted(around):
            self.near[other] -= {one, two}
            self.join(new, other)


def clusters(
    faces: dict[Key, Faces],
    edges: Iterable[tuple[Key, Key]],
    *,
    threshold: float,
    never: Sequence[frozenset[Key]] = (),
) -> list[Cluster[Key]]:
    """The clusters of more than one, the largest first; the same whatever order the edges come in.

    edges: pairs of `faces` that are near enough to be looked at. threshold: the largest average distance (`Faces`).
    never: sets of people of whom no two are put together: a pair is a cannot-link, a larger set stands for one between
    any two of it.
    """
    ordered = {key: faces[key] for key in sorted(faces, key=str)}
    merging = _Merging(ordered, threshold, never)
    for one, two in edges:
        if one in merging.number and two in merging.number and one != two:
            merging.join(merging.number[one], merging.number[two])
    merging.run()
    found = [
        Cluster(tuple(merging.keys[index] for index in sorted(members)), merging.height[number])
        for number, members in merging.members.items()
        if len(members) > 1
    ]
    return sorted(found, key=lambda cluster: (-len(cluster.members), str(cluster.members[0])))
