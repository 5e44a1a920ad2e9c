"""Published weights -> a checked ONNX model: the table of converters, and what is done for each of them alike."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import GraphProto, ModelProto

from inference.errors import WeightsError
from inference.weights import graph as g
from inference.weights.check import check_against_references, check_against_source
from inference.weights.converters import centerface, dlib_resnet, ultraface, yunet
from inference.weights.dlib_dat import parse_dat
from inference.weights.manifest import ModelEntry
from inference.weights.sources import check_sha256


@dataclass(frozen=True, slots=True)
class Converter:
    """`version` goes up with every change of its output, so that what is already built is built again.

    parity: compares the converted model with the published one; without the published file (None), with
    what is stored, or not at all: it answers whether anything was compared.
    """

    version: int
    opset: int
    graph: Callable[[Path, ModelEntry], GraphProto]
    parity: Callable[[ModelProto, ModelEntry, Path | None], bool]


def _from_onnx(convert: Callable[[ModelProto, ModelEntry], GraphProto]) -> Callable[[Path, ModelEntry], GraphProto]:
    return lambda source, entry: convert(load_onnx(source), entry)


def _detector_parity(model: ModelProto, entry: ModelEntry, source: Path | None) -> bool:
    if source is not None:
        check_against_source(model, load_onnx(source), entry)
    return source is not None


def _embedder_parity(model: ModelProto, entry: ModelEntry, source: Path | None) -> bool:
    check_against_references(model, entry)
    return True


CONVERTERS = {
    "centerface": Converter(centerface.VERSION, 9, _from_onnx(centerface.convert), _detector_parity),
    "dlib_resnet": Converter(
        dlib_resnet.VERSION,
        dlib_resnet.OPSET,
        lambda source, entry: dlib_resnet.convert(parse_dat(source.read_bytes()), entry),
        _embedder_parity,
    ),
    "yunet": Converter(yunet.VERSION, 11, _from_onnx(yunet.convert), _detector_parity),
    "ultraface": Converter(ultraface.VERSION, ultraface.OPSET, _from_onnx(ultraface.convert), _detector_parity),
}


def load_onnx(path: Path) -> ModelProto:
    """Raises WeightsError if the file is not ONNX."""
    try:
        return onnx.load(path)
    except (DecodeError, ValueError) as error:
        raise WeightsError(f"{path} is not an ONNX file: {error}") from error


def converter_of(entry: ModelEntry) -> Converter:
    try:
        return CONVERTERS[entry.name]
    except KeyError:
        raise WeightsError(f"there is no converter for {entry.name}") from None


def expected_properties(entry: ModelEntry) -> dict[str, str]:
    """What the metadata of a model made of today's manifest by today's converter says."""
    return {
        "portrait.model": entry.name,
        "portrait.source_sha256": entry.sha256,
        "portrait.converter": str(converter_of(entry).version),
        "portrait.licence": entry.licence,
    }


def convert(entry: ModelEntry, source: Path) -> ModelProto:
    """Check the published file, convert it and compare the two.

    Raises:
        ChecksumMismatchError: `source` is not the file of the manifest.
        ConversionMismatchError: the converted model gives other results.
        WeightsError: the file cannot be read.
    """
    check_sha256(source, entry)
    converter = converter_of(entry)
    graph = converter.graph(source, entry)
    model = g.finish(graph, name=entry.name, opset=converter.opset, properties=expected_properties(entry))
    converter.parity(model, entry, source)
    return model
