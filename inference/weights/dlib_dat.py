"""Reads the trained tensors of dlib's face recognition network out of its `.dat` file, without dlib.

The file is dlib's own serialization (dlib/serialize.h, dlib/cuda/tensor.h): an integer is a control byte (low
nibble: how many bytes follow; high bit: negative) and little-endian bytes; a string is its length and its
bytes; a float is an integer mantissa and an integer exponent; a tensor is the version 2, four integers
(samples, channels, rows, columns) and raw little-endian float32. A layer is written after the one that feeds
it, and opens with its tag, so the tags come in network order. Only layers with parameters are read.
"""

import struct
from dataclasses import dataclass

import numpy as np

from inference.errors import WeightsError
from inference.types import FloatArray

INPUT_TAG = "input_rgb_image_sized"
TENSOR_VERSION = 2
# The tag, and how many integers stand between it and the layer's parameters.
LAYER_TAGS = {"con_4": 0, "affine_": 0, "fc_2": 2}


class DatFormatError(WeightsError):
    """Not a dlib network of the expected kind, or a truncated one."""

    code = "dat_format_error"


@dataclass(frozen=True, slots=True)
class DatLayer:
    """A layer's tag and its parameters, flat or, for the last matrix, of shape (inputs, outputs)."""

    tag: str
    parameters: FloatArray


@dataclass(frozen=True, slots=True)
class DatNetwork:
    """`mean`: what is subtracted from R, G, B. `rows`, `columns`: of the input. `layers`: in network order."""

    mean: tuple[float, float, float]
    rows: int
    columns: int
    layers: tuple[DatLayer, ...]


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self.position = 0

    def take(self, count: int) -> bytes:
        taken = self._data[self.position : self.position + count]
        if len(taken) < count:
            raise DatFormatError(f"the file ends at byte {len(self._data)}, inside a record")
        self.position += count
        return taken

    def integer(self) -> int:
        control = self.take(1)[0]
        size = control & 0x0F
        if not 1 <= size <= 8 or control & 0x70:
            raise DatFormatError(f"no integer at byte {self.position - 1}")
        value = int.from_bytes(self.take(size), "little")
        return -value if control & 0x80 else value

    def real(self) -> float:
        mantissa = self.integer()
        return float(mantissa * 2.0 ** self.integer())

    def tensor(self) -> FloatArray:
        start = self.position
        version = self.integer()
        if version != TENSOR_VERSION:
            raise DatFormatError(f"a tensor of version {version}, not {TENSOR_VERSION}, at byte {start}")
        samples, channels, rows, columns = (self.integer() for _ in range(4))
        raw = self.take(4 * samples * channels * rows * columns)
        values = np.frombuffer(raw, dtype="<f4").astype(np.float32)
        if not np.isfinite(values).all():
            raise DatFormatError(f"the tensor at byte {start} holds values that are not finite")
        return values.reshape(samples, channels) if samples > 1 and channels > 1 else values

    def next_tag(self, tags: list[str]) -> str | None:
        """Move behind the nearest of `tags`, or answer None where none is left."""
        places = {tag: self._data.find(_written(tag), self.position) for tag in tags}
        found = {tag: place for tag, place in places.items() if place >= 0}
        if not found:
            return None
        tag = min(found, key=lambda name: found[name])
        self.position = found[tag] + len(_written(tag))
        return tag


def _written(text: str) -> bytes:
    return struct.pack("BB", 1, len(text)) + text.encode("ascii")


def parse_dat(data: bytes) -> DatNetwork:
    """Read the network.

    Raises:
        DatFormatError: the bytes are something else, or end too early.
    """
    reader = _Reader(data)
    if reader.next_tag([INPUT_TAG]) is None:
        raise DatFormatError("no dlib network with an RGB image input")
    mean = (reader.real(), reader.real(), reader.real())
    rows, columns = reader.integer(), reader.integer()
    layers = []
    # A tag could occur by chance among the floats; moving on from behind each tensor skips those.
    while (tag := reader.next_tag(list(LAYER_TAGS))) is not None:
        for _ in range(LAYER_TAGS[tag]):
            reader.integer()
        layers.append(DatLayer(tag, reader.tensor()))
    return DatNetwork(mean=mean, rows=rows, columns=columns, layers=tuple(layers))
