"""Reduced vectors: what the index of a model with very many faces is made of.

Poor pictures lie near one another and near the mean of all faces, whoever they show. Among a million portraits a walk
through an index of the vectors as they are (HNSW) gets caught there, and misses good pictures that lie farther out,
mostly those of the very person who is looked for. Reduced vectors have fewer numbers (the principal components), and
half of the way to the mean is taken out of the logarithm of their length: that leaves most of the order among near
faces as it was, and takes the poor ones away from the middle. The index finds a shortlist by them; the distances that
count are those of the whole vectors. Figures: `indexes.py`.

A reduction is learnt once a model has so many portraits that it pays. The vectors themselves are not stored: the index
is on a function of PostgreSQL's, so that every row is in it the moment it is written, and erased with the row.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from django.db.models import Expression, Func
from django.db.models.functions import Cast
from numpy.typing import NDArray
from pgvector import HalfVector, Vector
from pgvector.django import HalfVectorField, L2Distance, VectorField
from psycopg import sql

from inference.types import FloatArray
from portrait.gallery.models import EmbeddingModel
from portrait.gallery.vectors import column_of, pack_projection, unpack_projection

EXPLAINED = 0.85
"""The share of the variance that is kept: 64 of dlib's 128 numbers."""
SHRINK = 0.5
"""Of 0 (lengths as they are) to 1 (all the same length). With 1 the order of poor faces is lost."""
LEAST_LENGTH = 1e-6


@dataclass(frozen=True, slots=True)
class Reduction:
    """mean: float32 (source's dims,), of all faces; axes: float32 (dims, source's dims), orthonormal."""

    mean: FloatArray
    axes: FloatArray

    @property
    def dims(self) -> int:
        return len(self.axes)

    def of(self, vectors: NDArray[np.float32]) -> FloatArray:
        """Vectors (n, source's dims) reduced: float32 (n, dims), as the function of PostgreSQL's does it."""
        rows = (np.asarray(vectors, np.float32) - self.mean) @ self.axes.T
        lengths = np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), LEAST_LENGTH)
        return np.asarray(rows / lengths**SHRINK, np.float32)

    def pack(self) -> bytes:
        return pack_projection(self.mean, self.axes)


def learn(vectors: NDArray[np.float32]) -> Reduction:
    """The principal components (K. Pearson 1901) of a sample of a model's vectors, float32 (n, dims), n > dims."""
    mean, axes, _ = cv2.PCACompute2(vectors, mean=np.empty(0, np.float32), retainedVariance=EXPLAINED)
    return Reduction(np.asarray(mean[0], np.float32), np.asarray(axes, np.float32))


def reduction_of(model: EmbeddingModel) -> Reduction | None:
    """By which the model's index is made, or None while it holds the vectors as they are."""
    return None if model.reduction is None else _unpack(bytes(model.reduction))


@lru_cache(maxsize=16)
def _unpack(packed: bytes) -> Reduction:
    return Reduction(*unpack_projection(packed))


def function_name(model: EmbeddingModel) -> str:
    """The function of PostgreSQL's that reduces a vector of this model."""
    return f"portrait_reduced_{model.pk}"


def reduced_distance_to(model: EmbeddingModel, reduction: Reduction, vector: NDArray[np.float32]) -> Expression:
    """How far a row's reduced vector is from this vector's: spelt as the index is, so that it serves.

    vector: float32, shape (dims,), by the same model.
    """
    reduced = Func(Cast(column_of(model), VectorField()), function=function_name(model), output_field=HalfVectorField())
    wanted: Any = HalfVector(reduction.of(vector[None])[0])
    return L2Distance(Cast(reduced, HalfVectorField(dimensions=reduction.dims)), wanted)


def function(model: EmbeddingModel, reduction: Reduction, schema: str) -> sql.Composed:
    """The statement that creates it. schema: where pgvector's types are; an index is built without a search path."""
    axes = sql.SQL(", ").join(sql.Literal(Vector(axis).to_text()) for axis in reduction.axes)
    body = sql.SQL(
        """
        DECLARE
            reduced vector := ARRAY(SELECT -(face <#> axis) FROM unnest(ARRAY[{axes}]::vector[]) axis)::vector
                - {middle}::vector;
            length float8 := greatest(vector_norm(reduced), {least}) ^ {shrink};
        BEGIN
            RETURN ARRAY(SELECT number / length FROM unnest(reduced::real[]) number)::vector::halfvec({dims});
        END
        """
    ).format(
        axes=axes,
        middle=sql.Literal(Vector(reduction.axes @ reduction.mean).to_text()),
        least=sql.Literal(LEAST_LENGTH),
        shrink=sql.Literal(SHRINK),
        dims=sql.Literal(reduction.dims),
    )
    return sql.SQL(
        "CREATE OR REPLACE FUNCTION {name}(face {schema}.vector) RETURNS {schema}.halfvec LANGUAGE plpgsql "
        "IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, {schema} AS {body}"
    ).format(
        name=sql.Identifier(function_name(model)),
        schema=sql.Identifier(schema),
        body=sql.Literal(body.as_string()),
    )
