"""Import of YOLACT checkpoints: the network, which of the published ones it is, and what comes out."""

import json
import subprocess
import sys
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from inference.config import SegmenterSpec, spec_from_json
from inference.errors import ConversionMismatchError, WeightsError
from inference.local import LocalClient
from inference.scenes.segment import Segmenter
from inference.weights.imported import changed_files, read_record
from inference.weights.yolact import export
from inference.weights.yolact.architecture import COCO_LABELS, VARIANTS, Architecture
from inference.weights.yolact.importer import choose_variant
from inference.weights.yolact.network import Served, Yolact
from tests.inference.weights.yolact_checkpoints import (
    TINY,
    State,
    fixture_file,  # noqa: F401
    fixture_tiny,  # noqa: F401
    fixture_tiny_folder,  # noqa: F401
    hollow,
    imported,
    saved,
)


def spec_of(folder: Path) -> SegmenterSpec:
    spec = spec_from_json(read_record(folder.parent, folder.name)["parameters"]["portrait.spec"])
    assert isinstance(spec, SegmenterSpec)
    return spec


# --- the network --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variant", "names", "priors", "proto"),
    [("resnet50", 354, 19248, 138), ("base", 660, 19248, 138), ("im700", 660, 30963, 176)],
)
def test_the_published_sizes(variant: str, names: int, priors: int, proto: int) -> None:
    with torch.device("meta"):
        network = Yolact(VARIANTS[variant])
        side = VARIANTS[variant].size_px
        outputs = network.eval()(torch.empty(1, 3, side, side))

    assert [tuple(tensor.shape) for tensor in outputs] == [
        (1, priors, 4), (1, priors, 81), (1, priors, 32), (1, proto, proto, 32)
    ]  # fmt: skip
    # two more lie in the published file, of the layer that only training uses; 17 blocks of 18 names are between
    assert len(network.state_dict()) + 2 == names
    shapes = {name: tuple(shape) for name, shape in export.output_shapes(VARIANTS[variant]).items()}
    assert shapes == {
        "loc": (priors, 4), "conf": (priors, 81), "coef": (priors, 32), "proto": (proto, proto, 32)
    }  # fmt: skip


def test_the_names_are_the_published_ones() -> None:
    with torch.device("meta"):
        shapes = {name: tuple(tensor.shape) for name, tensor in Yolact(VARIANTS["base"]).state_dict().items()}

    assert shapes["backbone.layers.2.22.conv2.weight"] == (256, 256, 3, 3)
    assert shapes["backbone.layers.1.0.downsample.0.weight"] == (512, 256, 1, 1)
    assert shapes["fpn.lat_layers.0.weight"] == (256, 2048, 1, 1), "the coarsest map stands first"
    assert shapes["fpn.lat_layers.2.weight"] == (256, 512, 1, 1)
    assert shapes["fpn.downsample_layers.1.weight"] == (256, 256, 3, 3)
    assert shapes["proto_net.8.weight"] == (256, 256, 3, 3)
    assert shapes["proto_net.10.weight"] == (32, 256, 1, 1)
    assert shapes["prediction_layers.0.upfeature.0.weight"] == (256, 256, 3, 3)
    assert shapes["prediction_layers.0.bbox_layer.weight"] == (12, 256, 3, 3)
    assert shapes["prediction_layers.0.conf_layer.weight"] == (243, 256, 3, 3)
    assert shapes["prediction_layers.0.mask_layer.weight"] == (96, 256, 3, 3)


def test_normalisation_is_the_published_one_in_the_order_of_the_colours() -> None:
    image = torch.tensor([200.0, 100.0, 50.0]).expand(1, 4, 4, 3)

    red, green, blue = Served(Yolact(TINY)).normalised(image)[0, :, 0, 0].tolist()

    assert red == pytest.approx((200 - 123.68) / 58.40)
    assert green == pytest.approx((100 - 116.78) / 57.12)
    assert blue == pytest.approx((50 - 103.94) / 57.38)


def test_the_finer_levels_of_the_pyramid_stand_first() -> None:
    torch.manual_seed(0)
    network = Yolact(TINY).eval()
    with torch.no_grad():
        maps = network.backbone(torch.rand(1, 3, 70, 70))
        levels = network.fpn(maps)

    assert tuple(level.shape[-1] for level in levels) == TINY.grids == (9, 5, 3, 2, 1)
    assert all(level.min() >= 0 for level in levels[:3])
    assert levels[3].min() < 0, "P6 has no ReLU"


