"""Masks, the squashed input and run lengths beside slow versions of them."""

from unittest import mock

import cv2
import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco
from torch.nn import functional

from inference.scenes import masks
from inference.scenes.masks import assemble, squashed, taps
from inference.scenes.rle import mask_to_rle, rle_to_mask
from inference.types import Mask
from tests.inference.scenes.slow_yolact import slow_levels

SEEDS = st.integers(0, 2**32 - 1)
SIDES = st.integers(1, 90)
EDGES = st.floats(-0.25, 1.25, width=32)


def blobs(seed: int, rows: int = 18, columns: int = 18) -> tuple[np.ndarray, np.ndarray]:
    """Prototypes of smooth blobs with both signs, and coefficients."""
    rng = np.random.default_rng(seed)
    proto = np.stack([cv2.GaussianBlur(rng.normal(0, 6, (rows, columns)), (0, 0), 1.5) for _ in range(5)], axis=-1)
    return np.maximum(proto, 0).astype(np.float32), np.tanh(rng.normal(0, 1, 5)).astype(np.float32)


@given(SEEDS, SIDES, SIDES, EDGES, EDGES, EDGES, EDGES)
@settings(max_examples=150, deadline=None)
@example(0, 90, 90, 0.0, 0.0, 1.0, 1.0)
@example(1, 7, 5, 0.0, 0.0, 1.0, 1.0)
@example(2, 40, 40, 0.4, 0.4, 0.4, 0.4)
@example(3, 64, 48, 0.8, 0.9, 0.2, 0.1)
def test_a_mask_is_that_of_the_slow_version(
    seed: int, height: int, width: int, x1: float, y1: float, x2: float, y2: float
) -> None:
    proto, coef = blobs(seed)

    mask = assemble(proto, coef, np.array([x1, y1, x2, y2], np.float32), height, width)

    levels = slow_levels(proto, coef, [x1, y1, x2, y2], height, width)
    sure = np.abs(levels - 0.5) > 1e-5
    assert mask.picture_px == (height, width)
    np.testing.assert_array_equal(mask.full()[sure], (levels > 0.5)[sure])


@given(SEEDS, st.integers(20, 200), st.integers(20, 200), EDGES, EDGES, EDGES, EDGES)
@settings(max_examples=60, deadline=None)
def test_enlarging_a_region_gives_the_bits_of_enlarging_the_whole(
    seed: int, height: int, width: int, x1: float, y1: float, x2: float, y2: float
) -> None:
    """To the last bit: the whole is enlarged here by the same formula. The numbers are such that sums are exact in
    any order, as that of a product of matrices depends on their size."""
    proto, coef = (np.round(values * 8) / 8 for values in blobs(seed, 12, 20))
    box = np.array([x1, y1, x2, y2], np.float32)

    mask = assemble(proto, coef, box, height, width)

    edges = box * np.float32([20, 12, 20, 12])
    (left, right), (top, bottom) = np.sort(edges[::2]), np.sort(edges[1::2])
    rows, columns = np.mgrid[0:12, 0:20]
    inside = (columns >= left - 1) & (columns < right + 1) & (rows >= top - 1) & (rows < bottom + 1)
    half = np.float32(0.5)
    cells = np.where(inside, half * (1 + np.tanh((proto @ coef) * half)), np.float32(0))
    across, down = taps(20, width), taps(12, height)
    wide = cells[:, across.low] * (1 - across.weight) + cells[:, across.high] * across.weight
    weight = down.weight[:, None]
    whole = wide[down.low] * (1 - weight) + wide[down.high] * weight
    np.testing.assert_array_equal(mask.full(), whole > half)


def test_a_mask_may_spill_over_its_box_by_the_padding_and_no_more() -> None:
    proto, coef = np.ones((10, 10, 1), np.float32), np.array([9], np.float32)

    mask = assemble(proto, coef, np.array([0.4, 0.4, 0.6, 0.6], np.float32), 100, 100).full()

    rows = np.flatnonzero(mask.any(axis=1))
    # cells 3 to 6 are set; halfway to the empty ones beside, the level is a half
    assert (rows[0], rows[-1]) == (30, 69)
    assert mask[50, 30]
    assert not mask[29].any()


def test_a_mask_of_nothing_is_empty_and_still_knows_its_picture() -> None:
    proto, coef = np.ones((10, 10, 1), np.float32), np.array([-9], np.float32)

    mask = assemble(proto, coef, np.array([0, 0, 1, 1], np.float32), 30, 40)

    assert mask.full().shape == (30, 40)
    assert not mask.full().any()


