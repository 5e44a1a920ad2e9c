"""What does it cost to search a collection by another embedding model, while everything goes on?

    python -m benchmarks.reindex [--short] [speed] [live] [accuracy] [space]

`speed`: portraits a second of a re-index from the stored pictures, by a real worker of a real site, over the bare
embedding loop: the same files read, decoded and aligned in the same batches by one thread, the same network on the same
Triton, no database. `live`: recognitions through the API while the re-index runs: all answered, all right, p95 beside
that of a quiet minute. `accuracy`: 64 principal components in half precision on people whom they were not learnt from
(four folds over the people of the demo and, where it is, ../shared/data; most pictures of a person are alterations of
one). `space`: table and index bytes a portrait.
"""

import statistics
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import urllib3

from benchmarks import _frames_site
from benchmarks._frames_site import Bench
from benchmarks._measure import Ratio, report
from inference.local import LocalClient

PORTRAITS, SHORT_PORTRAITS = 1500, 120
ROUNDS, SHORT_ROUNDS = 3, 1
QUIET_S, SHORT_QUIET_S = 30.0, 4.0
CALLERS, FOLDS, SPACE_ROWS = 2, 4, 20_000
GOAL, P95_GOAL = 0.85, 1.5
PATIENCE_S = 900.0


def reindexed(collection: Any, model: Any) -> tuple[Any, float]:
    """One re-index from pictures, by the worker; and its portraits a second, from the start to the last chunk."""
    from portrait.reindex import tasks
    from portrait.reindex.models import Chunk, State
    from portrait.reindex.services import starting

    begin = time.time()
    reindex = starting.start(collection=collection, model=model, from_pictures=True)
    tasks.enqueue(reindex)
    end = time.monotonic() + PATIENCE_S
    while reindex.state in (State.BUILDING, State.CHECKING):
        time.sleep(0.2)
        reindex.refresh_from_db()
        if time.monotonic() > end:
            raise TimeoutError(f"the re-index did not end: {reindex.state} {reindex.error}")
    if reindex.state != State.SWITCHED:
        raise RuntimeError(f"the re-index is {reindex.state}: {reindex.error}")
    rows = sum(Chunk.objects.filter(reindex=reindex).values_list("rows", flat=True))
    last = max(Chunk.objects.filter(reindex=reindex).values_list("done_at", flat=True))
    return reindex, rows / (last.timestamp() - begin)


def undone(reindex: Any) -> None:
    """As before: the vectors of the new model are gone."""
    from portrait.reindex.services import retiring, switching

    switching.roll_back(reindex)
    reindex.refresh_from_db()
    reindex.collection.kept_models.clear()
    retiring.remove_vectors(reindex.collection_id, reindex.to_model)
    type(reindex).objects.filter(pk=reindex.pk).delete()


def speed(collection: Any, model: Any, rounds: int) -> Ratio:
    """Both sides in turn; a first round warms up and does not count."""
    from benchmarks._reindex_gallery import bare_loop
    from portrait.core.pipelines import embedder
    from portrait.gallery.models import Portrait
    from portrait.reindex.live import STEP

    rows = Portrait.objects.filter(identity__collection=collection)
    keys = [(row.image.path, row.box, row.landmarks, row.score) for row in rows]
    ours, bare = list[float](), list[float]()
    for number in range(rounds + 1):
        time.sleep(4)  # quiet: the worker has seen that nobody else is at work
        begin = time.perf_counter()
        done = bare_loop(keys, embedder("dlib_resnet"), STEP)
        other = done / (time.perf_counter() - begin)
        reindex, rate = reindexed(collection, model)
        undone(reindex)
        if number:
            ours.append(rate)
            bare.append(other)
    ratios = sorted(one / two for one, two in zip(ours, bare, strict=True))
    name = f"portraits/s of a re-index from {len(keys)} pictures / bare loop"
    return Ratio(
        name, statistics.median(ratios), ratios[0], ratios[-1], statistics.median(ours), statistics.median(bare), GOAL
    )


