"""How fast and how right answers are. Import only once Django is set up."""

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import psutil
from django.db import connection

from benchmarks._search_population import Vectors
from benchmarks._search_sides import Exact
from portrait.gallery.models import Collection, Identity
from portrait.gallery.selectors import nearest_identities

Ask = Callable[[Vectors], object]


def latencies(ask: Ask, probes: Vectors, *, callers: int) -> dict[str, float]:
    """Every caller (a thread) asks for its share of the probes, one after the other; p50, p95 in ms and answers/s."""
    shares = np.array_split(probes, callers)
    taken: list[list[float]] = [[] for _ in shares]
    barrier, failures = threading.Barrier(callers + 1), list[BaseException]()

    def call(number: int) -> None:
        try:
            ask(shares[number][0])  # opens the thread's connection
            barrier.wait()
            for probe in shares[number]:
                started = time.perf_counter()
                ask(probe)
                taken[number].append(1000 * (time.perf_counter() - started))
        except BaseException as error:
            failures.append(error)
            barrier.abort()
        finally:
            connection.close()

    threads = [threading.Thread(target=call, args=(number,)) for number in range(callers)]
    for thread in threads:
        thread.start()
    barrier.wait()
    started = time.perf_counter()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    p50, p95 = np.percentile(np.concatenate(taken), [50, 95])
    per_s = len(probes) / (time.perf_counter() - started)
    return {"p50_ms": round(float(p50), 2), "p95_ms": round(float(p95), 2), "answers_per_s": round(per_s, 1)}


def statements(collection: Collection, probes: Vectors) -> dict[str, float]:
    """Of an answer: the time of its statements, from psycopg's call to its rows (what is left is Python's and
    Django's), and the server's processor time, which says something on a busy machine as well."""
    taken: list[float] = []

    def watch(execute, sql, params, many, context):  # type: ignore[no-untyped-def]
        started = time.perf_counter()
        answer = execute(sql, params, many, context)
        taken[-1] += 1000 * (time.perf_counter() - started)
        return answer

    connection.ensure_connection()
    server = psutil.Process(connection.connection.info.backend_pid)
    before = sum(server.cpu_times()[:2])
    with connection.execute_wrapper(watch):
        for probe in probes:
            taken.append(0.0)
            nearest_identities(collection, probe)
    used_ms = 1000 * (sum(server.cpu_times()[:2]) - before) / len(probes)
    return {"statements_p50_ms": round(float(np.median(taken)), 2), "server_cpu_ms": round(used_ms, 2)}


def ef_search() -> int:
    """As the settings have it."""
    with connection.cursor() as cursor:
        cursor.execute("SHOW hnsw.ef_search")
        return int(cursor.fetchone()[0])


def person_of(identity: Identity) -> int:
    """The number that the gallery has given a person as a name."""
    return int(identity.name[1:], 16)


def answers(collection: Collection, probes: Vectors, count: int) -> list[list[int]]:
    """The `count` people nearest to each probe, however far."""
    return [
        [person_of(found.identity) for found in nearest_identities(collection, probe, top_k=count, min_similarity=0)]
        for probe in probes
    ]


def agreement(found: Sequence[Sequence[int]], exact: Exact, count: int) -> dict[str, float]:
    """identity@1 and recall@count against an exact scan."""
    wanted = [exact.people(probe, count) for probe in range(len(found))]
    first = [one[:1] == other[:1] for one, other in zip(found, wanted, strict=True)]
    share = [len(set(one[:count]) & set(other)) / len(other) for one, other in zip(found, wanted, strict=True)]
    return {"identity@1": round(float(np.mean(first)), 4), f"recall@{count}": round(float(np.mean(share)), 4)}


def rightness(collection: Collection, probes: Vectors, exact: Exact, count: int) -> dict[str, float]:
    """identity@1 of the question that is timed (one person), recall@count of one for so many; of an index of reduced
    vectors the second has a longer shortlist."""
    first = agreement(answers(collection, probes, 1), exact, 1)
    return agreement(answers(collection, probes, count), exact, count) | {"identity@1": first["identity@1"]}


def same_strangers(collection: Collection, strangers: Vectors, exact: Exact, threshold: float) -> dict[str, float]:
    """Of faces that nobody enrolled: how often the answer is the exact scan's (nobody, or the same wrong person)."""
    collection.threshold = threshold
    same, named = [], exact.distances[:, 0] <= threshold
    for number, probe in enumerate(strangers):
        found = [person_of(candidate.identity) for candidate in nearest_identities(collection, probe)]
        same.append(found == (exact.people(number, 1) if named[number] else []))
    return {"threshold": round(threshold, 3), "named_by_exact_scan": round(float(named.mean()), 4)} | {
        "same_answer": round(float(np.mean(same)), 4)
    }


def server_memory(data: Path) -> dict[str, float]:
    """MB of PostgreSQL's processes: what they share (buffers, as far as used), and what each has alone."""
    postmaster = psutil.Process(int((data / "postmaster.pid").read_text().split()[0]))
    used = [process.memory_full_info() for process in [postmaster, *postmaster.children(recursive=True)]]
    with connection.cursor() as cursor:
        cursor.execute("SELECT setting::bigint * 8192 / 2.0 ^ 20 FROM pg_settings WHERE name = 'shared_buffers'")
        configured = float(cursor.fetchone()[0])
    return {
        "shared_buffers_configured_mb": round(configured, 1),
        "all_pss_mb": round(sum(each.pss for each in used) / 2**20, 1),
        "all_private_mb": round(sum(each.uss for each in used) / 2**20, 1),
        "processes": len(used),
    }
