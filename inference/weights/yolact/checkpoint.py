"""Published YOLACT checkpoints (https://github.com/dbolya/yolact): read without running what is in them, looked at,
and made a network. Needs PyTorch."""

import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inference.errors import WeightsError, WeightsNotFoundError
from inference.weights.yolact.architecture import RATIOS, Architecture
from inference.weights.yolact.network import Yolact

State = dict[str, Tensor]

_MAX_BYTES = 2 * 1024**3
"""The published files have up to 205 MB; with an optimiser's state beside the weights it is three times that."""
_WRAPPERS = ("state_dict", "model_state_dict", "model")
_PARALLEL = "module."
"""Begins every name where the network was trained by `DataParallel`."""
_STALE = re.compile(r"backbone\.layer\d|fpn\.downsample_layers\.([2-9]|\d\d)|semantic_seg_conv\.")
"""Names that published files carry and a prediction does not use; the reference drops the first two kinds too, the last
is for training only."""
_PLUS_PLUS = ("conv_offset_mask", "maskiou_net")
_SHOWN = 4


def read_checkpoint(path: Path) -> State:
    """The checkpoint's tensors by name, without those that are not used.

    Raises:
        WeightsNotFoundError: there is no such file.
        WeightsError: it is no checkpoint, is cut off, holds more than numbers, or is of a kind not supported.
    """
    _check_file(path)
    state = _tensors(_loaded(path), path)
    while state and all(name.startswith(_PARALLEL) for name in state):
        state = {name.removeprefix(_PARALLEL): tensor for name, tensor in state.items()}
    _check_kind(state, path)
    return {name: tensor for name, tensor in state.items() if not _STALE.match(name)}


def _check_file(path: Path) -> None:
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        raise WeightsNotFoundError(f"there is no file {path}") from None
    if not path.is_file():
        raise WeightsError(f"{path} is not a file; give the .pth file itself")
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            size = max(size, sum(entry.file_size for entry in archive.infolist()))
    if size > _MAX_BYTES:
        raise WeightsError(f"{path} holds {size} bytes, more than {_MAX_BYTES}: no YOLACT checkpoint is so large")


def _loaded(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "weights" in str(error).lower() and "global" in str(error).lower():
            raise WeightsError(
                f"{path} holds Python objects beside its numbers, which could run code when they are read: refused. "
                "From a source that you trust, save the numbers alone: torch.save(network.state_dict(), FILE). "
                f"({_first_line(error)})"
            ) from error
        raise _unreadable(path, error) from error
    except Exception as error:  # PyTorch's reader raises whatever the broken bytes lead to
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> WeightsError:
    return WeightsError(
        f"{path} is not a PyTorch checkpoint, or is damaged or cut off ({type(error).__name__}: {_first_line(error)}); "
        "download it again and compare its size with the source's"
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0][:200]


def _tensors(content: Any, path: Path) -> State:
    for wrapper in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping) or not content:
        raise WeightsError(f"{path} holds a {type(content).__name__}, not a state_dict of named tensors")
    others = [str(name) for name, value in content.items() if not isinstance(name, str) or not _is_plain(value)]
    if others:
        raise WeightsError(f"{path}: {_some(others)} should be plain tensors of a state_dict and are not")
    return dict(content)


def _is_plain(value: Any) -> bool:
    """A tensor of real numbers that are there: no sparse, quantised or complex one, none without storage."""
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and not (value.is_quantized or value.is_complex())
    )


def _check_kind(state: State, path: Path) -> None:
    if any(word in name for name in state for word in _PLUS_PLUS):
        raise WeightsError(
            f"{path} is a YOLACT++ checkpoint: its deformable convolutions and its rescoring of masks have no "
            "counterpart in ONNX or are not supported here; use a YOLACT checkpoint (resnet50, base or im700)"
        )
    if any(name.startswith("backbone._preconv") for name in state):
        raise WeightsError(f"{path} has a DarkNet backbone, which is not supported; use resnet50, base or im700")
    if "prediction_layers.0.conf_layer.weight" not in state or "backbone.layers.0.0.conv1.weight" not in state:
        raise WeightsError(f"{path} is not a YOLACT checkpoint: it has names such as {_some(list(state))}")


def blocks_of(state: State) -> tuple[int, ...]:
    """Residual blocks of each stage, told by the names."""
    found = {
        (int(match[1]), int(match[2]))
        for match in (re.match(r"backbone\.layers\.(\d+)\.(\d+)\.", name) for name in state)
        if match
    }
    return tuple(sum(stage == here for here, _ in found) for stage in sorted({stage for stage, _ in found}))


def classes_of(state: State) -> int:
    """Classes with the background, told by the size of the layer that names them.

    Raises:
        WeightsError: that size makes no sense.
    """
    shape = tuple(state["prediction_layers.0.conf_layer.weight"].shape)
    if len(shape) != 4 or shape[0] % len(RATIOS) or shape[0] < 2 * len(RATIOS):
        raise WeightsError(
            f"prediction_layers.0.conf_layer.weight has the shape {shape}: not {len(RATIOS)} times the classes"
        )
    return shape[0] // len(RATIOS)


def network_of(state: State, architecture: Architecture) -> Yolact:
    """The network with the checkpoint's weights, ready to predict.

    Raises:
        WeightsError: names are missing or too many, shapes differ, or numbers are none.
    """
    with torch.device("meta"):  # shapes only: the weights are then taken as they are, not copied
        network = Yolact(architecture)
    expected = network.state_dict()
    # files older than PyTorch 0.4.1 lack these counters, which a prediction does not read
    counters = {name: torch.tensor(0) for name in expected if name.endswith("num_batches_tracked")}
    state = counters | state
    _check_names(state, expected)
    weights = {name: tensor if name in counters else tensor.to(torch.float32) for name, tensor in state.items()}
    _check_numbers(weights)
    network.load_state_dict(weights, strict=True, assign=True)
    return network.eval()


def _check_names(state: State, expected: Mapping[str, Tensor]) -> None:
    missing, more = [sorted(set(one) - set(other)) for one, other in ((expected, state), (state, expected))]
    if missing:
        raise WeightsError(f"the checkpoint is not whole: {_some(missing)} missing")
    if more:
        raise WeightsError(f"the checkpoint is of another network: it has {_some(more)}, which YOLACT has not")
    wrong = [
        f"{name} is {tuple(tensor.shape)} instead of {tuple(expected[name].shape)}"
        for name, tensor in state.items()
        if tensor.shape != expected[name].shape
    ]
    if wrong:
        raise WeightsError(f"the checkpoint is of another network: {_some(wrong)}")


def _check_numbers(weights: State) -> None:
    bad = [name for name, tensor in weights.items() if not torch.isfinite(tensor).all()]
    if bad:
        raise WeightsError(
            f"the checkpoint is damaged or its training went wrong: {_some(bad)} has numbers that are not finite"
        )


def _some(names: list[str]) -> str:
    rest = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + rest