class Caller:
    """Asks `/recognize` for people of the gallery; notes how long each answer took, and whether it was right."""

    def __init__(self, address: str, key: str, collection: str) -> None:
        from portrait.demo.photos import built_in

        self._url = f"{address}/api/v1/recognize"
        self._key, self._collection = key, collection
        self._probes = [photo for photo in built_in().probes if photo.expected and photo.name != "small"]
        self._probes = [photo for photo in self._probes if "unknown" not in photo.expected]

    def run(self, stop: Callable[[], bool]) -> tuple[list[float], int]:
        """Latencies in ms of all, and how many were wrong or not answered."""
        latencies, wrong = list[float](), [0]

        def call(offset: int) -> None:
            pool, index = urllib3.PoolManager(), offset
            while not stop():
                photo, index = self._probes[index % len(self._probes)], index + 1
                begin = time.perf_counter()
                answer = pool.request(
                    "POST",
                    self._url,
                    fields={"image": ("a.jpg", photo.data, "image/jpeg"), "collection": self._collection},
                    headers={"Authorization": f"Api-Key {self._key}"},
                    retries=False,
                )
                latencies.append(1000 * (time.perf_counter() - begin))
                wrong[0] += not _right(answer, photo.expected)

        threads = [threading.Thread(target=call, args=(index,)) for index in range(CALLERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return latencies, wrong[0]


def _right(answer: Any, expected: tuple[str, ...]) -> bool:
    if answer.status != 200:
        return False
    names = [face["candidates"][0]["identity"]["name"] if face["candidates"] else "" for face in answer.json()["faces"]]
    return sorted(names) == sorted(expected)


def live(bench: Bench, collection: Any, model: Any, quiet_s: float) -> dict[str, object]:
    """Recognitions without and with a re-index beside them, by the same callers."""
    from portrait.core.models import Scope
    from portrait.core.services import create_api_key

    _, key = create_api_key(name="bench", scope=Scope.READ)
    caller = Caller(bench.site.address, key, collection.name)
    ends = time.monotonic() + quiet_s / 4
    caller.run(lambda: time.monotonic() > ends)  # warms up
    ends = time.monotonic() + quiet_s
    quiet, wrong_quiet = caller.run(lambda: time.monotonic() > ends)
    done, outcome = threading.Event(), list[Any]()

    def work() -> None:
        try:
            outcome.append(reindexed(collection, model))
        finally:
            done.set()

    thread = threading.Thread(target=work)
    thread.start()
    busy, wrong = caller.run(done.is_set)
    thread.join()
    ((reindex, rate),) = outcome
    undone(reindex)
    p95 = [float(np.percentile(each, 95)) for each in (quiet, busy)]
    return {
        "callers": CALLERS,
        "quiet": {
            "answers": len(quiet),
            "wrong": wrong_quiet,
            "p50_ms": round(float(np.median(quiet)), 1),
            "p95_ms": round(p95[0], 1),
        },
        "during a re-index": {
            "answers": len(busy),
            "wrong": wrong,
            "p50_ms": round(float(np.median(busy)), 1),
            "p95_ms": round(p95[1], 1),
        },
        "p95_ratio": round(p95[1] / p95[0], 2),
        "held": bool(p95[1] <= P95_GOAL * p95[0] and wrong == 0),
        "portraits_per_s_meanwhile": round(rate, 1),
    }


def accuracy() -> dict[str, object]:
    """On held-out people, a fold after the other."""
    from benchmarks._clustering_faces import labelled
    from inference.config import DLIB_RESNET
    from portrait.reindex import pca

    faces = labelled()
    names = sorted({face.who for face in faces})
    people = np.array([names.index(face.who) for face in faces])
    vectors = np.stack([face.vector for face in faces]).astype(np.float32)
    random, order = np.random.default_rng(0), np.random.default_rng(1).permutation(len(names))
    found: dict[str, list[float]] = {}
    for fold in range(FOLDS):
        held = np.isin(people, order[fold::FOLDS])
        parts = pca.principal_components(vectors[~held], 64)
        after = ((vectors - parts.mean) @ parts.axes.T).astype(np.float16).astype(np.float32)
        known = pca.pairs_of(people[~held], random, genuine=20_000, impostor=50_000)
        before = pca.similarities(DLIB_RESNET.calibration, known.distances(vectors[~held]))
        curve = pca.fitted(known.distances(after[~held]), before, pca.balanced(known.same))
        pairs = pca.pairs_of(people[held], random, genuine=20_000, impostor=50_000)
        distances = pairs.distances(vectors[held]), pairs.distances(after[held])
        told = (
            pca.similarities(DLIB_RESNET.calibration, distances[0]),
            pca.similarities(curve, distances[1]),
        )
        probes = np.flatnonzero(held)
        figures = {
            "explained_variance": parts.explained,
            "identity@1 network": pca.first_is_right(probes, vectors, people),
            "identity@1 pca64h": pca.first_is_right(probes, after, people),
            "TAR at FAR 1e-3 network": pca.true_accept_rate(distances[0], pairs.same),
            "TAR at FAR 1e-3 pca64h": pca.true_accept_rate(distances[1], pairs.same),
            "same decisions": pca.same_decisions(*told),
        }
        for name, value in figures.items():
            found.setdefault(name, []).append(value)
    return {"people": len(names), "faces": len(faces), "folds": FOLDS} | {
        name: round(float(np.mean(values)), 4) for name, values in found.items()
    }


def space(model: Any) -> dict[str, object]:
    """Bytes of rows and index, by PostgreSQL's own count, of random vectors in either precision."""
    from django.db import connection

    from portrait.gallery.indexes import EF_CONSTRUCTION, M

    def size(kind: str, dims: int) -> tuple[float, float]:
        with connection.cursor() as cursor:
            cursor.execute("DROP TABLE IF EXISTS bench_space")
            cursor.execute(f"CREATE TABLE bench_space (v {kind}({dims}))")
            cursor.execute(
                f"INSERT INTO bench_space SELECT array_agg(random())::real[]::{kind}({dims}) "
                f"FROM generate_series(1, {SPACE_ROWS}) AS n, generate_series(1, {dims}) GROUP BY n"
            )
            cursor.execute(
                f"CREATE INDEX bench_space_hnsw ON bench_space USING hnsw (v {kind}_l2_ops) "
                f"WITH (m = {M}, ef_construction = {EF_CONSTRUCTION})"
            )
            cursor.execute("SELECT pg_table_size('bench_space'), pg_relation_size('bench_space_hnsw')")
            table, index = cursor.fetchone()
            cursor.execute("DROP TABLE bench_space")
        return round(table / SPACE_ROWS, 1), round(index / SPACE_ROWS, 1)

    whole, small = size("vector", 128), size("halfvec", 64)
    return {
        "128 numbers, single precision": {"table_bytes": whole[0], "index_bytes": whole[1]},
        "64 numbers, half precision": {"table_bytes": small[0], "index_bytes": small[1]},
        "smaller by": round(sum(whole) / sum(small), 2),
    }


def main() -> None:
    short = "--short" in sys.argv
    parts = [part for part in sys.argv[1:] if part != "--short"] or ["speed", "live", "accuracy", "space"]
    ratios, more = list[Ratio](), dict[str, object]()
    with _frames_site.running() as bench:
        from benchmarks import _reindex_gallery as gallery
        from benchmarks.faces import pipeline

        made = gallery.pictures(
            pipeline(LocalClient(bench.environment.models_dir)), SHORT_PORTRAITS if short else PORTRAITS
        )
        collection = gallery.build(made)
        vectors = np.stack([each.face.embedding.vector for each in made])
        people = np.array([sorted({each.who for each in made}).index(each.who) for each in made])
        model = gallery.small_model(collection.active_model, vectors, people)
        if "speed" in parts:
            ratios.append(speed(collection, model, SHORT_ROUNDS if short else ROUNDS))
        if "live" in parts:
            more["live"] = live(bench, collection, model, SHORT_QUIET_S if short else QUIET_S)
        if "space" in parts:
            more["space"] = space(model)
        if "accuracy" in parts:
            more["accuracy on held-out people"] = accuracy()
    report("reindex", ratios, more, keep=not short and len(parts) == 4)


if __name__ == "__main__":
    main()
