"""YOLACT checkpoints as people have them: those that are read, and those that are refused, with which words."""

import argparse
import io
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from inference.errors import WeightsError, WeightsNotFoundError
from inference.weights.yolact import checkpoint
from tests.inference.weights.yolact_checkpoints import (
    TINY,
    State,
    fixture_file,  # noqa: F401
    fixture_tiny,  # noqa: F401
    imported,
    saved,
)

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


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", bytes(range(256)) * 40])
def test_what_is_no_checkpoint_is_refused(file: Path, content: bytes) -> None:
    file.write_bytes(content)

    with pytest.raises(WeightsError, match="not a file of PyTorch's, or is damaged or cut off"):
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

    with pytest.raises(WeightsError, match="no weights known here are so large"):
        imported(file)


def test_an_archive_that_grows_absurdly_is_not_read(tiny: State, file: Path) -> None:
    saved(tiny, file)
    with zipfile.ZipFile(file, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/99", bytes(40_000_000))

    assert file.stat().st_size < 10_000_000
    with pytest.raises(WeightsError, match="was compressed"):
        imported(file)


def test_numbers_that_were_compressed_are_not_taken_for_others(tiny: State, file: Path) -> None:
    with zipfile.ZipFile(saved(tiny, file)) as source:
        records = {name: source.read(name) for name in source.namelist()}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as target:
        for name, data in records.items():
            target.writestr(name, data)

    with pytest.raises(WeightsError, match="was compressed, which PyTorch never does"):
        imported(file)


@pytest.mark.parametrize("begins", [b"", b"\xef\xbb\xbf\r\n "])
def test_a_web_page_in_place_of_the_file_is_told(file: Path, begins: bytes) -> None:
    """Google Drive answers so when too many have fetched a file."""
    file.write_bytes(begins + b"<!DOCTYPE html><html><head><title>Google Drive - Quota exceeded</title>")

    with pytest.raises(WeightsError, match="the address answered a page instead of the file"):
        imported(file)


def test_a_damaged_table_of_contents_is_told(tiny: State, file: Path) -> None:
    content = bytearray(saved(tiny, file).read_bytes())
    content[content.index(b"PK\x01\x02") + 1] = 0
    file.write_bytes(content)
    assert zipfile.is_zipfile(file)

    with pytest.raises(WeightsError, match="damaged or cut off"):
        imported(file)


def test_a_block_with_an_endless_number_is_no_block(tiny: State, file: Path) -> None:
    name = f"backbone.layers.0.{'9' * 5000}.conv1.weight"

    with pytest.raises(WeightsError, match=r"it has backbone\.layers\.0\.99") as caught:
        imported(saved(tiny | {name: torch.zeros(1)}, file), variant="tiny")
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([1, 2], "holds a list"),
        ({}, "holds a dict"),
        (torch.zeros(3), "holds a Tensor"),
        ({"a": 1}, r"'a' \(int\) should be plain tensors"),
        ({"a": torch.zeros(3).to_sparse()}, "plain tensors"),
        ({"a": torch.zeros(3, dtype=torch.complex64)}, "plain tensors"),
        ({"a": torch.zeros(3, device="meta")}, "plain tensors"),
        ({"a": torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])}, "plain tensors"),
        ({5: torch.zeros(3)}, "plain tensors"),
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
            lambda state: state.update({"proto_net.0.bias": torch.zeros(8, dtype=torch.int8)}),
            "proto_net.0.bias holds torch.int8; quantised",
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
