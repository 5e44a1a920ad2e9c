"""Reduced vectors: what the index of a model with very many faces is made of.

Poor pictures lie near one another and near the mean of all faces, whoever they show. Among a million portraits a walk
through an index of the vectors as they are (HNSW) gets caught there, and misses good pictures that lie farther out,
mostly those of the very person who is looked for. Reduced vectors are nearer for one person, and have fewer numbers:

- the directions in which pictures of one person differ count less than those in which people do: linear discriminant
  analysis (R. A. Fisher 1936) with a covariance within people that is shrunk to a sphere (regularised discriminant
  analysis, J. H. Friedman, JASA 84, 1989), as it is known from few portraits of few of all people;
- of what is left the principal components are kept that hold most of the variance;
- half of the logarithm of the length (from the mean of all) is taken out, which takes poor pictures from the middle.

The index finds a shortlist by them; the distances that count are those of the whole vectors. Figures: `indexes.py`.

A reduction is learnt once a model has so many portraits that it pays. The vectors themselves are not stored: the index
is on a function of PostgreSQL's, so that every row is in it the moment it is written, and erased with the row.
"""

from dataclasses import dataclass
from datetime import datetime
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
from portrait.gallery.models import EmbeddingModel, VectorReduction
from portrait.gallery.vectors import column_of, pack_projection, unpack_projection

EXPLAINED = 0.8
"""The share of the variance that is kept: about half of dlib's 128 numbers."""
SPHERE = 0.65
"""Of 0 (the covariance within people as it is measured) to 1 (a sphere: principal components alone). With less, nobody
but the nearest person is where whole vectors would have them."""
SHRINK = 0.5
"""Of 0 (lengths as they are) to 1 (all the same length). With 1 the order of poor faces is lost."""
LEAST_REPEATS = 10
"""Further pictures of somebody that are needed for each number of a vector; with fewer there is only the sphere."""
LEAST_LENGTH = 1e-6
COST_A_NUMBER = 10
"""For the planner, in its own unit: 64 numbers take 20 microseconds. Else it would rather reduce all rows, and sort."""


@dataclass(frozen=True, slots=True)
class Reduction:
    """mean: float32 (source's dims,), of all faces; axes: float32 (dims, source's dims)."""

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


def learn(vectors: NDArray[np.float32], people: NDArray[np.int64]) -> Reduction:
    """From a sample of a model's vectors, float32 (n, source's dims), n > dims. people: int (n,): whose each is, any
    numbers."""
    exact = vectors.astype(np.float64)
    rounder = _rounding(exact, people)
    mean = exact.mean(axis=0)
    _, axes, _ = cv2.PCACompute2((exact - mean) @ rounder, mean=np.empty(0), retainedVariance=EXPLAINED)
    return Reduction(np.asarray(mean, np.float32), np.asarray(axes @ rounder, np.float32))


def _rounding(vectors: NDArray[np.float64], people: NDArray[np.int64]) -> NDArray[np.float64]:
    """The symmetric matrix (dims, dims) by which pictures of one person differ alike in all directions, as far as
    `SPHERE` lets it; the unit matrix where too few people have several."""
    dims = vectors.shape[1]
    whose, counts = np.unique(people, return_inverse=True, return_counts=True)[1:]
    repeats = len(vectors) - len(counts)
    if repeats < LEAST_REPEATS * dims:
        return np.eye(dims)
    sums = np.zeros((len(counts), dims))
    np.add.at(sums, whose, vectors)
    apart = vectors - (sums / counts[:, None])[whose]
    within = apart.T @ apart / repeats
    scale = np.trace(within) / dims
    if scale <= 0:  # the same picture again and again
        return np.eye(dims)
    values, directions = np.linalg.eigh((1 - SPHERE) * within / scale + SPHERE * np.eye(dims))
    return np.asarray((directions * values**-0.5) @ directions.T)


def reduction_of(model: EmbeddingModel) -> Reduction | None:
    """By which the model's index is made, or None while it holds the vectors as they are."""
    return None if model.reduced_at is None else _load(model.pk, model.reduced_at)


@lru_cache(maxsize=16)
def _load(model_id: int, reduced_at: datetime) -> Reduction | None:
    """None: its model was retired at this moment."""
    row = VectorReduction.objects.filter(model=model_id).first()
    return None if row is None else Reduction(*unpack_projection(bytes(row.projection)))


def reduced_index_name(model: EmbeddingModel) -> str:
    return f"portraitembedding_live_reduced_{model.pk}"


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


def function(name: str, reduction: Reduction, schema: str) -> sql.Composed:
    """The statement that creates such a function. schema: where pgvector's types are, as an index is built without a
    search path."""
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
        "IMMUTABLE STRICT PARALLEL SAFE COST {cost} SET search_path = pg_catalog, {schema} AS {body}"
    ).format(
        name=sql.Identifier(name),
        schema=sql.Identifier(schema),
        cost=sql.Literal(COST_A_NUMBER * reduction.dims),
        body=sql.Literal(body.as_string()),
    )
