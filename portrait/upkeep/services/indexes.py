"""Upkeep of the database: statistics after much was written, indexes that deletions left full of holes, and those of
models with very many portraits, which are made of reduced vectors."""

import logging
from dataclasses import asdict, dataclass
from typing import Any

from django.db import connection
from psycopg import sql

from portrait.core.database import release_connection
from portrait.gallery.indexes import build_reduced_index, drop_replaced_index, lacks_index, rebuild_index
from portrait.gallery.models import EmbeddingModel
from portrait.upkeep.models import UpkeepRun
from portrait.upkeep.services.runs import Outcome, StillHere, run

logger = logging.getLogger(__name__)

CHANGED = 0.1
"""Statistics are renewed where a larger share of a table's rows changed since: a bulk import may do that long before
autovacuum comes, and until then the planner thinks the table small."""
BLOATED = 1.6
"""An index is built anew where it takes so much more room a row than when it was last built."""
WORTH_IT = 64 * 2**20
"""Bytes; a smaller index is left as it is."""

TABLES = """
SELECT relname, n_live_tup, n_mod_since_analyze, n_dead_tup FROM pg_stat_user_tables
WHERE schemaname = current_schema() ORDER BY relname
"""

INDEXES = """
SELECT index.relname, pg_relation_size(index.oid), greatest(index.reltuples, 0)::bigint, each.indisvalid, method.amname
FROM pg_index each
JOIN pg_class index ON index.oid = each.indexrelid
JOIN pg_class owner ON owner.oid = each.indrelid
JOIN pg_namespace room ON room.oid = owner.relnamespace AND room.nspname = current_schema()
JOIN pg_am method ON method.oid = index.relam
WHERE NOT EXISTS (  -- one that is being built at this moment
    SELECT FROM pg_stat_progress_create_index building WHERE building.index_relid = index.oid)
ORDER BY index.relname
"""


@dataclass(frozen=True, slots=True)
class IndexState:
    """An index as it is. size: bytes. rows: as it was last counted."""

    name: str
    size: int
    rows: int
    valid: bool
    method: str

    @property
    def row_bytes(self) -> float:
        return self.size / max(self.rows, 1)


def check() -> UpkeepRun | None:
    """Renew statistics, build bloated and broken indexes anew beside the old ones, which go on answering meanwhile.

    None where this is going on already.
    """
    return run(kind=UpkeepRun.Kind.INDEXES, work=_check)


def _check(still_here: StillHere) -> Outcome:
    analysed = _renew_statistics()
    fresh = _fresh_sizes()
    rebuilt, sizes = {}, {}
    for index in _indexes():
        still_here()
        sizes[index.name] = fresh.get(index.name, index.row_bytes if index.rows else 0.0)
        if index.valid and not _bloated(index, sizes[index.name]):
            continue
        after = _rebuild(index)
        if after is not None:
            rebuilt[index.name] = {"before": asdict(index), "after_bytes": after.size}
            sizes[index.name] = after.row_bytes
    reduced, failed = _reduce(still_here)
    return Outcome(not failed, {"analysed": analysed, **reduced, "rebuilt": rebuilt, "row_bytes": sizes})


def _reduce(still_here: StillHere) -> tuple[dict[str, Any], bool]:
    """Models whose searches go by reduced vectors from now on, and those whose former index went; whether one failed.
    One that somebody else builds for is left alone."""
    reduced, replaced, failed = list[str](), list[str](), dict[str, str]()
    for model in EmbeddingModel.objects.filter(state=EmbeddingModel.State.ACTIVE):
        still_here()
        release_connection()
        try:
            if drop_replaced_index(model):
                replaced.append(str(model))
            elif lacks_index(model) and build_reduced_index(model, wait=False):
                reduced.append(str(model))
        except Exception as error:  # the next model's turn; searches go on by what there is
            logger.exception("the index of %s could not be built", model)
            failed[str(model)] = f"{type(error).__name__}: {error}"
    return {"reduced": reduced, "index_replaced": replaced, "failed": failed}, bool(failed)


def _fresh_sizes() -> dict[str, float]:
    """Bytes a row of each index when it was last built, as far as earlier runs know."""
    last = UpkeepRun.objects.filter(kind=UpkeepRun.Kind.INDEXES, ok=True).order_by("-id").first()
    known: dict[str, Any] = last.report.get("row_bytes", {}) if last is not None else {}
    return {name: float(value) for name, value in known.items() if value}


def _bloated(index: IndexState, fresh: float) -> bool:
    return index.size >= WORTH_IT and fresh > 0 and index.row_bytes > BLOATED * fresh


def _renew_statistics() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(TABLES)
        due = [row[0] for row in cursor.fetchall() if row[2] > CHANGED * max(row[1], 1000) or row[3] > row[1] + 1000]
        for name in due:
            cursor.execute(sql.SQL("VACUUM (ANALYZE) {table}").format(table=sql.Identifier(name)))
    return due


def _indexes() -> list[IndexState]:
    with connection.cursor() as cursor:
        cursor.execute(INDEXES)
        return [IndexState(*row) for row in cursor.fetchall()]


def _rebuild(index: IndexState) -> IndexState | None:
    """One that a killed build left, too; what such a build left beside it (`_ccnew`, `_ccold`) only has to go. None: an
    index of vectors, while another is being built, or one that its re-index will build again."""
    name = sql.Identifier(index.name)
    if not index.valid and index.name.rstrip("0123456789").endswith(("_ccnew", "_ccold")):
        _execute(sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {name}").format(name=name))
        return IndexState(index.name, 0, 0, valid=True, method=index.method)
    if index.method == "hnsw":
        if not rebuild_index(index.name):
            return None
    else:
        _execute(sql.SQL("REINDEX INDEX CONCURRENTLY {name}").format(name=name))
    return next((each for each in _indexes() if each.name == index.name), None)


def _execute(statement: sql.Composed) -> None:
    release_connection()
    with connection.cursor() as cursor:
        cursor.execute(statement)
