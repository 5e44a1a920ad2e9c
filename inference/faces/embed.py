"""Chips to vectors, and how far two vectors are apart."""

from collections.abc import Sequence

import numpy as np

from inference.client import InferenceClient
from inference.config import EmbedderSpec
from inference.errors import InvalidInferenceResponseError
from inference.types import Embedding, Image


class Embedder:
    """Turns aligned chips into embeddings with the network that `spec` describes."""

    def __init__(self, client: InferenceClient, spec: EmbedderSpec) -> None:
        self._client = client
        self.spec = spec

    def embed(self, chips: Sequence[Image]) -> list[Embedding]:
        """One embedding a chip (RGB uint8, `chip_px` squared), at most `max_batch` chips in one call.

        Raises:
            ServerError: the inference server did not answer as asked.
        """
        step = self.spec.max_batch
        return [item for start in range(0, len(chips), step) for item in self._batch(chips[start : start + step])]

    def _batch(self, chips: Sequence[Image]) -> list[Embedding]:
        spec = self.spec
        answer = self._client.infer(spec.name, {"image": np.stack(chips)}, ["embedding"], deadline_s=spec.deadline_s)
        vectors = answer["embedding"]
        if vectors.shape != (len(chips), spec.dims) or not np.isfinite(vectors).all():
            raise InvalidInferenceResponseError(
                f"model {spec.name!r} answered embeddings of shape {vectors.shape}, "
                f"not {len(chips)} finite ones of {spec.dims} numbers"
            )
        return [Embedding(model=spec.name, vector=vector) for vector in vectors]


def distance(one: Embedding, other: Embedding) -> float:
    """Euclidean distance.

    Raises:
        ValueError: the embeddings come from different models and cannot be compared.
    """
    if one.model != other.model:
        raise ValueError(f"embeddings of {one.model!r} and {other.model!r} cannot be compared")
    return float(np.linalg.norm(one.vector - other.vector))
