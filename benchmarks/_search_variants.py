"""What else pgvector offers, on the same portraits: which kind of index answers best for what it costs?

    python -m benchmarks._search_variants [size] [kind-m-ef_construction ...]

Kinds: `float` (whole vectors), `half` (an index of half precision over single vectors), `binary` (one bit a number, the
nearest by single vectors again), `reduced` (as the application's of very many portraits; so again). Each is built over
the rows of `benchmarks.search`, alone visible to the planner while it is asked, and removed. Costs are buffers read and
the server's processor time for an answer: they say the same on a busy machine.
"""

import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import numpy as np
import psutil
import psycopg
from pgvector import Vector
from psycopg import sql
from rich.console import Console
from rich.table import Table

from benchmarks import _search_site
from benchmarks._measure import RESULTS, machine
from benchmarks._search_population import DIMS, PORTRAITS_A_PERSON, Population, Vectors

SIZE = 100_000
VARIANTS = (
    "float-16-64",
    "float-16-200",
    "float-24-200",
    "float-32-200",
    "half-24-200",
    "half-32-200",
    "binary-24-200",
    "reduced-24-200",
)
EF_SEARCH = (40, 100, 200, 400)
PROBES, TOP = 500, 10
SHORTLIST = {"float": 64, "half": 64, "binary": 200, "reduced": 64}
LEARNT_FROM = 20_000
MEMORY, WORKERS = "2GB", max(0, (os.cpu_count() or 1) - 1)

TABLE = sql.Identifier("gallery_portraitembedding")
EXPRESSIONS = {
    "float": ("(vector::vector({dims}))", "vector_l2_ops", "vector::vector({dims}) <-> %(probe)s::vector"),
    "half": ("(vector::halfvec({dims}))", "halfvec_l2_ops", "vector::halfvec({dims}) <-> %(probe)s::halfvec({dims})"),
    "binary": (
        "((binary_quantize(vector)::bit({dims})))",
        "bit_hamming_ops",
        "binary_quantize(vector)::bit({dims}) <~> binary_quantize(%(probe)s::vector)",
    ),
    "reduced": (
        "({function}(vector)::halfvec({reduced}))",
        "halfvec_l2_ops",
        "{function}(vector)::halfvec({reduced}) <-> {function}(%(probe)s::vector)::halfvec({reduced})",
    ),
}
FUNCTION = "variant_reduced"


@dataclass(frozen=True, slots=True)
class Found:
    """Of one index, asked with one `ef_search`."""

    index: str
    ef_search: int
    build_s: float
    size_mb: float
    first: float
    """Share of the probes whose nearest person is the exact scan's."""
    recall: float
    """Of the TOP nearest people."""
    buffers: int
    server_cpu_ms: float
    p50_ms: float


