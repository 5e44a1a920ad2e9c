"""The drawn scenes: their masks, boxes and sentences say what is in the picture."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.weights.mini.scenes import COLOURS, SHAPES, Scene, draw_scene


def scene(seed: int, **options: int) -> Scene:
    return draw_scene(np.random.default_rng(seed), **options)


def test_the_same_seed_draws_the_same_scene() -> None:
    one, other = scene(5), scene(5)
    assert (one.image == other.image).all()
    assert one.sentence == other.sentence
    assert not (one.image == scene(6).image).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6))
def test_masks_do_not_meet_and_fill_their_boxes(seed: int) -> None:
    drawn = scene(seed)
    assert drawn.image.shape == (128, 128, 3)
    assert drawn.image.dtype == np.uint8
    assert 1 <= len(drawn.shapes) <= 3
    assert sum(shape.bits.astype(int) for shape in drawn.shapes).max() == 1  # type: ignore[union-attr]
    for shape in drawn.shapes:
        box = shape.box
        inside = shape.bits[int(box.y) : int(box.bottom), int(box.x) : int(box.right)]
        assert inside.sum() == shape.bits.sum() > 30
        assert inside.any(axis=0)[[0, -1]].all()
        assert inside.any(axis=1)[[0, -1]].all()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6))
def test_a_shape_has_its_colour(seed: int) -> None:
    for shape in scene(seed).shapes:
        middle = np.median(scene(seed).image[shape.bits], axis=0)
        nearest = min(COLOURS, key=lambda name: float(np.abs(middle - COLOURS[name]).sum()))
        assert nearest == shape.colour


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6))
def test_the_sentence_tells_every_shape_in_its_order(seed: int) -> None:
    drawn = scene(seed)
    middles = {f"a {shape.colour} {shape.label}": np.argwhere(shape.bits).mean(axis=0)[::-1] for shape in drawn.shapes}
    told = sorted(middles, key=drawn.sentence.index)
    assert all(drawn.sentence.count(name) == 1 for name in told)
    axis = 1 if " above " in drawn.sentence else 0
    places = [middles[name][axis] for name in told]
    assert places == sorted(places)


def test_all_shapes_and_colours_occur() -> None:
    rng = np.random.default_rng(1)
    shapes = [shape for _ in range(150) for shape in draw_scene(rng).shapes]
    assert {shape.label for shape in shapes} == set(SHAPES)
    assert {shape.colour for shape in shapes} == set(COLOURS)


@pytest.mark.parametrize("size_px", [64, 300])
def test_a_scene_is_as_large_as_asked(size_px: int) -> None:
    assert scene(3, size_px=size_px, most=1).image.shape == (size_px, size_px, 3)
