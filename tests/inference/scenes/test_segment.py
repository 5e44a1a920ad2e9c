"""The segmenter: what it makes of a network's answers, beside the slow version, and of wrong answers."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.client import FakeInferenceClient, Tensors
from inference.config import SegmenterSpec
from inference.errors import InvalidInferenceResponseError, ServerUnavailableError
from inference.local import LocalClient
from inference.scenes.segment import Segmenter
from inference.types import Image, SceneObject
from inference.weights.imported import write_imported
from inference.weights.yolact.architecture import Architecture
from inference.weights.yolact.export import export, origin, parity, served
from inference.weights.yolact.network import Served, Yolact
from tests.inference.scenes.slow_yolact import SlowObject, slow_segment
from tests.inference.scenes.test_segment_masks import blobs
from tests.inference.scenes.test_segment_prototypes import SMALL, heads

TINY = Architecture(size_px=70, classes=5, scales_px=(10, 20, 30, 40, 60), blocks=(1, 1, 2, 1), stem=4, fpn=8, masks=6)
"""70: not a multiple of the strides, as the published sizes are not."""
LABELS = ("cat", "dog", "tree", "car")


def answer_of(seed: int) -> dict[str, np.ndarray]:
    conf, loc, coef = heads(seed)
    proto, _ = blobs(seed, 16, 16)
    return {"loc": loc[None], "conf": conf[None], "coef": coef[None, :, :5], "proto": proto[None]}


def segmenter_answering(answer: dict[str, np.ndarray], spec: SegmenterSpec = SMALL) -> Segmenter:
    return Segmenter(FakeInferenceClient({spec.name: lambda inputs: answer}), spec)


def picture(height: int, width: int, seed: int = 0) -> Image:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def assert_same(found: list[SceneObject], expected: list[SlowObject]) -> None:
    assert [(item.label, item.score) for item in found] == [(item.label, item.score) for item in expected]
    for item, slow in zip(found, expected, strict=True):
        assert [item.box.x, item.box.y, item.box.width, item.box.height] == list(slow.box)
        np.testing.assert_array_equal(item.mask.full()[~slow.doubtful], slow.mask[~slow.doubtful])


@given(st.integers(0, 2**32 - 1), st.integers(16, 120), st.integers(16, 120), st.sampled_from([0.0, 0.15, 0.6]))
@settings(max_examples=12, deadline=None)
def test_objects_are_those_of_the_slow_version(seed: int, height: int, width: int, threshold: float) -> None:
    answer = answer_of(seed)

    found = segmenter_answering(answer).segment(picture(height, width), score_threshold=threshold, top_k=20)

    rows = (answer["loc"][0], answer["conf"][0], answer["coef"][0], answer["proto"][0])
    assert_same(found, slow_segment(rows, SMALL, height, width, threshold, 20))


def test_a_wide_and_a_high_picture_keep_their_own_coordinates() -> None:
    answer = answer_of(3)
    wide = segmenter_answering(answer).segment(picture(60, 240))
    high = segmenter_answering(answer).segment(picture(240, 60))

    assert wide
    assert [item.label for item in wide] == [item.label for item in high]
    assert max(item.box.right for item in wide) > 60
    assert {item.mask.picture_px for item in wide} == {(60, 240)}
    assert all(item.box.right <= 240 and item.box.bottom <= 60 for item in wide)


def test_boxes_without_area_are_dropped_and_the_next_best_take_their_place() -> None:
    answer = answer_of(5)
    plain = segmenter_answering(answer).segment(picture(80, 80), top_k=3)
    flat = {name: value.copy() for name, value in answer.items()}
    best = int(flat["conf"][0, :, 1:].max(axis=1).argmax())
    flat["loc"][0, best] = [0, 0, -90, 0]

    found = segmenter_answering(flat).segment(picture(80, 80), top_k=3)

    assert len(found) == 3
    assert found[0].score < plain[0].score


def test_boxes_are_cut_not_rounded() -> None:
    answer = {name: np.zeros_like(value) for name, value in answer_of(0).items()}
    answer["conf"][0, :, 0] = 1
    answer["conf"][0, 27] = [0, 1, 0, 0]  # row 1, column 1 of 8 cells, ratio 1: centre 0.1875, side 10/64
    answer["proto"][:] = 1

    (item,) = segmenter_answering(answer).segment(picture(100, 100))

    assert (item.box.x, item.box.y, item.box.right, item.box.bottom) == (10, 10, 26, 26)  # 10.9 to 26.6


def test_the_picture_travels_as_floats_of_the_networks_size() -> None:
    seen: list[np.ndarray] = []

    def network(inputs: Tensors) -> dict[str, np.ndarray]:
        seen.append(inputs["image"])
        return answer_of(0)

    image = picture(90, 50)
    Segmenter(FakeInferenceClient({SMALL.name: network}), SMALL).segment(image)

    assert (seen[0].shape, seen[0].dtype) == ((1, 64, 64, 3), np.float32)
    assert seen[0].mean() == pytest.approx(image.mean(), abs=2)
    assert np.any(seen[0] % 1), "rounded to whole grey levels"


def test_several_pictures_answer_in_their_order() -> None:
    def network(inputs: Tensors) -> dict[str, np.ndarray]:
        return answer_of(int(inputs["image"].mean()))

    segmenter = Segmenter(FakeInferenceClient({SMALL.name: network}), SMALL)
    images = [np.full((40, 30 + level, 3), level, np.uint8) for level in (9, 1, 5)]

    together = segmenter.segment_all(images)

    assert [[item.score for item in found] for found in together] == [
        [item.score for item in segmenter.segment(image)] for image in images
    ]
    assert [found[0].mask.picture_px[1] for found in together] == [39, 31, 35]
    assert segmenter.segment_all([]) == []


def test_one_failing_picture_fails_the_call() -> None:
    def network(inputs: Tensors) -> dict[str, np.ndarray]:
        if inputs["image"].mean() > 100:
            raise ServerUnavailableError("gone")
        return answer_of(0)

    segmenter = Segmenter(FakeInferenceClient({SMALL.name: network}), SMALL)
    with pytest.raises(ServerUnavailableError):
        segmenter.segment_all([np.full((20, 20, 3), level, np.uint8) for level in (0, 200, 0)])


@pytest.mark.parametrize(("threshold", "top_k"), [(-0.1, 5), (1.1, 5), (float("nan"), 5), (0.5, 0), (0.5, 101)])
def test_limits_that_make_no_sense_are_refused(threshold: float, top_k: int) -> None:
    with pytest.raises(ValueError, match=r"score_threshold|top_k"):
        segmenter_answering(answer_of(0)).segment(picture(20, 20), score_threshold=threshold, top_k=top_k)


@pytest.mark.parametrize("name", ["loc", "conf", "coef", "proto"])
def test_an_answer_of_another_shape_is_the_servers_fault(name: str) -> None:
    good = answer_of(0)
    for bad in (
        good[name][0],
        good[name][:, :-1],
        np.concatenate([good[name]] * 2),
        good[name].astype(np.float64),
        np.full_like(good[name], np.nan),
        np.empty(0, np.float32),
    ):
        with pytest.raises(InvalidInferenceResponseError, match=name):
            segmenter_answering(good | {name: bad}).segment(picture(20, 20))


def test_prototypes_and_coefficients_must_be_as_many() -> None:
    good = answer_of(0)

    with pytest.raises(InvalidInferenceResponseError, match="4 coefficients for 5 prototypes"):
        segmenter_answering(good | {"coef": good["coef"][..., :4]}).segment(picture(20, 20))


def test_a_model_of_the_repository_gives_what_pytorch_and_the_slow_version_give(tmp_path: Path) -> None:
    torch.manual_seed(3)
    network = Yolact(TINY).eval()
    with torch.no_grad():  # so that it names something
        network.prediction_layers[0].conf_layer.weight.mul_(40)
        network.prediction_layers[0].mask_layer.weight.mul_(20)
        network.proto_net[10].bias.add_(1)
    export(network, TINY, tmp_path / "some.onnx")
    measured = parity(network, TINY, tmp_path / "some.onnx")
    spec = TINY.spec("yolact-tiny", LABELS)
    note = origin(licence="CC0-1.0", homepage="", files={}, parity=measured)
    write_imported(tmp_path / "models", spec, served(TINY), note, {"model.onnx": tmp_path / "some.onnx"})
    image = picture(90, 130, seed=8)

    found = Segmenter(LocalClient(tmp_path / "models"), spec).segment(image, score_threshold=0.05, top_k=30)

    planes = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    small = torch.nn.functional.interpolate(planes, size=(70, 70), mode="bilinear", align_corners=False)
    with torch.inference_mode():
        raw = [tensor[0].numpy() for tensor in Served(network)(small.permute(0, 2, 3, 1))]
    loc, conf, coef, proto = raw
    expected = slow_segment((loc, conf, coef, proto), spec, 90, 130, 0.05, 30)
    assert len(found) == len(expected) > 5
    for item, slow in zip(found, expected, strict=True):
        assert item.label == slow.label
        assert item.score == pytest.approx(slow.score, abs=1e-4)
        assert [item.box.x, item.box.y, item.box.right - item.box.x] == pytest.approx(
            [slow.box[0], slow.box[1], slow.box[2]], abs=1
        )
        union = (item.mask.full() | slow.mask).sum()
        assert (item.mask.full() & slow.mask).sum() >= 0.99 * union
