"""The weights of a BLIP directory: safetensors or `pytorch_model.bin`, whole or in parts, checked name by name."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from inference.errors import WeightsError, WeightsNotFoundError
from inference.weights import torch_files
from inference.weights.blip.config import BlipConfig
from inference.weights.blip.network import Blip
from inference.weights.blip.small_files import read_json
from inference.weights.torch_files import State, some

SAFETENSORS = "model.safetensors"
PICKLED = "pytorch_model.bin"
INDEX = ".index.json"
_WORDS = "text_decoder.bert.embeddings.word_embeddings.weight"
_TIES = {
    "text_decoder.cls.predictions.decoder.weight": _WORDS,
    "text_decoder.cls.predictions.decoder.bias": "text_decoder.cls.predictions.bias",
}
"""Copies that some files hold: the last matrix is the embedding."""
_COUNTERS = ".position_ids"
_OTHERS = {
    "text_encoder.": "it has a text encoder: a BLIP model for questions or for retrieval, not for captions",
    "itm_head.": "it has a matching head: a BLIP model for retrieval, not for captions",
    "visual_encoder.": "it is in the layout of the original salesforce/BLIP files; take the Hugging Face directory",
    "qformer.": "it is BLIP-2, another network",
}
_MOST_BYTES = 4 * 1024**3
"""Of all parts together; the large published network has 1.9 GB."""
_MOST_INDEX_BYTES = 8 << 20
_MOST_NUMBERS = 800_000_000
"""Of a network, where the large published one has 470 million: a graph of ONNX is limited to 2 GB."""


def weight_files(folder: Path) -> list[Path]:
    """The files that hold the weights, safetensors preferred: they cannot hold programs.

    Raises:
        WeightsNotFoundError: there are none, or a part is missing. WeightsError: the list of parts cannot be read.
    """
    for name in (SAFETENSORS, PICKLED):
        if (folder / name).is_file():
            return [folder / name]
        if (folder / (name + INDEX)).is_file():
            return _parts(folder, name + INDEX)
    raise WeightsNotFoundError(
        f"{folder} has neither {SAFETENSORS} nor {PICKLED}; take all files of the published directory"
    )


def _parts(folder: Path, index: str) -> list[Path]:
    places = read_json(folder / index, most_bytes=_MOST_INDEX_BYTES).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(name, str) for name in places.values()):
        raise WeightsError(f"{index} has no weight_map; take the published file")
    names = sorted(set(places.values()))
    for name in names:
        if Path(name).name != name:
            raise WeightsError(f"{index} names {name!r}, a file outside of the directory; take the published file")
        if not (folder / name).is_file():
            raise WeightsNotFoundError(f"{index} names {name}, which is missing; fetch it too")
    return [folder / name for name in names]


def read_weights(files: list[Path]) -> State:
    """All tensors by name.

    Raises:
        WeightsError: a file is damaged, too large, or is no file of weights.
    """
    left = _MOST_BYTES
    for file in files:
        torch_files.check_file(file, most_bytes=left)
        left -= file.stat().st_size
    return {name: tensor for file in files for name, tensor in _read(file)}


def _read(file: Path) -> Iterator[tuple[str, Tensor]]:
    safe = file.suffix == ".safetensors"
    # left in the file, if that can be: else there would be two copies of all numbers for a while
    found = _read_safetensors(file) if safe else torch_files.load(file, mapped=True)
    yield from torch_files.named_tensors(found, file).items()


def _read_safetensors(file: Path) -> object:
    from safetensors.torch import load_file

    try:
        return load_file(file)
    except Exception as error:  # the reader has no base for what damaged files cause
        told = torch_files.first_line(error)
        raise WeightsError(f"{file.name} is damaged or no safetensors file ({told}); fetch it again") from error


def outline(config: BlipConfig) -> Blip:
    """The network without its numbers: it takes no memory, whatever `config` claims.

    Raises:
        WeightsError: it would be too large.
    """
    with torch.device("meta"):
        network = Blip(config)
    numbers = sum(parameter.numel() for parameter in network.parameters())
    if numbers > _MOST_NUMBERS:
        raise WeightsError(
            f"config.json describes a network of {numbers} numbers, more than {_MOST_NUMBERS}: no BLIP is so large; "
            "take the published file"
        )
    return network


def load(network: Blip, weights: Mapping[str, Tensor]) -> None:
    """Give `weights`, in float32, to `network`, an outline.

    Raises:
        WeightsError: names, shapes or values are not those of the network.
    """
    fitted = {name: tensor for name, tensor in weights.items() if not name.endswith(_COUNTERS)}
    copies = {copy: fitted.pop(copy) for copy in _TIES if copy in fitted}
    fitted = {_TIES[copy]: tensor for copy, tensor in copies.items()} | fitted
    wanted = network.state_dict()
    _check_names(set(wanted), set(fitted))
    for name, tensor in wanted.items():
        _check_shape(name, fitted[name], tuple(tensor.shape))
    numbers = {name: torch_files.float32(name, tensor) for name, tensor in fitted.items()}
    for copy, tensor in copies.items():
        original = numbers[_TIES[copy]]
        if tensor.shape != original.shape or not torch.equal(torch_files.float32(copy, tensor), original):
            raise WeightsError(f"{copy} differs from {_TIES[copy]}: only tied networks, BLIP's own, are supported")
    network.load_state_dict(numbers, strict=True, assign=True)


def _check_names(wanted: set[str], found: set[str]) -> None:
    if wanted == found:
        return
    for beginning, reason in _OTHERS.items():
        if any(name.startswith(beginning) for name in found):
            raise WeightsError(f"this is not a captioning model: {reason}")
    told = [
        f"{what}: {some(sorted(names))}"
        for what, names in (("missing", wanted - found), ("unexpected", found - wanted))
        if names
    ]
    raise WeightsError(
        f"the weights are not those of the network in config.json ({'; '.join(told)}); "
        "take all files from the same published directory"
    )


def _check_shape(name: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    if tuple(tensor.shape) != shape:
        raise WeightsError(
            f"{name} has the shape {tuple(tensor.shape)}, config.json wants {shape}: the two do not belong together"
        )
