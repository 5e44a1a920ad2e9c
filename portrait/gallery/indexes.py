"""The partial HNSW index of an embedding model: raw SQL, since the vector column has no fixed size."""

import logging
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import numpy as np
import psycopg
from django.db import connection, transaction
from django.db.models import Model
from django.utils import timezone
from numpy.typing import NDArray
from psycopg import sql

from inference.types import FloatArray
from portrait.gallery.models import EmbeddingModel, PortraitEmbedding, VectorReduction
from portrait.gallery.reduction import function, function_name, learn, reduced_index_name
from portrait.gallery.vectors import as_array, column_of, column_type

logger = logging.getLogger(__name__)

# pgvector's defaults are 16 and 64. Poor pictures are alike, whoever they show, and draw the graph's links to
# themselves; more links and a wider construction keep everybody else reachable. With 100,000 portraits and ef_search
# 200 the exact scan's person comes first for 0.990 of the probes with 16 and 200, for 0.998 with these (of the ten
# nearest people 0.989 and 0.997 are found), for a third more pages read. `benchmarks/_search_variants.py` tries others:
# an index of half precision, its rows ranked again by single precision, finds the same for the same work and takes 28 %
# less space, which a second expression in every search is not worth; one bit a number finds a seventh of the ten
# nearest, since faces share a long mean vector and most signs are the same for all.
M, EF_CONSTRUCTION = 24, 200
REDUCED_ABOVE = 100_000
"""A model with more live portraits gets an index of reduced vectors. Of a million it names the exact scan's person for
all of 1,000 probes in 14 ms, where one of whole vectors did for 0.971 of them in 18; it takes 520 MB, not 900. Of the
ten nearest people, however far, it finds 0.92, not 0.96 (`benchmarks/search.py`)."""
SAMPLE, A_PERSON = 20_000, 20
"""Portraits that a reduction is learnt from, and of one person, at most."""
BOTH_FOR = timedelta(minutes=30)
"""Whoever read the model before it was reduced goes by its former index for so long: a re-index checks for minutes."""
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
    """Create the index of the live portraits' vectors if there is none; the one of earlier versions goes."""
    if model.reduced_at is None:
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


def has_many(model: EmbeddingModel) -> bool:
    """Whether a model has so many live portraits that their index is made of reduced vectors."""
    rows = PortraitEmbedding.objects.filter(model_id=model.pk, live=True)
    return rows.values("pk")[REDUCED_ABOVE : REDUCED_ABOVE + 1].exists()


def build_live_index(model: EmbeddingModel) -> None:
    """The index that a collection of this model is searched by, beside living data: see `build_partial_index`."""
    if model.reduced_at is not None or has_many(model):
        build_reduced_index(model)
    else:
        build_partial_index(index_name(model), PortraitEmbedding, model, only="live")


def build_reduced_index(model: EmbeddingModel, *, wait: bool = True) -> bool:
    """Learn a reduction of the vectors, build their index by it, and have all searches go by that; as it is if there is
    one. An index of the vectors as they are goes on serving whoever read the model before: `drop_replaced_index`.

    wait: for somebody else who builds for this model. Answers whether there is an index now.

    That it serves is noted at the very end: until then the function may change, and an index that is left by somebody
    who was killed before is removed.
    """
    with _session() as session:
        if not _take_turn(session, model, wait=wait):
            return False
        model.refresh_from_db(fields=["reduced_at"])
        if model.reduced_at is not None and _is_valid(session, reduced_index_name(model)):
            return True
        _remove_reduced(session, model)
        reduction = learn(*_sample(model))
        session.execute(function(function_name(model), reduction, _schema_of_vectors(session)))
        reduced = sql.SQL("{function}({column}::vector)").format(
            function=sql.Identifier(function_name(model)), column=sql.Identifier(column_of(model))
        )
        statement = _create(
            sql.SQL("CREATE INDEX CONCURRENTLY"),
            reduced_index_name(model),
            PortraitEmbedding,
            vector=sql.SQL("({reduced})::halfvec({dims})").format(reduced=reduced, dims=sql.Literal(reduction.dims)),
            operators="halfvec_l2_ops",
            condition=_condition(model, "live"),
        )
        _in_parallel(session, statement, reduced_index_name(model))
        with transaction.atomic():
            VectorReduction.objects.update_or_create(model=model, defaults={"projection": reduction.pack()})
            EmbeddingModel.objects.filter(pk=model.pk).update(reduced_at=timezone.now())
        model.refresh_from_db(fields=["reduced_at"])
    return True


def lacks_index(model: EmbeddingModel) -> bool:
    """Whether a model should have an index of reduced vectors, or says so, and has none."""
    noted = model.reduced_at is not None
    return (noted or has_many(model)) and not (noted and has_index(reduced_index_name(model)))