# --- which variant ------------------------------------------------------------------------------

R50, R101 = (3, 4, 6, 3), (3, 4, 23, 3)


@pytest.mark.parametrize(
    ("file_name", "blocks", "asked", "chosen"),
    [
        ("any.pth", R50, None, "resnet50"),
        ("any.pth", R50, "resnet50", "resnet50"),
        ("any.pth", R101, "base", "base"),
        ("any.pth", R101, "im700", "im700"),
        ("yolact_base_54_800000.pth", R101, None, "base"),
        ("yolact_im700_54_800000.pth", R101, None, "im700"),
        ("yolact_resnet50_54_800000.pth", R50, None, "resnet50"),
    ],
)
def test_the_variant_is_told_by_the_file_or_the_caller(
    file_name: str, blocks: tuple[int, ...], asked: str | None, chosen: str
) -> None:
    assert choose_variant(file_name, blocks, asked) == chosen


@pytest.mark.parametrize(
    ("file_name", "blocks", "asked", "words"),
    [
        ("any.pth", R101, None, "--variant base or --variant im700"),
        ("my_yolact_base.pth", R101, None, "--variant"),
        ("any.pth", R50, "base", "is not base"),
        ("any.pth", R101, "resnet50", "is not resnet50"),
        ("yolact_base_54_800000.pth", R50, None, "is not base"),
        ("yolact_base_54_800000.pth", R101, "im700", "published name of base"),
        ("any.pth", (3, 8, 36, 3), None, "no variant has"),
        ("any.pth", R50, "darknet53", "there is no variant"),
    ],
)
def test_a_variant_is_never_guessed(file_name: str, blocks: tuple[int, ...], asked: str | None, words: str) -> None:
    with pytest.raises(WeightsError, match=words):
        choose_variant(file_name, blocks, asked)


def test_a_file_of_two_possible_variants_is_not_imported(file: Path) -> None:
    with pytest.raises(WeightsError, match="--variant base or --variant im700"):
        imported(saved(hollow(VARIANTS["base"]), file))
    assert not (file.parent / "models").exists()


# --- what comes out -----------------------------------------------------------------------------


def test_an_official_checkpoint_is_imported(tmp_path: Path) -> None:
    torch.manual_seed(1)
    state = Yolact(VARIANTS["resnet50"]).state_dict()
    extra = {
        "semantic_seg_conv.weight": torch.zeros(80, 256, 1, 1),
        "semantic_seg_conv.bias": torch.zeros(80),
        "backbone.layer1.0.conv1.weight": torch.zeros(64, 64, 1, 1),
        "fpn.downsample_layers.2.weight": torch.zeros(256, 256, 3, 3),
    }
    file = saved(OrderedDict(state | extra), tmp_path / "yolact_resnet50_54_800000.pth")

    folder = imported(file)

    assert folder.name == "yolact-resnet50"
    spec = spec_of(folder)
    assert (spec.size_px, spec.grids, spec.labels) == (550, (69, 35, 18, 9, 5), COCO_LABELS)
    assert changed_files(folder.parent, folder.name) == []
    note = read_record(folder.parent, folder.name)["origin"]
    assert list(note["files"]) == [file.name]
    assert 0 < max(note["parity"]["rms_difference"].values()) < note["parity"]["bound"] / 10
    assert max(note["parity"]["largest_difference"].values()) < note["parity"]["largest_bound"]
    assert "dims: [19248, 81]" in (folder / "config.pbtxt").read_text()
    image = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    found = Segmenter(LocalClient(folder.parent, threads=2), spec).segment(image, score_threshold=0.0)
    assert all(item.mask.picture_px == (120, 160) for item in found)


def test_a_batch_gives_what_its_pictures_give_alone(tiny_folder: Path) -> None:
    client = LocalClient(tiny_folder.parent)
    pictures = export.probe(70)

    together = client.infer("yolact-tiny", {"image": pictures}, export.OUTPUTS, deadline_s=9)
    alone = client.infer("yolact-tiny", {"image": pictures[1:]}, export.OUTPUTS, deadline_s=9)

    for name in export.OUTPUTS:
        np.testing.assert_allclose(together[name][1:], alone[name], atol=1e-5)


