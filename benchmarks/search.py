"""How fast and how right is `nearest_identities` with 10 thousand, 100 thousand and a million portraits?

    python -m benchmarks.search [size ...] [--keep]

Synthetic people (`_search_population`: how, and what of real photos it is set by), 5 portraits each, in PostgreSQL as
`make up` runs it, asked through Django and its pool; beside it an exact scan, and hnswlib with the same M,
ef_construction and ef in this process. With sizes named, only those, and no JSON unless `--keep` is said. The million
takes long to build: with PORTRAIT_BENCH_VAR set, its folder keeps everything that was built for the next run (build
times are then those of the run that built).

The probes are new pictures of enrolled people; `strangers` are people whom nobody enrolled. What is timed was asked
before with other probes, so that the buffers are warm and the very pages of a probe need not be. Small collections are
scanned exactly: where that is so, the figures of a walk through the index stand beside it, and growth is told by both.
Filtered: a hundred collections share the table, each with one percent of the portraits, which is an exact scan at all
these sizes; and, up to 100 thousand, collections of WALKED portraits, which are found by walking the index they share.
"""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from unittest import mock

import numpy as np
from rich.console import Console

from benchmarks import _search_site
from benchmarks._measure import RESULTS, machine
from benchmarks._search_population import MEASURED, PORTRAITS_A_PERSON, SYNTHETIC, Population, Vectors

SIZES = (10_000, 100_000, 1_000_000)
PROBES, STRANGERS, CALLERS, TOP = 1_000, 400, 8, 10
CORES = os.cpu_count() or 1
WALKED = 20_000
"""Of one of several collections: more than is scanned exactly."""
BY_INDEX = "by the index"
CALIBRATED_RATE = 0.01
"""Of strangers named, which a collection's own threshold is calibrated for. (The model's own names nearly all of them
in a large collection: each is compared with everybody.)"""


