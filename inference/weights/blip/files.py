"""The weights of a BLIP directory: safetensors or `pytorch_model.bin`, whole or in parts, checked name by name."""

import pickle
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from inference.errors import WeightsError, WeightsNotFoundError
from inference.weights.blip.config import read_json
from inference.weights.blip.network import Blip

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
_SHOWN = 4


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
    places = read_json(folder / index).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(name, str) for name in places.values()):
        raise WeightsError(f"{index} has no weight_map; take the published file")
    names = sorted(set(places.values()))
    for name in names:
        if Path(name).name != name:
            raise WeightsError(f"{index} names {name!r}, a file outside of the directory; take the published file")
        if not (folder / name).is_file():
            raise WeightsNotFoundError(f"{index} names {name}, which is missing; fetch it too")
    return [folder / name for name in names]


def read_weights(files: list[Path]) -> dict[str, Tensor]:
    """All tensors by name.

    Raises:
        WeightsError: a file is damaged, or is no file of weights.
    """
    return {name: tensor for file in files for name, tensor in _read(file)}


def _read(file: Path) -> Iterator[tuple[str, Tensor]]:
    found = _read_safetensors(file) if file.suffix == ".safetensors" else _read_pickled(file)
    if not isinstance(found, Mapping) or not found:
        raise WeightsError(f"{file.name} holds no tensors by name; take the published file")
    for name, tensor in found.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise WeightsError(f"{file.name} holds {name!r}, a {type(tensor).__name__}, among its tensors")
        yield name, tensor


def _read_safetensors(file: Path) -> object:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(file)
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise WeightsError(f"{file.name} is damaged or no safetensors file ({error}); fetch it again") from error


def _read_pickled(file: Path) -> object:
    """weights_only: a pickle may run programs, and one that wants to is refused."""
    try:
        return torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{file.name} is damaged, or holds more than tensors and could run a program: it was not loaded; "
            f"fetch it again from a source that you trust ({str(error).splitlines()[0]})"
        ) from error
    except Exception as error:  # torch has no base for what damaged files cause
        told = (str(error).splitlines() or [type(error).__name__])[0]
        raise WeightsError(f"{file.name} is damaged or no PyTorch file ({told}); fetch it again") from error


def load(network: Blip, weights: Mapping[str, Tensor]) -> None:
    """Put `weights` into `network`, in float32.

    Raises:
        WeightsError: names, shapes or values are not those of the network.
    """
    fitted = {name: tensor for name, tensor in weights.items() if not name.endswith(_COUNTERS)}
    for copy, original in _TIES.items():
        if copy in fitted:
            tensor = fitted.pop(copy)
            if original in fitted and not (
                tensor.shape == fitted[original].shape and torch.equal(tensor, fitted[original])
            ):
                raise WeightsError(f"{copy} differs from {original}: only tied networks, BLIP's own, are supported")
            fitted.setdefault(original, tensor)
    wanted = network.state_dict()
    _check_names(set(wanted), set(fitted))
    for name, tensor in wanted.items():
        _check_tensor(name, fitted[name], tuple(tensor.shape))
    network.load_state_dict({name: tensor.to(torch.float32) for name, tensor in fitted.items()})


def _check_names(wanted: set[str], found: set[str]) -> None:
    if wanted == found:
        return
    for beginning, reason in _OTHERS.items():
        if any(name.startswith(beginning) for name in found):
            raise WeightsError(f"this is not a captioning model: {reason}")
    told = [
        f"{what}: {', '.join(sorted(names)[:_SHOWN])}{' and others' if len(names) > _SHOWN else ''}"
        for what, names in (("missing", wanted - found), ("unexpected", found - wanted))
        if names
    ]
    raise WeightsError(
        f"the weights are not those of the network in config.json ({'; '.join(told)}); "
        "take all files from the same published directory"
    )


def _check_tensor(name: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    if tuple(tensor.shape) != shape:
        raise WeightsError(
            f"{name} has the shape {tuple(tensor.shape)}, config.json wants {shape}: the two do not belong together"
        )
    if not tensor.is_floating_point():
        raise WeightsError(f"{name} holds {tensor.dtype}; quantised weights are not supported, take the original ones")
    if not torch.isfinite(tensor).all():
        raise WeightsError(f"{name} holds numbers that are not finite: the file is damaged, fetch it again")
