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
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks._clustering_faces import Labelled, by_person, labelled
from benchmarks._clustering_growth import growth
from benchmarks._clustering_methods import METHODS, Method, Unknown
from benchmarks._measure import RESULTS, machine

CUTS = 12


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
