"""The partial HNSW index of an embedding model: raw SQL, since the vector column has no fixed size."""

from django.db import connection
from django.db.models import Model
from psycopg import sql

from portrait.gallery.models import EmbeddingModel, PortraitEmbedding
from portrait.gallery.vectors import column_of, column_type

# pgvector's defaults are 16 and 64. Poor pictures crowd near the mean of all faces and draw the graph's links to
# themselves; more links and a wider construction keep everybody else reachable, for build time and space.
M, EF_CONSTRUCTION = 24, 200


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
    condition = sql.SQL("model_id = {model}").format(model=sql.Literal(model.pk))
    if only is not None:
        condition = sql.SQL("{condition} AND {only}").format(condition=condition, only=sql.Identifier(only))
    kind, operators = column_type(model)
    statement = sql.SQL(
        "CREATE INDEX IF NOT EXISTS {index} ON {table} USING hnsw (({column}::{type}) {operators}) "
        "WITH (m = {m}, ef_construction = {ef}) WHERE {condition}"
    ).format(
        index=sql.Identifier(name),
        table=sql.Identifier(table._meta.db_table),
        column=sql.Identifier(column_of(model)),
        type=sql.SQL(kind),
        operators=sql.SQL(operators),
        m=sql.Literal(M),
        ef=sql.Literal(EF_CONSTRUCTION),
        condition=condition,
    )
    with connection.cursor() as cursor:
        cursor.execute(statement)