def test_the_graph_is_of_the_named_opset_and_has_one_input(tiny_folder: Path) -> None:
    model = onnx.load(tiny_folder / "1" / "model.onnx")

    assert [entry.version for entry in model.opset_import if not entry.domain] == [17]
    assert [value.name for value in model.graph.input] == ["image"]
    assert tuple(value.name for value in model.graph.output) == export.OUTPUTS
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"


def test_importing_again_replaces_the_model(tiny: State, file: Path) -> None:
    first = imported(saved(tiny, file), variant="tiny")
    before = (first / "1" / "model.onnx").read_bytes()
    tiny["proto_net.10.bias"] += 1

    second = imported(saved(tiny, file), variant="tiny")

    assert first == second
    assert (second / "1" / "model.onnx").read_bytes() != before
    assert sorted(path.name for path in first.parent.iterdir()) == ["yolact-tiny"]


def test_labels_of_another_set_of_classes(file: Path, tiny: State, monkeypatch: pytest.MonkeyPatch) -> None:
    state = Yolact(replace(TINY, classes=4)).state_dict()

    folder = imported(saved(state, file), variant="tiny", labels=["cat", " dog ", "bird"], name="yolact-pets")

    assert folder.name == "yolact-pets"
    assert spec_of(folder).labels == ("cat", "dog", "bird")


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (None, "knows 3 classes.*--labels"),
        (["cat", "dog"], "knows 3 classes.*2 are named"),
        (["cat", "dog", " "], "no name"),
        (["cat", "dog", "x" * 200], "100 letters"),
        (["cat", "dog", "a\nb"], "do not print"),
        (["cat", "dog", "cat"], "same name"),
    ],
)
def test_labels_that_do_not_fit_are_refused(file: Path, tiny: State, labels: list[str] | None, words: str) -> None:
    state = Yolact(replace(TINY, classes=4)).state_dict()

    with pytest.raises(WeightsError, match=words):
        imported(saved(state, file), variant="tiny", labels=labels)


@pytest.mark.parametrize("name", ["tiny", "blip-tiny", "yolact-", "yolact-../x", "Yolact-x", "yolact-" + 80 * "x"])
def test_a_name_that_is_none_is_refused(tiny: State, file: Path, name: str) -> None:
    with pytest.raises(WeightsError, match=r"no name for a model of segmentation.*--name"):
        imported(saved(tiny, file), variant="tiny", name=name)


def test_a_conversion_that_changes_results_is_refused(tiny: State, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = export.export

    def dishonest(network: Yolact, architecture: Architecture, path: Path) -> None:
        with torch.no_grad():
            network.proto_net[10].bias.add_(0.05)
        honest(network, architecture, path)
        with torch.no_grad():
            network.proto_net[10].bias.sub_(0.05)

    monkeypatch.setattr(export, "export", dishonest)

    with pytest.raises(ConversionMismatchError, match="'proto'"):
        imported(saved(tiny, file), variant="tiny")
    assert not (file.parent / "models").exists()


def test_a_conversion_to_other_shapes_is_refused(tiny: State, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = export.output_shapes(TINY) | {"loc": (5, 4)}
    monkeypatch.setattr(export, "output_shapes", lambda architecture: shapes)

    with pytest.raises(ConversionMismatchError, match=r"not .*'loc': \(5, 4\)"):
        imported(saved(tiny, file), variant="tiny")


def test_without_pytorch_the_message_says_what_to_install(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("checkpoint", "export", "network"):
        monkeypatch.delitem(sys.modules, f"inference.weights.yolact.{module}", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)

    with pytest.raises(WeightsError, match=r"pip install 'portrait\[convert\]'"):
        imported(file)


def test_serving_and_the_importers_door_load_no_pytorch() -> None:
    lines = (
        "import sys, inference.scenes.segment, inference.weights.yolact.importer, inference.weights.mini.install",
        "sys.exit('torch' in sys.modules)",
    )

    assert subprocess.run([sys.executable, "-c", "\n".join(lines)], check=False).returncode == 0


def test_the_record_is_json_that_names_the_source(tiny_folder: Path) -> None:
    origin = json.loads((tiny_folder / "portrait.json").read_text())["origin"]
    assert (origin["kind"], origin["licence"], origin["homepage"]) == ("yolact", "CC-BY-4.0", "https://example.org")
    assert origin["notes"] == "variant tiny"
