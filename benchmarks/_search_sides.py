"""What the search is compared with: an exact scan, and hnswlib with the same parameters."""

import json
import time
from dataclasses import dataclass
from pathlib import Path

import hnswlib
import numpy as np
from numpy.typing import NDArray

from benchmarks._search_population import PORTRAITS_A_PERSON, Vectors
from portrait.gallery.indexes import EF_CONSTRUCTION, M

Order = NDArray[np.int64]
BLOCK_ROWS, BLOCK_PROBES = 50_000, 100
CLOSEST_ROWS = 64
"""Portraits that a ranking of ten people is made of: none has more than PORTRAITS_A_PERSON."""


@dataclass(frozen=True, slots=True)
class Exact:
    """The portraits closest to each probe, closest first. rows, distances: (probes, CLOSEST_ROWS)."""

    rows: Order
    distances: Vectors

    def people(self, probe: int, count: int) -> list[int]:
        """The people closest to a probe, each once."""
        return list(dict.fromkeys((self.rows[probe] // PORTRAITS_A_PERSON).tolist()))[:count]


def exact_scan(portraits: Vectors, probes: Vectors) -> Exact:
    """Every portrait (n, dims) against every probe (p, dims), in blocks; the closest again in double precision."""
    kept = [_closest(portraits, probes[first : first + BLOCK_PROBES]) for first in range(0, len(probes), BLOCK_PROBES)]
    return Exact(np.concatenate([rows for rows, _ in kept]), np.concatenate([distances for _, distances in kept]))


def _closest(portraits: Vectors, probes: Vectors) -> tuple[Order, Vectors]:
    best: list[Order] = []
    for first in range(0, len(portraits), BLOCK_ROWS):
        block = portraits[first : first + BLOCK_ROWS]
        squares = np.einsum("ij,ij->i", block, block)[None] - 2 * probes @ block.T
        count = min(CLOSEST_ROWS, len(block))
        best.append(first + np.argpartition(squares, count - 1, axis=1)[:, :count])
    rows = np.concatenate(best, axis=1)
    distances = np.linalg.norm(portraits[rows].astype(np.float64) - probes[:, None], axis=2)
    order = np.argsort(distances, axis=1)[:, :CLOSEST_ROWS]
    return np.take_along_axis(rows, order, 1), np.take_along_axis(distances, order, 1).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Hnswlib:
    """An index in this process's memory."""

    index: hnswlib.Index
    build_s: float
    memory_mb: float
    """Vectors and links: what its file has, it has in memory."""

    def rows(self, probe: Vectors, count: int) -> Order:
        return np.asarray(self.index.knn_query(probe, k=count, num_threads=1)[0][0], np.int64)


def build_hnswlib(portraits: Vectors, kept: Path, *, threads: int, ef: int) -> Hnswlib:
    """The same M, ef_construction and ef as pgvector's index has; kept in a file, as the galleries are."""
    index = hnswlib.Index("l2", portraits.shape[1])
    file = kept / f"hnswlib-{len(portraits)}-{M}-{EF_CONSTRUCTION}.bin"
    note = file.with_suffix(".json")
    if note.exists():
        index.load_index(str(file), max_elements=len(portraits))
    else:
        started = time.perf_counter()
        index.init_index(len(portraits), M=M, ef_construction=EF_CONSTRUCTION, random_seed=1)
        index.add_items(portraits, num_threads=threads)
        build_s = round(time.perf_counter() - started, 1)
        index.save_index(str(file))
        note.write_text(json.dumps(build_s))
    index.set_ef(ef)
    return Hnswlib(index, float(json.loads(note.read_text())), round(index.index_file_size() / 2**20, 1))
