"""Weights that strangers saved: looked at before they take memory, and read without running what is in them. Needs
PyTorch, as all importers of scene models do."""

import pickle
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inference.errors import WeightsError, WeightsNotFoundError

State = dict[str, Tensor]

FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
"""What weights are saved as. The narrower kinds of numbers are quantised ones, which mean nothing without a scale."""
_MOST_OUTLINE_BYTES = 16 << 20
"""Of an archive's records that hold no numbers, such as its names and shapes: they are read whole."""
_PAGE = b"<"
_POINTER = b"version https://git-lfs"
_WANTED = re.compile(r"GLOBAL (\S+)")
"""How PyTorch names what a file would have it call; the rest of its words tell how to allow it, which nobody should."""
_SHOWN = 4
_SHOWN_LETTERS = 100


def check_file(path: Path, *, most_bytes: int) -> None:
    """That a file can be opened without harm: there, not too large, no page of the web, and if it is an archive, one
    that holds no more than its own size.

    Raises:
        WeightsNotFoundError: there is no such file. WeightsError: it is none to be read.
    """
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        raise WeightsNotFoundError(f"there is no file {path}") from None
    if not path.is_file():
        raise WeightsError(f"{path} is not a file; give the file of weights itself")
    if size > most_bytes:
        raise WeightsError(f"{path.name} has {size} bytes, more than {most_bytes}: no weights known here are so large")
    _check_beginning(path)
    if zipfile.is_zipfile(path):
        _check_archive(path, size)


def _check_beginning(path: Path) -> None:
    with path.open("rb") as file:
        begins = file.read(512).lstrip(b"\xef\xbb\xbf \t\r\n")
    if begins.startswith(_PAGE):
        raise WeightsError(
            f"{path.name} is a web page, not weights: the address answered a page instead of the file, such as a "
            "notice that too many have fetched it, or a question to confirm. Open the address in a browser, and fetch "
            "the file from there"
        )
    if begins.startswith(_POINTER):
        raise WeightsError(
            f"{path.name} is a pointer of Git LFS, not the weights that it points to: run `git lfs pull` where it was "
            "cloned, or fetch the file itself"
        )


def _check_archive(path: Path, size: int) -> None:
    """PyTorch stores records as they are; a record that was compressed would be taken for numbers where the file is
    mapped into memory, and may grow to any size where it is read."""
    try:
        with zipfile.ZipFile(path) as archive:
            records = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise unreadable(path, error) from error
    if any(
        record.compress_type != zipfile.ZIP_STORED or record.compress_size != record.file_size for record in records
    ):
        raise WeightsError(
            f"{path.name} was compressed, which PyTorch never does; fetch the original, or save it again with "
            "torch.save(state_dict, FILE)"
        )
    outline = max((record.file_size for record in records if "/data/" not in record.filename), default=0)
    if sum(record.file_size for record in records) > size or outline > _MOST_OUTLINE_BYTES:
        raise WeightsError(f"{path.name} claims to hold more than it can: it is damaged or made to do harm")


def load(path: Path, *, mapped: bool = False) -> Any:
    """What `path`, a checked file, holds. mapped: leave the numbers of an archive in the file until they are needed.

    Raises:
        WeightsError: it is no file of PyTorch, is cut off, or holds more than numbers.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped and zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        if wanted := _WANTED.search(str(error)):
            raise WeightsError(
                f"{path.name} holds Python objects ({_cut(wanted[1])}) beside its numbers, which could run code when "
                "they are read: refused. From a source that you trust, save the numbers alone: "
                "torch.save(network.state_dict(), FILE)"
            ) from error
        raise unreadable(path, error) from error
    except Exception as error:  # PyTorch's reader raises whatever the broken bytes lead to
        raise unreadable(path, error) from error


def unreadable(path: Path, error: Exception) -> WeightsError:
    return WeightsError(
        f"{path.name} is not a file of PyTorch's, or is damaged or cut off "
        f"({type(error).__name__}: {first_line(error)}); fetch it again and compare its size with the source's"
    )


def first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0][:200]


def named_tensors(content: Any, path: Path) -> State:
    """`content`, which `path` holds, if it is tensors by name, each of which a network could be given.

    Raises:
        WeightsError: it is something else.
    """
    if not isinstance(content, Mapping) or not content:
        raise WeightsError(f"{path.name} holds a {type(content).__name__}, not a state_dict of named tensors")
    others = [
        f"{_cut(str(name))!r} ({type(value).__name__})"
        for name, value in content.items()
        if not isinstance(name, str) or not _is_plain(value)
    ]
    if others:
        raise WeightsError(f"{path.name}: {some(others)} should be plain tensors of a state_dict and are not")
    return dict(content)


def _is_plain(value: Any) -> bool:
    """Real numbers that are there: no sparse, nested, quantised or complex tensor, none without storage."""
    return (
        type(value) in (Tensor, torch.nn.Parameter)
        and not value.is_nested
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and not (value.is_quantized or value.is_complex() or value.is_neg())
    )


def float32(name: str, tensor: Tensor) -> Tensor:
    """The tensor called `name` as a network takes it; not copied where it is of that kind already.

    Raises:
        WeightsError: it holds other numbers, or such that are none.
    """
    if tensor.dtype not in FLOATS:
        raise WeightsError(f"{name} holds {tensor.dtype}; quantised weights are not supported, take the original ones")
    numbers = tensor.detach().to(torch.float32)
    if not torch.isfinite(numbers).all():
        raise WeightsError(
            f"{name} has numbers that are not finite: the file is damaged, or its training went wrong; fetch it again"
        )
    return numbers


def some(names: Sequence[str]) -> str:
    """The first of them, and how many there are beside."""
    rest = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(_cut(name) for name in names[:_SHOWN]) + rest


def _cut(name: str) -> str:
    return name if len(name) <= _SHOWN_LETTERS else f"{name[:_SHOWN_LETTERS]}..."
