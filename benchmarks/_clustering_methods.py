"""The methods that `clustering` compares: unknown people and a setting -> a label a person."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import hnswlib
import numpy as np
from numpy.typing import NDArray

from portrait.curation.graph import Faces, clusters

NEIGHBOURS = 10
Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Unknown:
    """A person as the database holds one: some faces, and who it really is."""

    who: str
    vectors: Array


index_seconds: list[float] = []
"""How long each index took to build: the database has its own already, so that growth is told without it."""


def near_people(unknowns: Sequence[Unknown], farthest: float) -> dict[tuple[int, int], float]:
    """Pairs with a face of one among the nearest of a face of the other, as the index finds them; nearest distance."""
    rows = np.concatenate([unknown.vectors for unknown in unknowns])
    owner = np.repeat(np.arange(len(unknowns)), [len(unknown.vectors) for unknown in unknowns])
    index = hnswlib.Index(space="l2", dim=rows.shape[1])
    index.init_index(max_elements=len(rows), ef_construction=200, M=24)
    started = time.perf_counter()
    index.add_items(rows, num_threads=1)
    index_seconds.append(time.perf_counter() - started)
    index.set_ef(200)
    count = min(len(rows), NEIGHBOURS + 8)
    found: dict[tuple[int, int], float] = {}
    for start in range(0, len(rows), 10_000):
        ids, squared = index.knn_query(rows[start : start + 10_000], k=count, num_threads=1)
        for offset, (row, distances) in enumerate(zip(ids, np.sqrt(np.maximum(squared, 0)), strict=True)):
            mine = int(owner[start + offset])
            for other, distance in zip(owner[row], distances, strict=True):
                if other != mine and distance <= farthest:
                    pair = (min(mine, int(other)), max(mine, int(other)))
                    found[pair] = min(float(distance), found.get(pair, np.inf))
    return found


def _labels(count: int, groups: Sequence[Sequence[int]]) -> list[int]:
    labels = list(range(count))
    for number, group in enumerate(groups):
        for index in group:
            labels[index] = count + number
    return labels


def average_linkage(unknowns: Sequence[Unknown], threshold: float) -> list[int]:
    """Ours: `portrait.curation.graph` on neighbours up to a little beyond the threshold."""
    faces = {index: Faces.of(unknown.vectors) for index, unknown in enumerate(unknowns)}
    edges = near_people(unknowns, threshold + 0.05)
    found = clusters(faces, list(edges), threshold=threshold)
    return _labels(len(unknowns), [cluster.members for cluster in found])


def components(unknowns: Sequence[Unknown], threshold: float) -> list[int]:
    """Whoever hangs together by neighbours below the threshold."""
    parent = list(range(len(unknowns)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    for one, two in near_people(unknowns, threshold):
        parent[root(one)] = root(two)
    return [root(index) for index in range(len(unknowns))]


def _hdbscan(rows: Array, setting: float, **values: int) -> NDArray[np.int64]:
    """setting 0: the clusters that the method selects itself; else its tree cut at that distance, which is the nearest
    to its `cluster_selection_epsilon` that runs (scikit-learn 1.9 with NumPy 2.4 fails in that: "only 0-dimensional
    arrays can be converted")."""
    from sklearn.cluster import HDBSCAN

    model = HDBSCAN(min_cluster_size=2, copy=True, **values).fit(rows)
    return model.labels_ if setting == 0 else model.dbscan_clustering(setting, min_cluster_size=2)


def hdbscan_people(unknowns: Sequence[Unknown], setting: float) -> list[int]:
    """HDBSCAN of the people's mean faces."""
    means = np.stack([unknown.vectors.mean(axis=0) for unknown in unknowns])
    found = _hdbscan(means, setting, min_samples=1)
    return [int(label) if label >= 0 else -2 - index for index, label in enumerate(found)]


def hdbscan_faces(unknowns: Sequence[Unknown], setting: float) -> list[int]:
    """HDBSCAN of all faces; a person goes where most of its faces are."""
    found = _hdbscan(np.concatenate([unknown.vectors for unknown in unknowns]), setting, min_samples=2)
    labels, at = [], 0
    for index, unknown in enumerate(unknowns):
        votes = Counter(int(label) for label in found[at : at + len(unknown.vectors)] if label >= 0)
        at += len(unknown.vectors)
        labels.append(votes.most_common(1)[0][0] if votes else -2 - index)
    return labels


Method = Callable[[Sequence[Unknown], float], list[int]]
METHODS: dict[str, tuple[Method, list[float]]] = {
    "graph, average linkage": (average_linkage, [0.46, 0.5, 0.54, 0.56, 0.58, 0.6, 0.62, 0.64, 0.66]),
    "connected components": (components, [0.26, 0.3, 0.34, 0.38, 0.42, 0.46, 0.5]),
    "HDBSCAN of mean faces": (hdbscan_people, [0.0, 0.3, 0.35, 0.4, 0.44, 0.48, 0.52]),
    "HDBSCAN of all faces": (hdbscan_faces, [0.0, 0.3, 0.34, 0.38, 0.42, 0.46, 0.5]),
}