def whole(size: int, kept: Path) -> dict[str, object]:
    """One collection of so many portraits."""
    from benchmarks import _search_measure as measure
    from benchmarks._search_gallery import Gallery, build
    from benchmarks._search_sides import build_hnswlib, exact_scan

    gallery, population = Gallery(size), Population()
    built = build(gallery, kept)
    portraits = np.concatenate([chunk.reshape(-1, chunk.shape[-1]) for chunk in population.portraits(size)])
    probes, owners = population.probes(size, PROBES)
    warm, _ = population.probes(size, PROBES, draw=3)
    strangers = population.strangers(STRANGERS)
    exact, exact_strangers = exact_scan(portraits, probes), exact_scan(portraits, strangers)
    collection = gallery.collection()
    calibrated = float(np.quantile(exact_strangers.distances[:, 0], CALIBRATED_RATE))
    own = float(collection.active_model.calibration["threshold"])
    ours = asdict(built) | {"searched": how(gallery)}
    ours |= timed(lambda probe: measure.nearest_identities(collection, probe), probes, warm)
    if not gallery.walked:
        with mock.patch("portrait.gallery.neighbours.EXACT_BELOW", 0):
            walked = timed(lambda probe: measure.nearest_identities(collection, probe), probes, warm)
            ours[BY_INDEX] = walked | measure.rightness(collection, probes, exact, TOP)
    ours |= measure.statements(collection, probes)
    ours |= {"ten, however far": measure.latencies(ranked(collection), probes, callers=1)}
    ours |= measure.rightness(collection, probes, exact, TOP)
    ours |= {
        "strangers": [measure.same_strangers(collection, strangers, exact_strangers, at) for at in (own, calibrated)]
    }
    ours |= {"server": measure.server_memory(kept / "postgres")}
    right = np.mean([exact.people(number, 1)[0] == owner for number, owner in enumerate(owners)])
    other = build_hnswlib(portraits, kept, threads=CORES, ef=measure.ef_search())
    theirs = {"index_s": other.build_s, "memory_mb": other.memory_mb}
    theirs |= timed(lambda probe: other.rows(probe, TOP), probes, warm)
    found = [other.rows(probe, 64) // PORTRAITS_A_PERSON for probe in probes]
    theirs |= measure.agreement([list(dict.fromkeys(each.tolist())) for each in found], exact, TOP)
    return {"portrait": ours, "hnswlib": theirs, "exact scan names the right person": round(float(right), 4)}


def ranked(collection) -> Callable[[Vectors], object]:
    from portrait.gallery.selectors import nearest_identities

    return lambda probe: nearest_identities(collection, probe, top_k=TOP, min_similarity=0)


def how(gallery) -> str:
    """In words: which figures are of an exact scan is not to be guessed."""
    from portrait.gallery.neighbours import EXACT_BELOW

    each = gallery.size // gallery.tenants
    if gallery.walked:
        kind = ", of reduced vectors" if gallery.reduced else ""
        return f"by the index{kind}: {each} portraits are more than {EXACT_BELOW}"
    return f"exact scan: {each} portraits are not more than {EXACT_BELOW}; right by construction"


def timed(ask: Callable[[Vectors], object], probes: Vectors, warm: Vectors) -> dict[str, object]:
    """warm: other probes, asked before."""
    from benchmarks._search_measure import latencies

    latencies(ask, warm, callers=1)  # what is touched first has to come into the buffers
    return {
        "alone": latencies(ask, probes, callers=1),
        f"{CALLERS} callers": latencies(ask, probes, callers=CALLERS),
    }


def filtered(size: int, kept: Path, tenants: int) -> dict[str, object]:
    """One of so many collections, which share the portraits evenly."""
    from benchmarks import _search_measure as measure
    from benchmarks._search_gallery import Gallery, build
    from benchmarks._search_sides import Exact, exact_scan

    gallery, population = Gallery(size, tenants), Population()
    built = build(gallery, kept)
    portraits = np.concatenate([chunk[::tenants] for chunk in _of_tenant(population, size, tenants)])
    probes, _ = population.probes(size, PROBES // 2, every=tenants)
    warm, _ = population.probes(size, PROBES // 2, every=tenants, draw=3)
    raw = exact_scan(portraits.reshape(-1, portraits.shape[-1]), probes)
    people = raw.rows // PORTRAITS_A_PERSON * tenants  # numbered as in the whole
    exact = Exact(people * PORTRAITS_A_PERSON + raw.rows % PORTRAITS_A_PERSON, raw.distances)
    collection = gallery.collection()

    def ask() -> dict[str, object]:
        found = timed(lambda probe: measure.nearest_identities(collection, probe), probes, warm)
        return found | measure.rightness(collection, probes, exact, TOP)

    told = asdict(built) | {"searched": how(gallery)} | ask()
    if gallery.indexed and not gallery.walked:
        with mock.patch("portrait.gallery.neighbours.EXACT_BELOW", 0):
            told |= {"if the shared index were walked": ask()}
    return told


def shares(size: int) -> list[int]:
    """Into how many collections so many portraits are divided. Several of WALKED only where the index that they share
    is built quickly: of a million it would be a second build of the largest."""
    from benchmarks._search_gallery import LARGEST_SHARED

    walked = size // WALKED if size <= LARGEST_SHARED else 0
    return [tenants for tenants in (100, walked) if tenants > 1]


def _of_tenant(population: Population, size: int, tenants: int):
    """Chunks whose every `tenants`-th person, from the first on, is the first collection's."""
    first = 0
    for chunk in population.portraits(size):
        yield chunk[-first % tenants :]
        first += len(chunk)


def ratios(found: dict[str, dict[str, dict[str, object]]]) -> dict[str, float]:
    """What does not depend on the machine's speed."""
    sizes = list(found)

    def p95(size: str, side: str = "portrait", how: str = "alone") -> float:
        return found[size][side][how]["p95_ms"]  # type: ignore[index,return-value]

    told = {}
    for size in sizes:
        told[f"{size}: p95 alone, ours / hnswlib"] = p95(size) / p95(size, "hnswlib")
        told[f"{size}: p95, {CALLERS} callers / alone"] = p95(size, how=f"{CALLERS} callers") / p95(size)
    if len(sizes) > 1 and BY_INDEX in found[sizes[0]]["portrait"]:
        told |= _growth_by_index(found, sizes[0], sizes[-1])
    if len(sizes) > 1:
        told[f"p95 alone, {sizes[-1]} / {sizes[0]}"] = p95(sizes[-1]) / p95(sizes[0])
        told[f"p95 of {CALLERS} callers, {sizes[-1]} / {sizes[0]}"] = p95(sizes[-1], how=f"{CALLERS} callers") / p95(
            sizes[0], how=f"{CALLERS} callers"
        )
    return {name: round(value, 2) for name, value in told.items()}


def _growth_by_index(found: dict[str, dict[str, dict[str, object]]], small: str, large: str) -> dict[str, float]:
    """The other growth compares a walk with an exact scan, which may be slower than a walk of so few would be."""
    callers = ("alone", f"{CALLERS} callers")
    first, last = found[small]["portrait"][BY_INDEX], found[large]["portrait"]
    return {
        f"p95 {each}, {large} / {small}, both {BY_INDEX}": last[each]["p95_ms"] / first[each]["p95_ms"]  # type: ignore[index]
        for each in callers
    }


def main() -> None:
    sizes = [int(each) for each in sys.argv[1:] if each.isdigit()] or list(SIZES)
    body: dict[str, object] = {
        "machine": machine(),
        "measured on real photos": MEASURED,
        "the same of these": SYNTHETIC,
    }
    with _search_site.running() as kept:
        found = {str(size): whole(size, kept) for size in sizes}
        for size in sizes:
            for tenants in shares(size):
                found[str(size)][f"one of {tenants} collections"] = filtered(size, kept, tenants)
        body |= {"parameters": parameters(), "ratios": ratios(found)} | found
    Console(width=120).print_json(data=body)
    if sizes == list(SIZES) or "--keep" in sys.argv:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "search.json").write_text(json.dumps(body, indent=2) + "\n")


def parameters() -> dict[str, object]:
    from benchmarks._search_measure import ef_search
    from portrait.gallery import indexes, neighbours

    return {
        "m": indexes.M,
        "ef_construction": indexes.EF_CONSTRUCTION,
        "ef_search": ef_search(),
        "exact_below": neighbours.EXACT_BELOW,
        "reduced_above": indexes.REDUCED_ABOVE,
        "ef_reduced": neighbours.EF_REDUCED,
        "shortlist": neighbours.SHORTLIST,
    }


if __name__ == "__main__":
    main()
