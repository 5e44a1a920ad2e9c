"""Batches of chips, refused answers, and the calibration of similarity."""

import numpy as np
import pytest

from inference.client import FakeInferenceClient, Tensors
from inference.config import DLIB_RESNET
from inference.errors import InvalidInferenceResponseError
from inference.faces.embed import Embedder, distance
from inference.types import Embedding


def first_pixel(inputs: Tensors) -> dict[str, np.ndarray]:
    return {"embedding": np.repeat(inputs["image"][:, 0, 0, :1].astype(np.float32), 128, axis=1)}


def test_chips_travel_in_full_batches_and_keep_their_order() -> None:
    client = FakeInferenceClient({"dlib_resnet": first_pixel})
    embeddings = Embedder(client, DLIB_RESNET).embed([np.full((150, 150, 3), value, np.uint8) for value in range(70)])
    assert [shapes["image"][0] for _, shapes in client.calls] == [32, 32, 6]
    assert [embedding.vector[0] for embedding in embeddings] == list(range(70))


def test_nothing_to_embed_is_no_call() -> None:
    client = FakeInferenceClient({})
    assert Embedder(client, DLIB_RESNET).embed([]) == []


@pytest.mark.parametrize("answer", [np.zeros((1, 64)), np.zeros((2, 128)), np.full((1, 128), np.nan), np.zeros(128)])
def test_an_answer_that_is_no_embedding_is_refused(answer: np.ndarray) -> None:
    client = FakeInferenceClient({"dlib_resnet": lambda _: {"embedding": answer}})
    with pytest.raises(InvalidInferenceResponseError, match="128"):
        Embedder(client, DLIB_RESNET).embed([np.zeros((150, 150, 3), np.uint8)])


def test_embeddings_of_two_models_have_no_distance() -> None:
    one, other = Embedding("a", np.zeros(4, np.float32)), Embedding("b", np.zeros(4, np.float32))
    with pytest.raises(ValueError, match="compared"):
        distance(one, other)
    assert distance(one, Embedding("a", np.array([3, 4, 0, 0], np.float32))) == 5
