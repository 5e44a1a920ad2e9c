"""Which clustering of unknown people: a graph of neighbours with average linkage, connected components, or HDBSCAN?

    python -m benchmarks.clustering [--quick]

Quality: real faces of named people (`_clustering_faces`), cut into `unknown people` of one to four faces, as cameras
leave them; every method has to put each person together again. A method's own setting is chosen on one half of the
people and judged on the other, over many cuts. Most of these faces are alterations (mirrored, blurred, darkened ...) of
few photos, which are easier to put together than different photos are: `kinds` counts them, and `quality without
alterations` judges the same settings without them. Growth: people out of a normal distribution with the mean and the
covariances, between people and within one, that were measured on the real faces (a made-up crowd, for time and memory
only); hnswlib stands in for pgvector's index. Each size runs in a process of its own.

HDBSCAN: Campello, Moulavi and Sander (PAKDD 2013), scikit-learn's. BCubed: Bagga and Baldwin (COLING-ACL 1998).
"""

import argparse
import json
import multiprocessing
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path

import hnswlib
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks._clustering_faces import Labelled, by_person, labelled
from benchmarks._measure import RESULTS, machine
from portrait.curation.graph import Faces, clusters

NEIGHBOURS = 10
CUTS = 12
Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Unknown:
    """A person as the database holds one: some faces, and who it really is."""

    who: str
    vectors: Array


@dataclass(frozen=True, slots=True)
class Quality:
    """How well clusters fit the truth. purity: share of people in a cluster whose most are of their kind."""

    purity: float
    precision: float
    recall: float
    bcubed_precision: float
    bcubed_recall: float
    clusters: float

    @property
    def pair_f(self) -> float:
        return _f(self.precision, self.recall)

    @property
    def bcubed_f(self) -> float:
        return _f(self.bcubed_precision, self.bcubed_recall)


def kinds(faces: list[Labelled]) -> dict[str, int]:
    """What the faces are, and how many people have more than one."""
    people, real = by_person(faces), by_person([face for face in faces if not face.altered])
    return {
        "faces": len(faces),
        "photos and frames": sum(not face.altered for face in faces),
        "alterations of these": sum(face.altered for face in faces),
        "people": len(people),
        "people with several faces": sum(len(each) > 1 for each in people.values()),
        "people with several photos or frames": sum(len(each) > 1 for each in real.values()),
    }


def _f(precision: float, recall: float) -> float:
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def cut(people: dict[str, list[Labelled]], seed: int) -> list[Unknown]:
    """Each person's faces in pieces of one to four; of half of them alike pictures stay together, as on a camera."""
    rng, found = np.random.default_rng(seed), list[Unknown]()
    for who, faces in people.items():
        order = rng.permutation(len(faces)) if rng.random() < 0.5 else np.arange(len(faces))
        at = 0
        while at < len(order):
            size = int(rng.integers(1, 5))
            vectors = np.stack([faces[index].vector for index in order[at : at + size]])
            found.append(Unknown(who, vectors))
            at += size
    return found


def judge(unknowns: Sequence[Unknown], labels: Sequence[int]) -> Quality:
    truth = [unknown.who for unknown in unknowns]
    groups: dict[int, list[int]] = defaultdict(list)
    for index, label in enumerate(labels):
        groups[label].append(index)
    pure = sum(max(Counter(truth[index] for index in group).values()) for group in groups.values())
    together = {pair for group in groups.values() for pair in combinations(group, 2)}
    really = {(one, two) for one, two in combinations(range(len(truth)), 2) if truth[one] == truth[two]}
    sizes, exact, whole = Counter(truth), [], []
    for group in groups.values():
        inside = Counter(truth[index] for index in group)
        for index in group:
            exact.append(inside[truth[index]] / len(group))
            whole.append(inside[truth[index]] / sizes[truth[index]])
    return Quality(
        purity=pure / len(truth),
        precision=len(together & really) / len(together) if together else 1.0,
        recall=len(together & really) / len(really) if really else 1.0,
        bcubed_precision=float(np.mean(exact)),
        bcubed_recall=float(np.mean(whole)),
        clusters=float(sum(len(group) > 1 for group in groups.values())),
    )


# --- methods: people and a setting -> a label a person ----------------------------------------------


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


def mean_quality(people: dict[str, list[Labelled]], method: Method, setting: float, seeds: Sequence[int]) -> Quality:
    judged = []
    for seed in seeds:
        unknowns = cut(people, seed)
        judged.append(judge(unknowns, method(unknowns, setting)))
    fields = asdict(judged[0])
    return Quality(**{name: float(np.mean([getattr(each, name) for each in judged])) for name in fields})


def quality(faces: list[Labelled], cuts: int) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    """Each method judged on people that its setting was not chosen on; and by setting, on everybody."""
    people = by_person(faces)
    names = sorted(people)
    halves = [{name: people[name] for name in names[start::2]} for start in (0, 1)]
    seeds, rows, curve = range(cuts), [], []
    for name, (method, settings) in METHODS.items():
        judged, chosen = [], []
        for tune, test in (halves, halves[::-1]):
            best = max(settings, key=lambda value: mean_quality(tune, method, value, seeds).bcubed_f)
            chosen.append(best)
            judged.append(mean_quality(test, method, best, seeds))
        fields = asdict(judged[0])
        mean = Quality(**{field: float(np.mean([getattr(each, field) for each in judged])) for field in fields})
        rows.append({"method": name, "settings": chosen, **asdict(mean), "pair_f": mean.pair_f, "f": mean.bcubed_f})
        for value in settings:
            each = mean_quality(people, method, value, seeds)
            curve.append({"method": name, "setting": value, "purity": each.purity, "f": each.bcubed_f})
    return rows, curve


