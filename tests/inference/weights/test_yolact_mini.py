"""`yolact-mini`, as it lies in the repository: whole, and as good as its notes say, on scenes of other seeds. And how
it was taught."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from inference.config import SegmenterSpec, spec_from_json
from inference.errors import UnknownModelError, WeightsError
from inference.local import LocalClient
from inference.scenes.prototypes import decode
from inference.scenes.segment import Segmenter
from inference.types import SceneObject
from inference.weights.imported import changed_files, read_record
from inference.weights.mini.install import MINIS, install_mini, is_current, mini_names
from inference.weights.mini.measure_yolact import held_out_scenes, measure
from inference.weights.mini.scenes import SHAPES, DrawnShape
from inference.weights.mini.yolact_loss import Truth, corners, encoded, loss, match, overlaps

NAME = "yolact-mini"
FOLDER = MINIS / NAME
SEED = 20_261_122
"""Neither of training nor of the notes' measurement."""


@pytest.fixture(scope="module")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    install_mini(folder, NAME)
    return folder


@pytest.fixture(scope="module")
def segmenter(models_dir: Path) -> Segmenter:
    spec = spec_from_json(read_record(models_dir, NAME)["parameters"]["portrait.spec"])
    assert isinstance(spec, SegmenterSpec)
    return Segmenter(LocalClient(models_dir), spec)


def test_it_knows_scenes_that_it_was_not_taught(segmenter: Segmenter) -> None:
    scores = measure(segmenter, held_out_scenes(SEED, 120))

    assert scores["mask_ap50"] >= 0.9
    assert all(scores[f"mask_ap50_{shape}"] >= 0.8 for shape in SHAPES)


def test_what_it_is_sure_of_is_there_and_nothing_is_missing(segmenter: Segmenter) -> None:
    scenes = held_out_scenes(SEED + 1, 60)

    found = segmenter.segment_all([scene.image for scene in scenes], score_threshold=0.5)

    pairs = [
        (shape, next((item for item in items if item.label == shape.label and iou(item, shape) > 0.5), None))
        for scene, items in zip(scenes, found, strict=True)
        for shape in scene.shapes
    ]
    met = [iou(item, shape) for shape, item in pairs if item is not None]
    assert len(met) >= 0.93 * len(pairs)
    assert np.mean(met) >= 0.8
    assert sum(len(items) for items in found) <= 1.1 * len(pairs)


def iou(item: SceneObject, shape: DrawnShape) -> float:
    mask = item.mask.full()
    return float((mask & shape.bits).sum() / (mask | shape.bits).sum())


def test_it_says_in_its_specification_that_it_knows_shapes_only(segmenter: Segmenter) -> None:
    assert segmenter.spec.domain == "drawn scenes of coloured shapes only, not photos"
    assert segmenter.spec.labels == SHAPES


def test_its_notes_name_seed_versions_time_and_a_score_above_the_bound() -> None:
    notes = json.loads((FOLDER / "training.json").read_text())

    assert notes["held_out"]["mask_ap50"] >= 0.9
    assert notes["held_out"]["scenes"] >= 500
    assert notes["held_out"]["seed"] != notes["plan"]["seed"]
    assert notes["wall_time_s"]["all"] <= 20 * 60
    assert {"torch", "numpy", "onnxruntime", "python"} <= notes["versions"].keys()
    assert notes["log"][-1]["step"] == notes["plan"]["steps"]
    assert notes["log"][-1]["class"] < notes["log"][0]["class"] / 10
    assert "CC0" in (FOLDER / "LICENSE").read_text()
    assert (FOLDER / "model.onnx").stat().st_size < 2_000_000


def test_the_installed_model_is_the_committed_one(models_dir: Path) -> None:
    assert NAME in mini_names()
    assert changed_files(models_dir, NAME) == []
    assert (models_dir / NAME / "1" / "model.onnx").read_bytes() == (FOLDER / "model.onnx").read_bytes()
    assert "max_batch_size: 4" in (models_dir / NAME / "config.pbtxt").read_text()
    assert read_record(models_dir, NAME)["origin"]["licence"] == "CC0-1.0"


def test_a_model_that_was_changed_there_or_here_is_not_current(tmp_path: Path) -> None:
    minis, models = tmp_path / "minis", tmp_path / "models"
    shutil.copytree(FOLDER, minis / NAME)
    assert not is_current(models, NAME, source=minis)

    install_mini(models, NAME, source=minis)
    assert is_current(models, NAME, source=minis)

    (minis / NAME / "model.onnx").write_bytes(b"taught again")
    assert not is_current(models, NAME, source=minis)
    install_mini(models, NAME, source=minis)
    assert is_current(models, NAME, source=minis)

    (models / NAME / "1" / "model.onnx").write_bytes(b"damaged")
    assert not is_current(models, NAME, source=minis)


