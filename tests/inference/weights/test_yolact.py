"""Import of YOLACT checkpoints: what is accepted, what is refused and with which words, and what comes out."""

import argparse
import io
import json
import os
import pickle
import zipfile
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor

from inference.config import SegmenterSpec, spec_from_json
from inference.errors import ConversionMismatchError, WeightsError, WeightsNotFoundError
from inference.local import LocalClient
from inference.scenes.segment import Segmenter
from inference.weights.imported import changed_files, read_record
from inference.weights.yolact import checkpoint, export
from inference.weights.yolact.architecture import COCO_LABELS, VARIANTS, Architecture
from inference.weights.yolact.importer import choose_variant, import_yolact
from inference.weights.yolact.network import Served, Yolact

TINY = Architecture(size_px=70, classes=81, scales_px=(10, 20, 30, 40, 60), blocks=(1, 1, 2, 1), stem=4, fpn=8, masks=6)
State = dict[str, Tensor]


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> State:
    """The weights of a small network, which is made a variant of its own."""
    monkeypatch.setitem(VARIANTS, "tiny", TINY)
    torch.manual_seed(7)
    return Yolact(TINY).state_dict()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "weights.pth"


def saved(content: Any, path: Path, **options: Any) -> Path:
    torch.save(content, path, **options)
    return path


def hollow(architecture: Architecture) -> State:
    """Names and shapes of a network, its numbers all the same one: small on disk."""
    with torch.device("meta"):
        state = Yolact(architecture).state_dict()
    return {name: torch.zeros(()).expand(tensor.shape) for name, tensor in state.items()}


def imported(path: Path, **wishes: Any) -> Path:
    return import_yolact(weights=path, models_dir=path.parent / "models", **wishes)


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
    assert 0 < max(note["parity"]["largest_difference"].values()) < note["parity"]["bound"]
    assert "dims: [19248, 81]" in (folder / "config.pbtxt").read_text()
    image = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    found = Segmenter(LocalClient(folder.parent, threads=2), spec).segment(image, score_threshold=0.0)
    assert all(item.mask.picture_px == (120, 160) for item in found)


def test_a_batch_gives_what_its_pictures_give_alone(tiny: State, file: Path) -> None:
    client = LocalClient(imported(saved(tiny, file), variant="tiny").parent)
    pictures = export.probe(70)

    together = client.infer("yolact-tiny", {"image": pictures}, export.OUTPUTS, deadline_s=9)
    alone = client.infer("yolact-tiny", {"image": pictures[1:]}, export.OUTPUTS, deadline_s=9)

    for name in export.OUTPUTS:
        np.testing.assert_allclose(together[name][1:], alone[name], atol=1e-5)


def test_the_graph_is_of_the_named_opset_and_has_one_input(tiny: State, file: Path) -> None:
    model = onnx.load(imported(saved(tiny, file), variant="tiny") / "1" / "model.onnx")

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
    with pytest.raises(WeightsError, match="no name for a segmentation model"):
        imported(saved(tiny, file), variant="tiny", name=name)


# --- files that people have ---------------------------------------------------------------------


def on_a_gpu(content: bytes) -> bytes:
    """A checkpoint whose tensors say that they belong on the second GPU."""
    old, new = b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:1"
    result = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(result, "w") as target:
        for entry in source.infolist():
            data = source.read(entry)
            if entry.filename.endswith("data.pkl"):
                assert old in data
                data = data.replace(old, new)
            target.writestr(entry.filename, data)
    return result.getvalue()


def test_tensors_of_a_gpu_are_read(tiny: State, file: Path) -> None:
    file.write_bytes(on_a_gpu(saved(tiny, file).read_bytes()))
    with pytest.raises(RuntimeError, match="CUDA"):
        torch.load(file, weights_only=True)  # so they are what they say

    state = checkpoint.read_checkpoint(file)

    torch.testing.assert_close(state, tiny)


