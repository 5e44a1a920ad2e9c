"""Priors, boxes and Fast NMS beside slow versions of them, and what must be true of them for any input."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.config import SegmenterSpec
from inference.scenes.prototypes import Candidates, decode, fast_nms, find, overlaps, spec_priors
from inference.weights.yolact.architecture import VARIANTS, Architecture
from tests.inference.scenes.slow_yolact import slow_box, slow_find, slow_iou, slow_priors

SMALL = Architecture(size_px=64, classes=4, scales_px=(10, 20, 30, 40, 60)).spec("yolact-small", ("a", "b", "c"))
COUNT = len(spec_priors(SMALL))

SEEDS = st.integers(0, 2**32 - 1)


def heads(seed: int, spec: SegmenterSpec = SMALL, sharp: float = 3.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """conf, loc, coef with overlaps and many scores on both sides of the thresholds."""
    rng = np.random.default_rng(seed)
    count = len(spec_priors(spec))
    logits = rng.normal(0, sharp, (count, 1 + len(spec.labels)))
    logits[:, 0] += 2
    conf = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    loc = rng.normal(0, 2, (count, 4))
    coef = np.tanh(rng.normal(0, 1, (count, 8)))
    return conf.astype(np.float32), loc.astype(np.float32), coef.astype(np.float32)


def boxes_of(seed: int, count: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 0.7, (count, 2))
    return np.hstack([low, low + rng.uniform(0.05, 0.5, (count, 2))]).astype(np.float32)


def as_set(found: Candidates) -> set[tuple[float, int, tuple[float, ...]]]:
    return {
        (float(score), int(label), tuple(box.tolist()))
        for score, label, box in zip(found.scores, found.labels, found.boxes, strict=True)
    }


@pytest.mark.parametrize("variant", VARIANTS)
def test_priors_are_those_of_the_published_configuration(variant: str) -> None:
    spec = VARIANTS[variant].spec("yolact-x", ("x",) * 80)

    priors = spec_priors(spec)

    assert len(priors) == {"resnet50": 19248, "base": 19248, "im700": 30963}[variant]
    np.testing.assert_allclose(priors, np.array(slow_priors(spec)), atol=1e-7)


def test_priors_are_squares_of_three_sizes_a_cell() -> None:
    priors = spec_priors(SMALL)

    np.testing.assert_array_equal(priors[:, 2], priors[:, 3])
    np.testing.assert_allclose(priors[:3, 2] * 64, [10, 10 * 0.5**0.5, 10 * 2**0.5], rtol=1e-6)
    np.testing.assert_allclose(priors[3, :2], [1.5 / 8, 0.5 / 8])  # the next cell is to the right


def test_priors_cannot_be_changed_by_those_who_share_them() -> None:
    with pytest.raises(ValueError, match="read-only"):
        spec_priors(SMALL)[0, 0] = 1


@given(SEEDS)
@settings(max_examples=20, deadline=None)
def test_boxes_are_those_of_the_slow_version(seed: int) -> None:
    _, loc, _ = heads(seed)

    boxes = decode(loc, spec_priors(SMALL))

    slow = [slow_box(row.tolist(), prior) for row, prior in zip(loc, slow_priors(SMALL), strict=True)]
    np.testing.assert_allclose(boxes, slow, atol=1e-5)


def test_a_box_of_absurd_size_stays_a_number() -> None:
    boxes = decode(np.full((1, 4), 1e6, np.float32), spec_priors(SMALL)[:1])

    assert np.isfinite(boxes).all()


@given(SEEDS)
@settings(max_examples=20, deadline=None)
def test_overlaps_are_those_of_the_slow_version(seed: int) -> None:
    boxes = boxes_of(seed, 8)

    expected = [[slow_iou(one, other) for other in boxes.tolist()] for one in boxes.tolist()]
    np.testing.assert_allclose(overlaps(boxes), expected, atol=1e-5)


def test_boxes_without_area_overlap_nothing() -> None:
    assert overlaps(np.array([[0.5, 0.5, 0.5, 0.5], [0.5, 0.5, 0.5, 0.5]], np.float32)).max() == 0


def test_a_suppressed_box_still_suppresses() -> None:
    """A chain: the second overlaps the first and the third overlaps the second, but not the first. Greedy
    suppression would keep the third."""
    chain = np.array([[0.0, 0, 0.40, 1], [0.1, 0, 0.50, 1], [0.2, 0, 0.60, 1]], np.float32)

    assert overlaps(chain)[0, 2] <= 0.5
    assert fast_nms(chain, 0.5).tolist() == [True, False, False]


def test_an_overlap_of_exactly_the_bound_stays() -> None:
    boxes = np.array([[0, 0, 0.5, 1], [0, 0, 0.25, 1]], np.float32)

    assert overlaps(boxes)[0, 1] == 0.5
    assert fast_nms(boxes, 0.5).all()


@given(SEEDS, st.integers(1, 30))
@settings(max_examples=40, deadline=None)
def test_exactly_the_boxes_without_a_better_neighbour_stay(seed: int, count: int) -> None:
    boxes = boxes_of(seed, count)

    kept = fast_nms(boxes, 0.5)

    rows = boxes.tolist()
    assert kept.tolist() == [
        not any(slow_iou(rows[better], rows[index]) > 0.5 for better in range(index)) for index in range(count)
    ]


@given(SEEDS, st.integers(2, 20))
@settings(max_examples=30, deadline=None)
def test_what_a_worse_box_is_changes_nothing_for_the_better_ones(seed: int, count: int) -> None:
    boxes = boxes_of(seed, count)
    other = boxes.copy()
    other[-1] = boxes[0]

    assert fast_nms(boxes, 0.5)[:-1].tolist() == fast_nms(other, 0.5)[:-1].tolist()


@given(SEEDS, st.sampled_from([0.0, 0.02, 0.05, 0.15, 0.5]))
@settings(max_examples=25, deadline=None)
def test_objects_are_those_of_the_slow_version(seed: int, threshold: float) -> None:
    conf, loc, coef = heads(seed)

    found = find(conf, loc, coef, SMALL, threshold)

    boxes = decode(loc, spec_priors(SMALL))
    expected = slow_find(conf, boxes.tolist(), SMALL, threshold)
    assert [(int(label), float(score)) for label, score in zip(found.labels, found.scores, strict=True)] == [
        (label, score) for _, label, score in expected
    ]
    np.testing.assert_allclose(found.boxes, boxes[[prior for prior, _, _ in expected]], atol=1e-6)
    np.testing.assert_array_equal(found.coef, coef[[prior for prior, _, _ in expected]])


@given(SEEDS, st.floats(0.05, 0.9))
@settings(max_examples=25, deadline=None)
def test_to_drop_low_scores_first_gives_what_dropping_them_last_gives(seed: int, threshold: float) -> None:
    conf, loc, coef = heads(seed)

    early = find(conf, loc, coef, SMALL, threshold)

    late = find(conf, loc, coef, SMALL, 0.0)
    above = late.scores > np.float32(threshold)
    np.testing.assert_array_equal(early.scores, late.scores[above])
    np.testing.assert_array_equal(early.labels, late.labels[above])
    np.testing.assert_array_equal(early.boxes, late.boxes[above])


@given(SEEDS, st.sampled_from([0.0, 0.1, 0.4]))
@settings(max_examples=20, deadline=None)
def test_the_order_of_the_labels_changes_nothing(seed: int, threshold: float) -> None:
    conf, loc, coef = heads(seed)
    order = np.random.default_rng(seed).permutation(3)

    plain = find(conf, loc, coef, SMALL, threshold)
    turned = find(conf[:, [0, *(order + 1)]], loc, coef, SMALL, threshold)

    assert as_set(plain) == as_set(replace_labels(turned, order))


def replace_labels(found: Candidates, order: np.ndarray) -> Candidates:
    return replace(found, labels=order[found.labels])


@given(SEEDS)
@settings(max_examples=20, deadline=None)
def test_the_order_of_priors_within_a_cell_of_equal_priors_changes_nothing(seed: int) -> None:
    """Three priors a cell that are alike: which of them says something is no matter."""
    spec = replace(SMALL, ratios=(1.0, 1.0, 1.0))
    conf, loc, coef = heads(seed, spec)
    order = np.concatenate([3 * cell + np.random.default_rng(seed + cell).permutation(3) for cell in range(COUNT // 3)])

    assert as_set(find(conf, loc, coef, spec, 0.1)) == as_set(find(conf[order], loc[order], coef[order], spec, 0.1))


def test_one_place_may_be_two_things() -> None:
    conf = np.zeros((COUNT, 4), np.float32)
    conf[:, 0] = 1
    conf[7] = [0.1, 0.5, 0.4, 0.0]

    found = find(conf, np.zeros((COUNT, 4), np.float32), np.zeros((COUNT, 2), np.float32), SMALL, 0.15)

    assert found.labels.tolist() == [0, 1]
    np.testing.assert_array_equal(found.boxes[0], found.boxes[1])


def test_a_place_counts_by_its_best_class_and_then_all_its_classes_do() -> None:
    conf = np.zeros((COUNT, 4), np.float32)
    conf[:, 0] = 1
    conf[7] = [0.9, 0.06, 0.03, 0.01]
    conf[200] = [0.9, 0.05, 0.04, 0.01]  # best is not above 0.05

    found = find(conf, np.zeros((COUNT, 4), np.float32), np.zeros((COUNT, 2), np.float32), SMALL, 0.02)

    np.testing.assert_allclose(found.scores, [0.06, 0.03])


def test_nothing_likely_is_nothing_found() -> None:
    conf = np.zeros((COUNT, 4), np.float32)
    conf[:, 0] = 1

    found = find(conf, np.zeros((COUNT, 4), np.float32), np.zeros((COUNT, 2), np.float32), SMALL, 0.15)

    assert (len(found.scores), found.boxes.shape, found.coef.shape) == (0, (0, 4), (0, 2))


def test_at_most_as_many_as_the_specification_says() -> None:
    conf, loc, coef = heads(1)

    assert len(find(conf, loc, coef, replace(SMALL, max_objects=7), 0.0).scores) == 7
