"""Published YOLACT checkpoints (https://github.com/dbolya/yolact): read without running what is in them, looked at,
and made a network. Needs PyTorch."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inference.errors import WeightsError
from inference.weights import torch_files
from inference.weights.torch_files import State, some
from inference.weights.yolact.architecture import RATIOS, Architecture
from inference.weights.yolact.network import Yolact

_MAX_BYTES = 2 * 1024**3
"""The published files have up to 205 MB; with an optimiser's state beside the weights it is three times that."""
_WRAPPERS = ("state_dict", "model_state_dict", "model")
_PARALLEL = "module."
"""Begins every name where the network was trained by `DataParallel`."""
_STALE = re.compile(r"backbone\.layer\d|fpn\.downsample_layers\.([2-9]|\d\d)|semantic_seg_conv\.")
"""Names that published files carry and a prediction does not use; the reference drops the first two kinds too, the last
is for training only."""
_BLOCK = re.compile(r"backbone\.layers\.([0-9]{1,3})\.([0-9]{1,3})\.")
_PLUS_PLUS = ("conv_offset_mask", "maskiou_net")


def read_checkpoint(path: Path) -> State:
    """The checkpoint's tensors by name, without those that are not used.

    Raises:
        WeightsNotFoundError: there is no such file.
        WeightsError: it is no checkpoint, is cut off, holds more than numbers, or is of a kind not supported.
    """
    torch_files.check_file(path, most_bytes=_MAX_BYTES)
    state = torch_files.named_tensors(_unwrapped(torch_files.load(path)), path)
    while state and all(name.startswith(_PARALLEL) for name in state):
        state = {name.removeprefix(_PARALLEL): tensor for name, tensor in state.items()}
    _check_kind(state, path)
    return {name: tensor for name, tensor in state.items() if not _STALE.match(name)}


def _unwrapped(content: Any) -> Any:
    for wrapper in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    return content


def _check_kind(state: State, path: Path) -> None:
    if any(word in name for name in state for word in _PLUS_PLUS):
        raise WeightsError(
            f"{path} is a YOLACT++ checkpoint: its deformable convolutions and its rescoring of masks have no "
            "counterpart in ONNX or are not supported here; use a YOLACT checkpoint (resnet50, base or im700)"
        )
    if any(name.startswith("backbone._preconv") for name in state):
        raise WeightsError(f"{path} has a DarkNet backbone, which is not supported; use resnet50, base or im700")
    if "prediction_layers.0.conf_layer.weight" not in state or "backbone.layers.0.0.conv1.weight" not in state:
        raise WeightsError(f"{path} is not a YOLACT checkpoint: it has names such as {some(list(state))}")


def blocks_of(state: State) -> tuple[int, ...]:
    """Residual blocks of each stage, told by the names."""
    found = {(int(match[1]), int(match[2])) for match in (_BLOCK.match(name) for name in state) if match}
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
    weights = {
        name: counters[name] if name in counters else torch_files.float32(name, tensor)
        for name, tensor in state.items()
    }
    network.load_state_dict(weights, strict=True, assign=True)
    return network.eval()


def _check_names(state: State, expected: Mapping[str, Tensor]) -> None:
    missing, more = [sorted(set(one) - set(other)) for one, other in ((expected, state), (state, expected))]
    if missing:
        raise WeightsError(f"the checkpoint is not whole: {some(missing)} missing")
    if more:
        raise WeightsError(f"the checkpoint is of another network: it has {some(more)}, which YOLACT has not")
    wrong = [
        f"{name} is {tuple(tensor.shape)} instead of {tuple(expected[name].shape)}"
        for name, tensor in state.items()
        if tensor.shape != expected[name].shape
    ]
    if wrong:
        raise WeightsError(f"the checkpoint is of another network: {some(wrong)}")
