"""The partial HNSW index of an embedding model: raw SQL, since the vector column has no fixed size."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from django.db import connection
from django.db.models import Model
from psycopg import sql

from portrait.gallery.models import EmbeddingModel, PortraitEmbedding
from portrait.gallery.vectors import column_of, column_type

logger = logging.getLogger(__name__)

# pgvector's defaults are 16 and 64. Poor pictures are alike, whoever they show, and draw the graph's links to
# themselves; more links and a wider construction keep everybody else reachable. With 100,000 portraits and ef_search
# 200 the exact scan's person comes first for 0.990 of the probes with 16 and 200, for 0.998 with these (of the ten
# nearest people 0.989 and 0.997 are found), for a third more pages read. `benchmarks/_search_variants.py` tries others:
# an index of half precision, its rows ranked again by single precision, finds the same for the same work and takes 28 %
# less space, which a second expression in every search is not worth; one bit a number finds a third of the ten nearest,
# since faces share a long mean vector and most signs are the same for all.
M, EF_CONSTRUCTION = 24, 200
# While an index is built beside living data, after its rows were loaded: the graph is built in memory, which is several
# times faster than on disk, by so many processes. A vector of 128 numbers takes about 1.5 KB there (itself, and two
# times M links of 16 bytes), a million 1.5 GB. A parallel build asks for all of it at once.
BUILD_MEMORY, BUILD_WORKERS = "2GB", 2
_BUILDING = 0x504F5254
"""Class of the advisory locks of those who build an index."""
_LOOK_AGAIN_S = 0.5


def index_name(model: EmbeddingModel) -> str:
    return f"portraitembedding_live_hnsw_{model.pk}"


def create_hnsw_index(model: EmbeddingModel) -> None:
    """Create the index of the live portraits' vectors if it is not there; the one of earlier versions goes."""
    create_partial_index(index_name(model), PortraitEmbedding, model, only="live")
    with connection.cursor() as cursor:
        older = sql.Identifier(f"portraitembedding_hnsw_{model.pk}")
        cursor.execute(sql.SQL("DROP INDEX IF EXISTS {older}").format(older=older))


def create_partial_index(name: str, table: type[Model], model: EmbeddingModel, *, only: str | None = None) -> None:
    """Create an HNSW index over those rows of a table of vectors that `model` made, if it is not there.

    only: a boolean column that has to be true as well. Takes a share lock: writers wait while it is built.
    """
    with connection.cursor() as cursor:
        cursor.execute(_statement(name, table, model, only, sql.SQL("CREATE INDEX IF NOT EXISTS")))


def build_partial_index(name: str, table: type[Model], model: EmbeddingModel, *, only: str | None = None) -> None:
    """As `create_partial_index`, while everybody goes on reading and writing; takes its time, and no transaction.

    Whoever is killed here leaves an index that is not valid: it is removed and built anew. A server process that goes
    on building for somebody who is gone is waited for. Two at once: one builds, the other waits.
    """
    with _session() as session:
        _take_turn(session, model)
        if _is_valid(session, name) is False:
            logger.warning("the index %s was left unfinished: it is built again", name)
            session.execute(sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {name}").format(name=sql.Identifier(name)))
        if _is_valid(session, name) is None:
            _in_parallel(session, _statement(name, table, model, only, sql.SQL("CREATE INDEX CONCURRENTLY")), name)


def rebuild_index(name: str) -> bool:
    """Build an index anew beside itself, with the memory that a graph needs, while everybody goes on; False where
    somebody builds an index of vectors at this moment: that one is left alone, and so is this."""
    with _session() as session:
        for (key,) in session.execute("SELECT id FROM gallery_embeddingmodel ORDER BY id").fetchall():
            row = session.execute("SELECT pg_try_advisory_lock(%s, %s)", [_BUILDING, key]).fetchone()
            if row is None or not row[0]:
                return False
        _in_parallel(session, sql.SQL("REINDEX INDEX CONCURRENTLY {name}").format(name=sql.Identifier(name)), name)
    return True


def _in_parallel(session: "psycopg.Connection[Any]", build: sql.Composed, name: str) -> None:
    """By several processes, which share the graph; by one where there is not as much memory to share (/dev/shm)."""
    try:
        session.execute(build)
    except (psycopg.errors.DiskFull, psycopg.errors.OutOfMemory) as error:
        logger.warning("the index %s is built by one process, there is too little shared memory: %s", name, error)
        session.execute("SELECT set_config('max_parallel_maintenance_workers', '0', false)")
        for left in (name, f"{name}_ccnew"):
            if _is_valid(session, left) is False:
                session.execute(sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {left}").format(left=sql.Identifier(left)))
        session.execute(build)


def drop_index(name: str) -> None:
    """Remove an index while everybody goes on."""
    with _session() as session:
        session.execute(sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {name}").format(name=sql.Identifier(name)))


def has_index(name: str) -> bool:
    """Whether there is such an index, whole."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)", [name])
        row = cursor.fetchone()
    return bool(row and row[0])


def _statement(name: str, table: type[Model], model: EmbeddingModel, only: str | None, create: sql.SQL) -> sql.Composed:
    condition = sql.SQL("model_id = {model}").format(model=sql.Literal(model.pk))
    if only is not None:
        condition = sql.SQL("{condition} AND {only}").format(condition=condition, only=sql.Identifier(only))
    kind, operators = column_type(model)
    return sql.SQL(
        "{create} {index} ON {table} USING hnsw (({column}::{type}) {operators}) "
        "WITH (m = {m}, ef_construction = {ef}) WHERE {condition}"
    ).format(
        create=create,
        index=sql.Identifier(name),
        table=sql.Identifier(table._meta.db_table),
        column=sql.Identifier(column_of(model)),
        type=sql.SQL(kind),
        operators=sql.SQL(operators),
        m=sql.Literal(M),
        ef=sql.Literal(EF_CONSTRUCTION),
        condition=condition,
    )


@contextmanager
def _session() -> Iterator["psycopg.Connection[Any]"]:
    """A connection of its own, outside of the pool and of any transaction, as these statements need it."""
    wanted = ("dbname", "host", "port", "user", "password", "sslmode", "sslrootcert", "service")
    given = {key: value for key, value in connection.get_connection_params().items() if key in wanted}
    with (
        connection.wrap_database_errors,  # its errors are Django's: a server that is away is waited for
        psycopg.connect(**given, autocommit=True, application_name="portrait: index") as session,
    ):
        session.execute("SELECT set_config('maintenance_work_mem', %s, false)", [BUILD_MEMORY])
        session.execute("SELECT set_config('max_parallel_maintenance_workers', %s, false)", [str(BUILD_WORKERS)])
        yield session


def _take_turn(session: "psycopg.Connection[Any]", model: EmbeddingModel) -> None:
    """Wait until nobody else builds for this model; by asking again: who waits in a statement holds up the other's
    CREATE INDEX CONCURRENTLY, which waits for all statements."""
    while True:
        row = session.execute("SELECT pg_try_advisory_lock(%s, %s)", [_BUILDING, model.pk]).fetchone()
        if row is not None and row[0]:
            return
        time.sleep(_LOOK_AGAIN_S)


def _is_valid(session: "psycopg.Connection[Any]", name: str) -> bool | None:
    """None: there is no such index."""
    row = session.execute("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)", [name]).fetchone()
    return None if row is None else bool(row[0])