@pytest.mark.parametrize("wrap", ["state_dict", "model", "model_state_dict"])
def test_a_wrapped_checkpoint_of_several_gpus_is_read(tiny: State, file: Path, wrap: str) -> None:
    content = {wrap: {f"module.{name}": tensor for name, tensor in tiny.items()}, "epoch": 3, "optimizer": {"lr": 0.1}}

    torch.testing.assert_close(checkpoint.read_checkpoint(saved(content, file)), tiny)


def test_the_older_file_format_is_read(tiny: State, file: Path) -> None:
    saved(tiny, file, _use_new_zipfile_serialization=False)

    torch.testing.assert_close(checkpoint.read_checkpoint(file), tiny)


def test_names_that_a_prediction_does_not_use_are_dropped(tiny: State, file: Path) -> None:
    stale = ("backbone.layer1.0.conv1.weight", "fpn.downsample_layers.3.bias", "semantic_seg_conv.weight")

    state = checkpoint.read_checkpoint(saved(tiny | {name: torch.zeros(1) for name in stale}, file))

    assert state.keys() == tiny.keys()


def test_half_precision_and_missing_counters_are_accepted(tiny: State, file: Path) -> None:
    halves = {name: tensor.half() for name, tensor in tiny.items() if not name.endswith("num_batches_tracked")}

    network = checkpoint.network_of(checkpoint.read_checkpoint(saved(halves, file)), TINY)

    assert network.proto_net[0].weight.dtype == torch.float32
    torch.testing.assert_close(network.proto_net[0].weight.data, tiny["proto_net.0.weight"], atol=1e-3, rtol=1e-3)


# --- files that are refused ---------------------------------------------------------------------