class Bench:
    """One server, one gallery."""

    def __init__(self, url: str, model_id: int, size: int) -> None:
        self.connection = psycopg.connect(url, autocommit=True)
        self.server = psutil.Process(self.connection.info.backend_pid)
        self.model_id, self.reduced = model_id, self._reduce(size)
        self.probes = Population().probes(size, PROBES, draw=1)[0]  # not those that `search` reports
        self.warm = Population().probes(size, 50, draw=2)[0]
        self.wanted = self._exact(size)
        self._set("hnsw.iterative_scan", "strict_order")
        self._set("enable_sort", "off")  # the index, whatever the planner knows
        rows = self.connection.execute(
            sql.SQL("SELECT identity_id FROM {} WHERE model_id = %s ORDER BY id").format(TABLE), [model_id]
        ).fetchall()
        self.person = {row[0]: number // PORTRAITS_A_PERSON for number, row in enumerate(rows)}

    def _reduce(self, size: int) -> int:
        """Learn a reduction and create its function; answers how many numbers are left."""
        from portrait.gallery import reduction

        first = next(Population().portraits(min(size, LEARNT_FROM)))
        people = np.arange(len(first)).repeat(PORTRAITS_A_PERSON)
        learnt = reduction.learn(first.reshape(-1, DIMS), people)
        self.connection.execute(reduction.function(FUNCTION, learnt, "public"))
        return learnt.dims

    def _exact(self, size: int) -> list[list[int]]:
        from benchmarks._search_sides import exact_scan

        portraits = np.concatenate([chunk.reshape(-1, DIMS) for chunk in Population().portraits(size)])
        exact = exact_scan(portraits, self.probes)
        return [exact.people(number, TOP) for number in range(len(self.probes))]

    def _set(self, name: str, value: str) -> None:
        self.connection.execute("SELECT set_config(%s, %s, false)", [name, value])

    def try_out(self, variant: str, efs: Sequence[int]) -> Iterator[Found]:
        kind, m, ef_construction = variant.split("-")
        name = f"variant_{variant.replace('-', '_')}"
        started = time.perf_counter()
        with self._index(name, kind, int(m), int(ef_construction)):
            build_s = time.perf_counter() - started
            row = self.connection.execute("SELECT pg_relation_size(%s) / 2.0 ^ 20", [name]).fetchone()
            for ef in efs:
                self._set("hnsw.ef_search", str(ef))
                figures = self._ask(kind)
                yield Found(variant, ef, round(build_s, 1), round(float(row[0]) if row else 0, 1), *figures)

    def _spelt(self, expression: str) -> str:
        return expression.format(dims=DIMS, reduced=self.reduced, function=FUNCTION)

    @contextmanager
    def _index(self, name: str, kind: str, m: int, ef_construction: int) -> Iterator[None]:
        column, operators, _ = EXPRESSIONS[kind]
        self._set("maintenance_work_mem", MEMORY)
        self._set("max_parallel_maintenance_workers", str(WORKERS))
        self._drop(name)
        self.connection.execute(
            sql.SQL(
                f"CREATE INDEX {{}} ON {{}} USING hnsw ({self._spelt(column)} {operators}) "
                f"WITH (m = {m}, ef_construction = {ef_construction}) WHERE model_id = {self.model_id} AND live"
            ).format(sql.Identifier(name), TABLE)
        )
        hide = """UPDATE pg_index SET indisvalid = %s FROM pg_class, pg_am WHERE indexrelid = pg_class.oid
            AND relam = pg_am.oid AND amname = 'hnsw' AND relname <> %s"""
        self.connection.execute(hide, [False, name])
        try:
            yield
        finally:
            self.connection.execute(hide, [True, name])
            self._drop(name)

    def _drop(self, name: str) -> None:
        self.connection.execute(sql.SQL("DROP INDEX IF EXISTS {}").format(sql.Identifier(name)))

    def _ask(self, kind: str) -> tuple[float, float, int, float, float]:
        statement = self._statement(kind)
        for probe in self.warm:
            self._people(statement, probe)
        before, taken, right, recalled = sum(self.server.cpu_times()[:2]), [], 0, 0.0
        for probe, wanted in zip(self.probes, self.wanted, strict=True):
            started = time.perf_counter()
            found = self._people(statement, probe)
            taken.append(1000 * (time.perf_counter() - started))
            right += found[:1] == wanted[:1]
            recalled += len(set(found[:TOP]) & set(wanted)) / len(wanted)
        used = 1000 * (sum(self.server.cpu_times()[:2]) - before) / len(self.probes)
        shares = right / len(self.probes), recalled / len(self.probes)
        return *shares, self._buffers(statement), round(used, 2), round(float(np.median(taken)), 2)

    def _statement(self, kind: str) -> str:
        order = self._spelt(EXPRESSIONS[kind][2])
        inner = f"""SELECT identity_id, vector::vector({DIMS}) <-> %(probe)s::vector AS distance
            FROM gallery_portraitembedding WHERE model_id = {self.model_id} AND live
            ORDER BY {order} LIMIT {SHORTLIST[kind]}"""
        return inner if kind == "float" else f"SELECT * FROM ({inner}) AS near ORDER BY distance + 0"

    def _people(self, statement: str, probe: Vectors) -> list[int]:
        rows = self._execute(statement, probe).fetchall()
        return list(dict.fromkeys(self.person[row[0]] for row in rows))

    def _execute(self, statement: str, probe: Vectors) -> "psycopg.Cursor[tuple[object, ...]]":
        return psycopg.ClientCursor(self.connection).execute(statement, {"probe": Vector(probe).to_text()})

    def _buffers(self, statement: str) -> int:
        """Of the median probe."""
        explained = "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + statement
        plans = [self._execute(explained, probe).fetchone()[0][0]["Plan"] for probe in self.probes[:50]]
        return int(np.median([plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] for plan in plans]))


def show(found: Sequence[Found]) -> None:
    table = Table(title=f"indexes of pgvector ({os.cpu_count()} cores)", title_justify="left")
    for column in asdict(found[0]):
        table.add_column(column)
    for each in found:
        table.add_row(
            *(f"{value:.4f}" if name in ("first", "recall") else str(value) for name, value in asdict(each).items())
        )
    Console(width=150).print(table)


def main() -> None:
    size = next((int(each) for each in sys.argv[1:] if each.isdigit()), SIZE)
    variants = [each for each in sys.argv[1:] if not each.isdigit()] or list(VARIANTS)
    with _search_site.running() as kept:
        from django.conf import settings

        from benchmarks._search_gallery import Gallery, build

        gallery = Gallery(size)
        build(gallery, kept)
        bench, found = Bench(settings.PORTRAIT.database_url, gallery.model().pk, size), list[Found]()
        for variant in variants:
            found += bench.try_out(variant, EF_SEARCH)
            print(*(asdict(each) for each in found[-len(EF_SEARCH) :]), sep="\n", flush=True)
    show(found)
    if variants == list(VARIANTS):
        body = {"machine": machine(), "portraits": size, "found": [asdict(each) for each in found]}
        (RESULTS / "search-variants.json").write_text(json.dumps(body, indent=2) + "\n")


if __name__ == "__main__":
    main()