def test_a_box_outside_of_the_picture_has_an_empty_mask() -> None:
    proto, coef = np.ones((10, 10, 1), np.float32), np.array([9], np.float32)

    for box in ([1.5, 0, 2, 1], [-2, 0, -1.5, 1], [0, 3, 1, 4]):
        assert not assemble(proto, coef, np.array(box, np.float32), 30, 40).full().any()


def test_only_the_region_of_a_mask_is_kept() -> None:
    proto, coef = np.ones((10, 10, 1), np.float32), np.array([9], np.float32)

    mask = assemble(proto, coef, np.array([0.4, 0.4, 0.5, 0.5], np.float32), 4000, 3000)

    assert mask.bits.size < 0.17 * 4000 * 3000


def test_numbers_beyond_the_exponential_make_no_warning() -> None:
    proto, coef = np.full((4, 4, 1), 1e6, np.float32), np.array([-1], np.float32)

    with np.errstate(all="raise"):
        assert not assemble(proto, coef, np.array([0, 0, 1, 1], np.float32), 8, 8).full().any()


@given(SEEDS, st.integers(1, 400), st.integers(1, 400), st.integers(1, 60), st.booleans())
@settings(max_examples=100, deadline=None)
def test_the_input_is_squashed_in_float_without_smoothing(
    seed: int, height: int, width: int, size: int, large: bool
) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)

    with mock.patch.object(masks, "_LARGE_PX", 0 if large else height * width):
        ours = squashed(image, size)

    planes = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    expected = functional.interpolate(planes, size=(size, size), mode="bilinear", align_corners=False)[0]
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, expected.permute(1, 2, 0).numpy(), atol=2e-2)


@pytest.mark.parametrize(("height", "width"), [(480, 640), (3000, 4000), (800, 12000), (12000, 800), (17, 16)])
def test_the_input_is_opencvs(height: int, width: int) -> None:
    image = np.random.default_rng(5).integers(0, 256, (height, width, 3), dtype=np.uint8)

    expected = cv2.resize(image.astype(np.float32), (550, 550), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(squashed(image, 550), expected, atol=0.02)


@given(SEEDS, st.integers(1, 30), st.integers(1, 30), st.integers(0, 5), st.integers(0, 5), st.floats(0, 1))
@settings(max_examples=150, deadline=None)
@example(0, 6, 6, 0, 0, 1.0)
@example(0, 6, 6, 0, 0, 0.0)
def test_run_lengths_are_pycocotools_own(seed: int, rows: int, columns: int, top: int, left: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    bits = rng.random((rows, columns)) < share
    picture = (top + rows + int(rng.integers(0, 4)), left + columns + int(rng.integers(0, 4)))
    mask = Mask.of(picture, left, top, bits)

    rle = mask_to_rle(mask)

    expected = coco.encode(np.asfortranarray(mask.full().astype(np.uint8)))
    assert rle == {"size": list(picture), "counts": expected["counts"].decode()}
    np.testing.assert_array_equal(rle_to_mask(rle).full(), mask.full())


def test_an_empty_region_has_run_lengths_too() -> None:
    mask = Mask.of((4, 6), 0, 0, np.zeros((0, 0), dtype=bool))

    assert not coco.decode({"size": [4, 6], "counts": mask_to_rle(mask)["counts"].encode()}).any()
    assert rle_to_mask(mask_to_rle(mask)).full().shape == (4, 6)


def test_a_read_mask_keeps_only_its_region() -> None:
    whole = np.zeros((50, 40), dtype=bool)
    whole[10:12, 20:25] = True

    mask = rle_to_mask(mask_to_rle(Mask.of((50, 40), 0, 0, whole)))

    assert (mask.top, mask.left, mask.bits.shape) == (10, 20, (2, 5))


@pytest.mark.parametrize(
    "rle",
    [
        {},
        {"size": [4, 4]},
        {"size": [4], "counts": "0"},
        {"size": [0, 4], "counts": "0"},
        {"size": [4, "x"], "counts": "0"},
        {"size": [4, 4], "counts": "ä"},
        {"size": [4, 4], "counts": "PPPPPPPP1"},
        {"size": None, "counts": "0"},
    ],
)
def test_what_is_no_mask_is_refused(rle: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="not a mask"):
        rle_to_mask(rle)
