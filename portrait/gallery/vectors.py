"""Where the vectors of an embedding model lie, how far they are apart, and how they come out of a face's embedding.

A model is a network, or a projection of a network's vectors (`EmbeddingModel.source`): fewer numbers, learnt from a
collection. Half precision lies in a column of its own. Which models' vectors a face gets: `services.spaces`.
"""

import io
from functools import lru_cache
from typing import Any
from uuid import UUID

import numpy as np
from django.db.models import BooleanField, Expression, F, Func, Value
from django.db.models.functions import Cast
from numpy.typing import NDArray
from pgvector import HalfVector
from pgvector.django import HalfVectorField, L2Distance, VectorField

from inference.calibration import Calibration
from inference.types import Face, FloatArray
from portrait.gallery.models import EmbeddingModel


class NotEmbeddedError(Exception):
    """The face was not seen by the network behind a model: the collection got that model after the networks looked."""


def network_of(model: EmbeddingModel) -> str:
    """The name of the network behind a model: its own, or its source's."""
    return model.name if model.source_id is None else _name_of(model.source_id)


@lru_cache(maxsize=64)
def _name_of(model_id: int) -> str:
    """Names never change."""
    return str(EmbeddingModel.objects.values_list("name", flat=True).get(pk=model_id))


def vector_of(model: EmbeddingModel, face: Face) -> FloatArray:
    """A face's vector by a model, float32, shape (dims,): what its network made of it, projected if need be.

    Raises:
        NotEmbeddedError: that network did not see the face.
    """
    embedding = face.embedding_by(network_of(model))
    if embedding is None:
        raise NotEmbeddedError(f"the face was not seen by {network_of(model)!r}, which {model} needs")
    return as_array(project(model, embedding.vector[None])[0])


def own_calibration(model: EmbeddingModel) -> Calibration:
    """The curve of a model, whatever a collection made of it."""
    return Calibration(threshold=float(model.calibration["threshold"]), slope=float(model.calibration["slope"]))


def column_of(model: EmbeddingModel) -> str:
    """The column of `PortraitEmbedding` and `DetectionEmbedding` that holds this model's vectors."""
    return "half" if model.precision == EmbeddingModel.Precision.HALF else "vector"


def column_type(model: EmbeddingModel) -> tuple[str, str]:
    """PostgreSQL's type of the column with the model's dimensions, and the operator class of an index on it."""
    kind = "halfvec" if column_of(model) == "half" else "vector"
    return f"{kind}({model.dims})", f"{kind}_l2_ops"


def distance_to(model: EmbeddingModel, vector: NDArray[np.float32]) -> Expression:
    """The Euclidean distance of a row's vector to this one: spelt as the model's index is, so that it serves.

    vector: float32, shape (dims,), by the same model.
    """
    half = column_of(model) == "half"
    kind = HalfVectorField if half else VectorField
    wanted: Any = HalfVector(vector) if half else np.asarray(vector, dtype=np.float32)
    return L2Distance(Cast(column_of(model), kind(dimensions=model.dims)), wanted)


def only_of(collection_id: UUID) -> Expression:
    """The condition that a row is of this collection, spelt so that no index on it serves.

    For searches by the vectors' index: right after a load of many rows the planner, which has no statistics then,
    takes a collection for a handful of rows, and would fetch and sort all of it.
    """
    return Func(F("collection_id"), Value(collection_id), function="uuid_eq", output_field=BooleanField())


def stored_values(model: EmbeddingModel, vector: NDArray[np.float32]) -> dict[str, Any]:
    """The columns of a row that holds this vector."""
    if column_of(model) == "half":
        return {"half": HalfVector(vector), "vector": None}
    return {"vector": np.asarray(vector, dtype=np.float32), "half": None}


def stored_vector(row: Any) -> FloatArray:
    """The vector of a row of either table, float32, shape (dims,)."""
    return as_array(row.vector if row.vector is not None else row.half)


def as_array(value: Any) -> FloatArray:
    """What a row's column holds, as float32, shape (dims,)."""
    if isinstance(value, HalfVector):
        return value.to_numpy().astype(np.float32)
    return np.asarray(value, dtype=np.float32)


def project(model: EmbeddingModel, vectors: NDArray[np.float32]) -> FloatArray:
    """Vectors of a model out of those of the network behind it. vectors: float32 (n, source's dims); (n, dims).

    A model that is a network answers them as they are.
    """
    if model.source_id is None:
        return np.asarray(vectors, dtype=np.float32)
    mean, components = _projection(model.pk, bytes(model.projection or b""))
    return np.asarray((np.asarray(vectors, dtype=np.float32) - mean) @ components.T, dtype=np.float32)


def pack_projection(mean: NDArray[np.float32], components: NDArray[np.float32]) -> bytes:
    """What `EmbeddingModel.projection` holds: mean (source's dims,) and components (dims, source's dims)."""
    file = io.BytesIO()
    np.savez(file, mean=mean.astype(np.float32), components=components.astype(np.float32))
    return file.getvalue()


@lru_cache(maxsize=16)
def _projection(model_id: int, packed: bytes) -> tuple[FloatArray, FloatArray]:
    return unpack_projection(packed)


def unpack_projection(packed: bytes) -> tuple[FloatArray, FloatArray]:
    """mean and components, as `pack_projection` has them."""
    with np.load(io.BytesIO(packed), allow_pickle=False) as arrays:
        return arrays["mean"], arrays["components"]
