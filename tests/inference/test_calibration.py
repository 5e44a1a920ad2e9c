"""Distance to similarity and back."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.calibration import Calibration
from inference.config import DLIB_RESNET

CURVE = DLIB_RESNET.calibration


def test_similarity_is_one_half_at_the_threshold_and_calibrated_around_it() -> None:
    assert CURVE.similarity(CURVE.threshold) == 0.5
    assert Calibration(0.7, CURVE.slope).similarity(0.7) == 0.5
    assert CURVE.similarity(0.40) > 0.9  # two photos of one person
    assert CURVE.similarity(0.80) < 0.05  # two strangers


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_similarity_falls_with_distance_and_never_overflows(one: float, other: float) -> None:
    near, far = sorted((one, other))
    assert 1 >= CURVE.similarity(near) >= CURVE.similarity(far) >= 0


@given(st.floats(0.001, 0.999))
def test_a_similarity_has_its_distance(value: float) -> None:
    assert CURVE.similarity(CURVE.distance(value)) == pytest.approx(value)


def test_the_ends_of_similarity_accept_everything_and_nothing() -> None:
    assert CURVE.distance(0) == math.inf
    assert CURVE.distance(1) == -math.inf
