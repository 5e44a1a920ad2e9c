"""The partial HNSW index of an embedding model: raw SQL, since the vector column has no fixed size."""

from django.db import connection
from psycopg import sql

from portrait.gallery.models import EmbeddingModel, PortraitEmbedding

# pgvector's defaults are 16 and 64. Poor pictures crowd near the mean of all faces and draw the graph's links to
# themselves; more links and a wider construction keep everybody else reachable, for build time and space.
M, EF_CONSTRUCTION = 24, 200


def index_name(model: EmbeddingModel) -> str:
    return f"portraitembedding_hnsw_{model.pk}"


def create_hnsw_index(model: EmbeddingModel) -> None:
    """Create the index if it is not there. Takes a share lock: writers wait while it is built."""
    statement = sql.SQL(
        "CREATE INDEX IF NOT EXISTS {index} ON {table} USING hnsw ((vector::vector({dims})) vector_l2_ops) "
        "WITH (m = {m}, ef_construction = {ef}) WHERE model_id = {model}"
    ).format(
        index=sql.Identifier(index_name(model)),
        table=sql.Identifier(PortraitEmbedding._meta.db_table),
        dims=sql.Literal(model.dims),
        m=sql.Literal(M),
        ef=sql.Literal(EF_CONSTRUCTION),
        model=sql.Literal(model.pk),
    )
    with connection.cursor() as cursor:
        cursor.execute(statement)