def without_alterations(faces: list[Labelled], judged: list[dict[str, object]], cuts: int) -> list[dict[str, object]]:
    """Photos and frames only, everybody, with the setting that each method got (the mean of its two)."""
    people, rows = by_person([face for face in faces if not face.altered]), []
    for row in judged:
        name, setting = str(row["method"]), float(np.mean(row["settings"]))  # type: ignore[arg-type]
        found = mean_quality(people, METHODS[name][0], setting, range(cuts))
        rows.append({"method": name, "setting": setting, **asdict(found), "pair_f": found.pair_f, "f": found.bcubed_f})
    return rows


# --- growth ----------------------------------------------------------------------------------------


def crowd(faces: list[Labelled], count: int, seed: int = 7) -> list[Unknown]:
    """Made-up people with two pieces of two faces each, spread as the real ones are."""
    people = by_person(faces)
    means = np.stack([np.stack([face.vector for face in each]).mean(axis=0) for each in people.values()])
    inner = np.concatenate(
        [np.stack([face.vector for face in each]) - mean for each, mean in zip(people.values(), means, strict=True)]
    )
    rng, dims = np.random.default_rng(seed), means.shape[1]
    scatter = (means - means.mean(axis=0)).std(axis=0)
    # Few people say little about how the axes hang together: each is drawn for itself, as wide as measured.
    centres = means.mean(axis=0) + rng.normal(size=(count // 2, dims)) * scatter
    spread = inner.std(axis=0)
    return [
        Unknown(str(index), (centre + rng.normal(size=(2, dims)) * spread).astype(np.float32))
        for index, centre in enumerate(centres)
        for _ in range(2)
    ]


def _peak_kib(*, forget: bool = False) -> int:
    """The most memory that this process ever held at a time; forget: from now on."""
    if forget:
        Path("/proc/self/clear_refs").write_text("5")
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def _grow(method: str, count: int, faces: list[Labelled], setting: float, answer: "multiprocessing.Queue") -> None:
    unknowns = crowd(faces, count)
    before = _peak_kib(forget=True)
    index_seconds.clear()
    started = time.perf_counter()
    labels = METHODS[method][0](unknowns, setting)
    took = time.perf_counter() - started
    grown = (_peak_kib() - before) / 1024
    sizes = Counter(labels)
    hits = sum(labels[index] == labels[index + 1] for index in range(0, len(labels), 2))
    wrong = sum(size for size in sizes.values() if size > 2)
    built = sum(index_seconds)
    answer.put(
        {
            "seconds": took - built,
            "index_seconds": built,
            "mib": grown,
            "found": hits / (count // 2),
            "in_too_large": wrong / count,
        }
    )


def growth(faces: list[Labelled], sizes: dict[str, list[int]], settings: dict[str, float]) -> list[dict[str, object]]:
    context, rows = multiprocessing.get_context("spawn"), []
    for method, counts in sizes.items():
        for count in counts:
            answer = context.Queue()
            process = context.Process(target=_grow, args=(method, count, faces, settings[method], answer))
            process.start()
            rows.append({"method": method, "people": count, **answer.get(timeout=1800)})
            process.join()
    return rows


def show(title: str, rows: list[dict[str, object]]) -> None:
    table = Table(title=title, title_justify="left")
    for name in rows[0]:
        table.add_column(name)
    for row in rows:
        table.add_row(*(f"{value:.3f}" if isinstance(value, float) else str(value) for value in row.values()))
    Console(width=170).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few cuts and small crowds; nothing is written")
    quick = parser.parse_args().quick
    faces = labelled()
    people = by_person(faces)
    judged, curve = quality(faces, 3 if quick else CUTS)
    show(f"{len(faces)} faces of {len(people)} real people, {len(cut(people, 0))} pieces", judged)
    show("by setting, on everybody", curve)
    counted = kinds(faces)
    real = without_alterations(faces, judged, 3 if quick else CUTS)
    Console(width=170).print(counted)
    show("without alterations: photos and frames only", real)
    sizes = {
        "graph, average linkage": [1000, 3000] if quick else [1000, 3000, 10_000, 30_000],
        "HDBSCAN of mean faces": [1000, 3000] if quick else [1000, 3000, 10_000],
    }
    settings = {row["method"]: float(np.median(row["settings"])) for row in judged}
    grown = growth(faces, sizes, settings)
    show("growth: a made-up crowd, two pieces a person", grown)
    if not quick:
        body = {"machine": machine(), "faces": len(faces), "kinds": counted, "quality": judged, "curve": curve}
        body |= {"quality without alterations": real, "growth": grown}
        (RESULTS / "clustering.json").write_text(json.dumps(body, indent=2) + "\n")


if __name__ == "__main__":
    main()