def test_a_small_model_that_is_not_there_or_not_whole(tmp_path: Path) -> None:
    with pytest.raises(UnknownModelError, match="yolact-mini"):
        install_mini(tmp_path / "models", "yolact-maxi")
    shutil.copytree(FOLDER, tmp_path / "minis" / NAME)
    (tmp_path / "minis" / NAME / "model.onnx").unlink()
    with pytest.raises(WeightsError, match="not whole"):
        install_mini(tmp_path / "models", NAME, source=tmp_path / "minis")
    (tmp_path / "minis" / NAME / "served.json").write_text("{}")
    with pytest.raises(WeightsError, match="not whole"):
        install_mini(tmp_path / "models", NAME, source=tmp_path / "minis")
    assert not (tmp_path / "models" / NAME).exists()


# --- teaching -----------------------------------------------------------------------------------

PRIORS = torch.tensor([[0.25, 0.25, 0.2, 0.2], [0.5, 0.5, 0.2, 0.2], [0.75, 0.75, 0.2, 0.2], [0.5, 0.5, 0.9, 0.9]])


def truth(boxes: list[list[float]], labels: list[int]) -> Truth:
    masks = torch.zeros(1, len(boxes), 8, 8)
    masks[..., 2:6, 2:6] = 1
    return Truth(torch.tensor([boxes]), torch.tensor([labels]), masks)


def test_what_is_taught_is_what_decoding_undoes() -> None:
    boxes = torch.tensor([[0.1, 0.2, 0.4, 0.9], [0.3, 0.3, 0.5, 0.4], [0.0, 0.0, 1.0, 1.0], [0.6, 0.1, 0.7, 0.8]])

    back = decode(encoded(boxes, PRIORS).numpy(), PRIORS.numpy())

    np.testing.assert_allclose(back, boxes.numpy(), atol=1e-6)


def test_every_object_has_a_prior_even_one_that_fits_badly() -> None:
    matches = match(truth([[0.4, 0.4, 0.6, 0.6], [0.70, 0.70, 0.74, 0.74]], [2, 5]), PRIORS)

    assert matches.labels.tolist() == [[0, 2, 5, 0]]
    assert matches.objects[0, 2] == 1


def test_a_prior_that_half_fits_learns_nothing_and_filling_is_no_object() -> None:
    near = [0.4, 0.4, 0.6, 0.6]
    shifted = torch.cat([PRIORS, torch.tensor([[0.572, 0.5, 0.2, 0.2]])])  # IoU 0.47

    matches = match(truth([near, [0.0, 0.0, 0.0, 0.0]], [1, 0]), shifted)

    assert matches.labels.tolist() == [[0, 1, 0, 0, -1]]


def test_overlaps_are_shares_of_the_union() -> None:
    one = torch.tensor([[[0.0, 0.0, 0.5, 1.0]]])

    assert overlaps(one, torch.tensor([[0.25, 0.0, 0.75, 1.0]])).item() == pytest.approx(1 / 3)
    assert corners(PRIORS[:1]).tolist()[0] == pytest.approx([0.15, 0.15, 0.35, 0.35])


def test_the_right_answer_costs_next_to_nothing_and_each_mistake_costs_in_its_own_part() -> None:
    what = truth([[0.25, 0.25, 0.75, 0.75]], [1])
    priors = torch.tensor([[0.5, 0.5, 0.5, 0.5], [0.1, 0.1, 0.1, 0.1]])
    proto = torch.full((1, 8, 8, 1), -20.0)
    proto[:, 2:6, 2:6] = 20
    right = (
        torch.zeros(1, 2, 4),
        torch.tensor([[[0.0, 20, 0], [20, 0, 0]]]),
        torch.ones(1, 2, 1),
        proto,
    )
    assert sum(part.item() for part in loss(right, what, priors).values()) < 1e-3

    loc, logits, coef, _ = right
    wrong = {
        "box": (loc + 1, logits, coef, proto),
        "class": (loc, logits.flip(-1), coef, proto),
        "mask": (loc, logits, -coef, proto),
    }
    for part, outputs in wrong.items():
        costs = {name: value.item() for name, value in loss(outputs, what, priors).items()}
        assert costs.pop(part) > 1
        assert max(costs.values()) < 1e-3