class Malice:
    """Runs a command when it is unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


def test_a_file_that_would_run_a_command_is_refused_and_runs_nothing(tiny: State, file: Path) -> None:
    trace = file.parent / "trace"
    content = dict(tiny) | {"x": Malice(f"touch {trace}")}

    for options in ({}, {"_use_new_zipfile_serialization": False}):
        with pytest.raises(WeightsError, match="could run code"):
            imported(saved(content, file, **options))
    file.write_bytes(pickle.dumps(Malice(f"touch {trace}")))
    with pytest.raises(WeightsError):
        imported(file)
    assert not trace.exists()


def test_objects_beside_the_numbers_are_refused_with_the_way_out(tiny: State, file: Path) -> None:
    with pytest.raises(WeightsError, match=r"torch\.save\(network\.state_dict\(\)"):
        imported(saved({"state_dict": tiny, "args": argparse.Namespace(lr=1)}, file))


def test_no_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(WeightsNotFoundError, match="there is no file"):
        imported(tmp_path / "none.pth")
    with pytest.raises(WeightsError, match="not a file"):
        imported(tmp_path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"<html>Not found</html>", bytes(range(256)) * 40])
def test_what_is_no_checkpoint_is_refused(file: Path, content: bytes) -> None:
    file.write_bytes(content)

    with pytest.raises(WeightsError, match="not a PyTorch checkpoint, or is damaged or cut off"):
        imported(file)


@pytest.mark.parametrize("modern", [True, False])
@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_a_file_that_is_cut_off_is_refused(tiny: State, file: Path, modern: bool, share: float) -> None:
    whole = saved(tiny, file, _use_new_zipfile_serialization=modern).read_bytes()
    file.write_bytes(whole[: int(len(whole) * share)])

    with pytest.raises(WeightsError, match="damaged or cut off"):
        imported(file)


def test_a_file_of_absurd_size_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "large.pth"
    with file.open("wb") as sparse:
        sparse.truncate(3 * 1024**3)

    with pytest.raises(WeightsError, match="no YOLACT checkpoint is so large"):
        imported(file)


def test_an_archive_that_grows_absurdly_is_not_read(tiny: State, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", bytes(4_000_000))
    monkeypatch.setattr(checkpoint, "_MAX_BYTES", 1_000_000)

    assert file.stat().st_size < 100_000
    with pytest.raises(WeightsError, match="so large"):
        imported(file)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([1, 2], "holds a list"),
        ({}, "holds a dict"),
        (torch.zeros(3), "holds a Tensor"),
        ({"a": 1}, "a should be plain tensors"),
        ({"a": torch.zeros(3).to_sparse()}, "plain tensors"),
        ({"a": torch.zeros(3, dtype=torch.complex64)}, "plain tensors"),
        ({"a": torch.zeros(3, device="meta")}, "plain tensors"),
        ({"fc.weight": torch.zeros(3)}, "not a YOLACT checkpoint: it has names such as fc.weight"),
        ({"backbone._preconv.0.weight": torch.zeros(3)}, "DarkNet"),
        ({"maskiou_net.0.weight": torch.zeros(3)}, r"YOLACT\+\+"),
        ({"backbone.layers.1.0.conv2.conv_offset_mask.bias": torch.zeros(3)}, r"YOLACT\+\+"),
    ],
)
def test_a_checkpoint_of_something_else_is_refused(file: Path, content: Any, words: str) -> None:
    with pytest.raises(WeightsError, match=words):
        imported(saved(content, file))


def spoiled(tensor: Tensor, value: float) -> Tensor:
    copy = tensor.clone()
    copy.view(-1)[-1] = value
    return copy


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda state: state.pop("fpn.lat_layers.1.bias"), "not whole: fpn.lat_layers.1.bias missing"),
        (lambda state: state.update({"more.weight": torch.zeros(2)}), "it has more.weight"),
        (
            lambda state: state.update({"proto_net.10.weight": torch.zeros(7, 8, 1, 1)}),
            r"proto_net.10.weight is \(7, 8, 1, 1\) instead of \(6, 8, 1, 1\)",
        ),
        (
            lambda state: state.update({"prediction_layers.0.conf_layer.weight": torch.zeros(244, 8, 3, 3)}),
            "not 3 times the classes",
        ),
        (
            lambda state: state.update({"prediction_layers.0.conf_layer.weight": torch.zeros(3)}),
            "not 3 times the classes",
        ),
        (
            lambda state: state.update({"proto_net.0.bias": spoiled(state["proto_net.0.bias"], float("nan"))}),
            "proto_net.0.bias has numbers that are not finite",
        ),
        (
            lambda state: state.update({"backbone.bn1.running_var": spoiled(torch.ones(4), float("inf"))}),
            "backbone.bn1.running_var has numbers that are not finite",
        ),
    ],
)
def test_a_damaged_network_is_refused_and_says_where(tiny: State, file: Path, change: Any, words: str) -> None:
    change(tiny)

    with pytest.raises(WeightsError, match=words):
        imported(saved(tiny, file), variant="tiny")
    assert not (file.parent / "models").exists()


def test_many_faults_are_counted_not_listed(tiny: State, file: Path) -> None:
    for name in [name for name in tiny if name.startswith("fpn.")]:
        del tiny[name]

    with pytest.raises(WeightsError, match="and 12 more missing"):
        imported(saved(tiny, file), variant="tiny")


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
    import sys

    for module in ("checkpoint", "export", "network"):
        monkeypatch.delitem(sys.modules, f"inference.weights.yolact.{module}", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)

    with pytest.raises(WeightsError, match=r"pip install 'portrait\[convert\]'"):
        imported(file)


def test_the_record_is_json_that_names_the_source(tiny: State, file: Path) -> None:
    folder = imported(saved(tiny, file), variant="tiny", licence="CC-BY-4.0", homepage="https://example.org")

    origin = json.loads((folder / "portrait.json").read_text())["origin"]
    assert (origin["kind"], origin["licence"], origin["homepage"]) == ("yolact", "CC-BY-4.0", "https://example.org")
    assert origin["notes"] == "variant tiny"
