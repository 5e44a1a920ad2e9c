"""Runs converted models beside what they were made of, and refuses any that answers differently."""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from inference.errors import ConversionMismatchError
from inference.runtime import onnxruntime
from inference.types import FloatArray
from inference.weights import graph as g
from inference.weights.manifest import InputSpec, ModelEntry
from inference.weights.references import Chips, probe_pictures, read_references, views

PROBE_PX = (240, 320)
"""Height and width of the pictures that detectors are compared on: UltraFace's published size."""
EMBEDDING_TOLERANCE = 1e-5
"""Largest difference of one number of a vector; 3e-7 was measured, and faces differ by 0.6 in L2."""
HEAD_TOLERANCE = 2e-4
"""Largest difference of one number of a detector's head, beside a ten-thousandth of its value."""


def run_model(model: ModelProto, feeds: Mapping[str, NDArray[np.generic]]) -> dict[str, FloatArray]:
    """All outputs by name."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3  # the published graphs cause a warning for every constant
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(feeds)), strict=True))


def published_input(pictures: Chips, spec: InputSpec) -> FloatArray:
    """What the published network is fed for `pictures` (n, height, width, 3): float32 NCHW."""
    tensor = (pictures.astype(np.float32) - np.array(spec.mean, dtype=np.float32)) * np.float32(spec.scale)
    if spec.network_channels == "BGR":
        tensor = tensor[..., ::-1]
    return np.ascontiguousarray(tensor.transpose(0, 3, 1, 2))


def _free_dimensions(source: ModelProto) -> ModelProto:
    """The same network, its declared sizes (not its constants) made free."""
    freed = ModelProto()
    freed.CopyFrom(source)
    for value in [*g.real_inputs(freed.graph), *freed.graph.output]:
        for axis, dimension in enumerate(value.type.tensor_type.shape.dim):
            dimension.dim_param = f"{value.name}_{axis}"
    return freed


def check_signature(model: ModelProto, entry: ModelEntry) -> None:
    """Raises ConversionMismatchError if inputs and outputs are not those of the manifest."""
    inputs = [value.name for value in model.graph.input]
    outputs = {value.name for value in model.graph.output}
    if inputs != [g.IMAGE] or outputs != set(entry.outputs):
        raise ConversionMismatchError(f"{entry.name}: inputs {inputs}, outputs {sorted(outputs)}")


def check_against_source(model: ModelProto, source: ModelProto, entry: ModelEntry) -> None:
    """Both detectors on two pictures, the converted one on both at once.

    Raises:
        ConversionMismatchError: a head has another shape or other values.
    """
    check_signature(model, entry)
    multiple = entry.input.multiple_of_px
    height, width = (math.ceil(side / multiple) * multiple for side in PROBE_PX)
    pictures = probe_pictures(height, width)
    converted = run_model(model, {g.IMAGE: pictures})
    (name,) = (value.name for value in g.real_inputs(source.graph))
    freed, tensors = _free_dimensions(source), published_input(pictures, entry.input)
    published = [list(run_model(freed, {name: tensor[None]}).values()) for tensor in tensors]
    for place, output in enumerate(value.name for value in model.graph.output):
        expected = np.concatenate([heads[place] for heads in published])
        _compare(f"{entry.name}.{output}", converted[output], expected, HEAD_TOLERANCE)


def check_against_references(model: ModelProto, entry: ModelEntry) -> None:
    """The embedder on the stored faces, against the vectors stored with them.

    Raises:
        ConversionMismatchError: a vector differs.
    """
    check_signature(model, entry)
    references = read_references()
    (output,) = entry.outputs
    embeddings = run_model(model, {g.IMAGE: views(references.chips)})[output]
    _compare(f"{entry.name}.{output}", embeddings, references.embeddings, EMBEDDING_TOLERANCE)


def _compare(what: str, found: FloatArray, expected: FloatArray, tolerance: float) -> None:
    if found.shape != expected.shape:
        raise ConversionMismatchError(f"{what} has shape {found.shape}, the original {expected.shape}")
    if not np.allclose(found, expected, rtol=1e-4, atol=tolerance):
        difference = float(np.abs(found - expected).max())
        raise ConversionMismatchError(f"{what} differs from the original by up to {difference:.3g}")
