"""Letterbox and back, suppression, similarity transform, warps, overlap."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.geometry import (
    intersection_over_union,
    letterbox,
    non_maximum_suppression,
    similarity_transform,
    transform_points,
    visible_share,
    warp,
)
from inference.types import Box

POINTS = np.array([[10.0, 12.0], [50.0, 9.0], [31.0, 30.0], [14.0, 52.0], [48.0, 55.0]])


@given(height=st.integers(1, 1500), width=st.integers(1, 1500), stride=st.sampled_from([1, 16, 32]))
def test_a_letterbox_fits_the_stride_and_maps_back(height: int, width: int, stride: int) -> None:
    boxed = letterbox(np.zeros((height, width, 3), np.uint8), long_side_px=320, stride_px=stride)
    padded_height, padded_width = boxed.image.shape[:2]
    assert padded_height % stride == padded_width % stride == 0
    assert max(padded_height, padded_width) <= max(320, stride)
    scaled = np.array([min(width, 1e9) / boxed.x_ratio, height / boxed.y_ratio])
    assert np.allclose(boxed.to_original(scaled), [width, height])


def test_a_small_image_is_padded_at_the_right_and_bottom_and_never_enlarged() -> None:
    image = np.full((10, 20, 3), 9, np.uint8)
    boxed = letterbox(image, long_side_px=640, stride_px=32)
    assert boxed.image.shape == (32, 32, 3)
    assert (boxed.image[:10, :20] == 9).all()
    assert boxed.image[10:].max() == boxed.image[:, 20:].max() == 0
    assert (boxed.x_ratio, boxed.y_ratio) == (1.0, 1.0)


def test_suppression_keeps_the_best_of_overlapping_boxes_in_order_of_score() -> None:
    boxes = np.array([[0, 0, 10, 10], [1, 1, 11, 11], [100, 100, 120, 120], [0, 0, 3, 3]], float)
    kept = non_maximum_suppression(boxes, np.array([0.6, 0.9, 0.7, 0.5]), 0.3)
    assert kept.tolist() == [1, 2, 3]
    assert non_maximum_suppression(np.empty((0, 4)), np.empty(0), 0.3).tolist() == []


@given(angle=st.floats(-3.1, 3.1), scale=st.floats(0.05, 20), dx=st.floats(-500, 500), dy=st.floats(-500, 500))
def test_a_similarity_transform_is_found_again(angle: float, scale: float, dx: float, dy: float) -> None:
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    expected = np.array([[cos, -sin, dx], [sin, cos, dy]])
    assert np.allclose(similarity_transform(POINTS, transform_points(expected, POINTS)), expected, atol=1e-6 * scale)


def test_a_mirrored_target_is_not_answered_by_mirroring() -> None:
    matrix = similarity_transform(POINTS, POINTS * [-1, 1])
    assert np.linalg.det(matrix[:, :2]) > 0


def test_the_fit_is_the_least_squares_one() -> None:
    target = POINTS + np.random.default_rng(3).normal(0, 3, POINTS.shape)
    rows = [[[x, -y, 1, 0], [y, x, 0, 1]] for x, y in POINTS]
    a, b, tx, ty = np.linalg.lstsq(np.array(rows).reshape(-1, 4), target.reshape(-1), rcond=None)[0]
    assert np.allclose(similarity_transform(POINTS, target), [[a, -b, tx], [b, a, ty]])


def test_points_that_coincide_have_no_transform() -> None:
    with pytest.raises(ValueError, match="coincide"):
        similarity_transform(np.ones((5, 2)), POINTS)


@pytest.mark.parametrize("scale", [0.1, 0.3, 0.45, 0.9])
def test_a_warp_puts_things_where_its_matrix_says_at_any_reduction(scale: float) -> None:
    image = np.zeros((1000, 1200, 3), np.uint8)
    image[400:600, 300:700] = 255
    matrix = np.array([[scale, 0, -200 * scale], [0, scale, -300 * scale]])
    side = 100
    chip = warp(image, matrix, side).astype(float)
    expected = np.zeros((side, side))
    left, top = int(100 * scale), int(100 * scale)
    expected[top : min(side, int(300 * scale)), left : min(side, int(500 * scale))] = 255
    assert np.abs(chip[..., 0] - expected).mean() < 12  # edges may blur, areas may not move


def test_a_strong_reduction_averages_instead_of_skipping_pixels() -> None:
    stripes = np.zeros((800, 800, 3), np.uint8)
    stripes[:, ::2] = 255
    chip = warp(stripes, np.array([[0.125, 0, 0], [0, 0.125, 0.0]]), 100)
    assert np.abs(chip[5:-5, 5:-5].astype(int) - 127).max() <= 3


def test_the_visible_share_of_a_chip() -> None:
    upright = np.array([[1.0, 0, 0], [0, 1, 0]])
    assert visible_share(upright, 50, 200, 200) == 1.0
    assert visible_share(upright, 50, 25, 200) == pytest.approx(0.5)
    assert visible_share(np.array([[1.0, 0, 500], [0, 1, 0]]), 50, 200, 200) == 0.0


sides = st.floats(min_value=0.5, max_value=1000)
places = st.floats(min_value=-1000, max_value=1000)
boxes = st.builds(Box, places, places, sides, sides)


@given(boxes, boxes)
def test_overlap_is_symmetric_and_a_share(one: Box, other: Box) -> None:
    overlap = intersection_over_union(one, other)
    assert overlap == pytest.approx(intersection_over_union(other, one), abs=1e-9)
    assert 0 <= overlap <= 1 + 1e-9
    assert intersection_over_union(one, one) == pytest.approx(1)
