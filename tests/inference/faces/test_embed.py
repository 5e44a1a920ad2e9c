"""Batches of chips, refused answers, and the calibration of similarity."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.client import FakeInferenceClient, Tensors
from inference.config import DLIB_RESNET
from inference.errors import InvalidInferenceResponseError
from inference.faces.embed import Embedder, distance, distance_at, similarity
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


def test_similarity_is_one_half_at_the_threshold_and_calibrated_around_it() -> None:
    limit = DLIB_RESNET.distance_threshold
    assert similarity(limit, DLIB_RESNET) == 0.5
    assert similarity(0.7, DLIB_RESNET, threshold=0.7) == 0.5
    assert similarity(0.40, DLIB_RESNET) > 0.9  # two photos of one person
    assert similarity(0.80, DLIB_RESNET) < 0.05  # two strangers


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_similarity_falls_with_distance_and_never_overflows(one: float, other: float) -> None:
    near, far = sorted((one, other))
    assert 1 >= similarity(near, DLIB_RESNET) >= similarity(far, DLIB_RESNET) >= 0


@given(st.floats(0.001, 0.999))
def test_a_similarity_has_its_distance(value: float) -> None:
    assert similarity(distance_at(value, DLIB_RESNET), DLIB_RESNET) == pytest.approx(value)


def test_the_ends_of_similarity_accept_everything_and_nothing() -> None:
    assert distance_at(0, DLIB_RESNET) == np.inf
    assert distance_at(1, DLIB_RESNET) == -np.inf


def test_embeddings_of_two_models_have_no_distance() -> None:
    one, other = Embedding("a", np.zeros(4, np.float32)), Embedding("b", np.zeros(4, np.float32))
    with pytest.raises(ValueError, match="compared"):
        distance(one, other)
    assert distance(one, Embedding("a", np.array([3, 4, 0, 0], np.float32))) == 5