def drop_replaced_index(model: EmbeddingModel) -> bool:
    """Remove the index of the vectors as they are where that of the reduced ones has served for a while; whether there
    was one. And one of reduced vectors that was never noted, if the model has few portraits by now."""
    if model.reduced_at is None:
        replaced = not has_many(model) and has_index(reduced_index_name(model))
        if replaced:
            drop_index(reduced_index_name(model))
        return replaced
    long_ago = model.reduced_at < timezone.now() - BOTH_FOR
    replaced = long_ago and has_index(reduced_index_name(model)) and has_index(index_name(model))
    if replaced:
        drop_index(index_name(model))
    return replaced


def drop_live_indexes(model: EmbeddingModel, *, unless: Callable[[], bool] = lambda: False) -> bool:
    """Remove all that searches of a model's portraits go by, while everybody goes on; whether that was done. Whoever
    builds for the model is waited for. unless: asked then."""
    with _session() as session:
        _take_turn(session, model)
        if unless():
            return False
        session.execute(
            sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {name}").format(name=sql.Identifier(index_name(model)))
        )
        _remove_reduced(session, model)
    return True


def _remove_reduced(session: "psycopg.Connection[Any]", model: EmbeddingModel) -> None:
    """The index of reduced vectors, what killed rebuilds left of it, and its function."""
    EmbeddingModel.objects.filter(pk=model.pk).update(reduced_at=None)
    VectorReduction.objects.filter(model=model).delete()
    name = reduced_index_name(model)
    left = session.execute(
        "SELECT relname FROM pg_class WHERE relkind = 'i' AND relname ~ %s", [f"^{name}(_cc(new|old)[0-9]*)?$"]
    ).fetchall()
    for (each,) in left:
        session.execute(sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {name}").format(name=sql.Identifier(each)))
    session.execute(sql.SQL("DROP FUNCTION IF EXISTS {name}").format(name=sql.Identifier(function_name(model))))


def _sample(model: EmbeddingModel) -> tuple[FloatArray, NDArray[np.int64]]:
    """Live vectors of a model, float32 (SAMPLE at most, dims), and whose each is: of whole people, as ids of people are
    random, and any stretch of them is."""
    rows = PortraitEmbedding.objects.filter(model=model, live=True).order_by("identity_id")
    begin, columns = uuid.uuid4(), ("identity_id", column_of(model))
    found = list(rows.filter(identity_id__gte=begin).values_list(*columns)[:SAMPLE])
    found += rows.filter(identity_id__lt=begin).values_list(*columns)[: SAMPLE - len(found)]
    by_person: dict[uuid.UUID, list[FloatArray]] = {}
    for identity_id, vector in found:
        own = by_person.setdefault(identity_id, [])
        if len(own) < A_PERSON:
            own.append(as_array(vector))
    people = np.repeat(np.arange(len(by_person)), [len(own) for own in by_person.values()])
    return np.stack([vector for own in by_person.values() for vector in own]), people


def _schema_of_vectors(session: "psycopg.Connection[Any]") -> str:
    row = session.execute(
        "SELECT nspname FROM pg_extension JOIN pg_namespace room ON room.oid = extnamespace WHERE extname = 'vector'"
    ).fetchone()
    return str(row[0]) if row is not None else "public"


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
    kind, operators = column_type(model)
    vector = sql.SQL("{column}::{type}").format(column=sql.Identifier(column_of(model)), type=sql.SQL(kind))
    return _create(create, name, table, vector=vector, operators=operators, condition=_condition(model, only))


def _condition(model: EmbeddingModel, only: str | None) -> sql.Composed:
    condition = sql.SQL("model_id = {model}").format(model=sql.Literal(model.pk))
    if only is not None:
        condition = sql.SQL("{condition} AND {only}").format(condition=condition, only=sql.Identifier(only))
    return condition


def _create(
    create: sql.SQL,
    name: str,
    table: type[Model],
    *,
    vector: sql.Composable,
    operators: str,
    condition: sql.Composable,
) -> sql.Composed:
    return sql.SQL(
        "{create} {index} ON {table} USING hnsw (({vector}) {operators}) "
        "WITH (m = {m}, ef_construction = {ef}) WHERE {condition}"
    ).format(
        create=create,
        index=sql.Identifier(name),
        table=sql.Identifier(table._meta.db_table),
        vector=vector,
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


def _take_turn(session: "psycopg.Connection[Any]", model: EmbeddingModel, *, wait: bool = True) -> bool:
    """Wait until nobody else builds for this model; by asking again: who waits in a statement holds up the other's
    CREATE INDEX CONCURRENTLY, which waits for all statements. Whether it is our turn."""
    while True:
        row = session.execute("SELECT pg_try_advisory_lock(%s, %s)", [_BUILDING, model.pk]).fetchone()
        if row is not None and row[0]:
            return True
        if not wait:
            return False
        time.sleep(_LOOK_AGAIN_S)


def _is_valid(session: "psycopg.Connection[Any]", name: str) -> bool | None:
    """None: there is no such index."""
    row = session.execute("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)", [name]).fetchone()
    return None if row is None else bool(row[0])
