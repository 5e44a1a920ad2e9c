"""Time and memory of the methods of `clustering` with a made-up crowd that grows."""

import multiprocessing
import time
from collections import Counter
from pathlib import Path

import numpy as np

from benchmarks._clustering_faces import Labelled, by_person
from benchmarks._clustering_methods import METHODS, Unknown, index_seconds


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
