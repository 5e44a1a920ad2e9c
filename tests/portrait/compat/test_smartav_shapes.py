"""How old clients are told things."""

from typing import Any

import pytest

from inference.types import Box
from portrait.compat.smartav import shapes


def test_a_box_is_a_text_of_whole_pixels() -> None:
    assert shapes.box_text(Box(10.4, 20.6, 30.0, 40.5)) == "10, 21, 30, 40"
    assert shapes.box_object(Box(10.456, 20, 30, 40)) == {"x": 10.46, "y": 20.0, "w": 30.0, "h": 40.0}


@pytest.mark.parametrize("told", ["example.org/x", "a", 5, 0, False, ["x"], {"a": 1}, {"metadata": "x"}])
def test_metadata_come_back_as_they_were_sent(told: Any) -> None:
    assert shapes.told_metadata(shapes.stored_metadata(told)) == told


def test_no_metadata() -> None:
    assert shapes.stored_metadata("") == shapes.stored_metadata(None) == {}
    assert shapes.told_metadata({}) == ""
    assert shapes.told_metadata({"team": "ä"}) == '{"team": "ä"}'


@pytest.mark.parametrize(
    ("told", "meant"),
    [
        ("yolact_base_54_800000.pth", "yolact-base"),
        ("C:\\weights\\yolact_im700_54_800000.pth", "yolact-im700"),
        ("weights/yolact_resnet50_54_800000", "yolact-resnet50"),
        ("yolact-mini", "yolact-mini"),
        ("mine/yolact-zoo.pth", "yolact-zoo"),
        ("instance_segmentation/yolov7-seg.pt", None),
        ("  ", None),
        ("", None),
        ("/", None),
    ],
)
def test_a_file_of_weights_means_a_model(told: str, meant: str | None) -> None:
    assert shapes.model_of(told) == meant


@pytest.mark.parametrize(
    ("told", "number"),
    [("unknown_person_12", 12), ("unknown_person_", None), ("12", None), ("unknown_person_²", None), ("x", None)],
)
def test_the_number_of_a_stranger(told: str, number: int | None) -> None:
    assert shapes.unknown_number(told) == number
