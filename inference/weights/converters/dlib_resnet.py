"""dlib's face recognition ResNet (dlib/dnn_face_recognition_ex.cpp, weights CC0) rebuilt as an ONNX graph.

Architecture: a 7x7 convolution with stride 2, a 3x3 max pool with stride 2, then 14 residual blocks of two 3x3
convolutions, the mean of each channel and one matrix to 128 numbers. Every convolution is followed by an affine
layer, folded here into its filters and biases. A block with stride 2 adds a 2x2 average pool of its input; where
the two differ in channels or, by rounding, in size, the smaller one is filled with zeros at the far end.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, NodeProto, TensorProto, helper

from inference.errors import WeightsError
from inference.types import FloatArray
from inference.weights import graph as g
from inference.weights.dlib_dat import DatNetwork
from inference.weights.manifest import ModelEntry

VERSION = 1
OPSET = 17
SIZE_PX = 150
DIMS = 128
BLOCKS = (
    [(32, False)] * 3
    + [(64, True)] + [(64, False)] * 3
    + [(128, True)] + [(128, False)] * 2
    + [(256, True)] + [(256, False)] * 2
    + [(256, True)]
)  # fmt: skip
"""Filters of each residual block, and whether it halves the picture."""


@dataclass(frozen=True, slots=True)
class _Map:
    """A feature map while the graph is built: the tensor's name and what is known of its shape."""

    name: str
    channels: int
    size: int


@dataclass(slots=True)
class _Builder:
    layers: list[FloatArray]
    nodes: list[NodeProto] = field(default_factory=list)
    constants: list[TensorProto] = field(default_factory=list)

    def add(self, operation: str, inputs: list[str], **attributes: Any) -> str:
        name = f"{operation.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operation, inputs, [name], **attributes))
        return name

    def constant(self, name: str, value: NDArray[np.generic]) -> str:
        self.constants.append(g.constant(name, value))
        return name

    def convolution(self, source: _Map, filters: int, kernel: int, stride: int) -> _Map:
        """The next convolution of the file with its affine layer. dlib pads only where the stride is 1."""
        weights, biases = _folded(self.layers.pop(0), self.layers.pop(0), (filters, source.channels, kernel, kernel))
        name = f"convolution_{len(self.nodes)}"
        inputs = [self.constant(f"{name}_weights", weights), self.constant(f"{name}_biases", biases)]
        pad = kernel // 2 if stride == 1 else 0
        output = self.add(
            "Conv", [source.name, *inputs], kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[pad] * 4
        )
        return _Map(output, filters, (source.size + 2 * pad - kernel) // stride + 1)

    def pool(self, operation: str, source: _Map, kernel: int) -> _Map:
        output = self.add(operation, [source.name], kernel_shape=[kernel] * 2, strides=[2, 2])
        return _Map(output, source.channels, (source.size - kernel) // 2 + 1)

    def fill(self, source: _Map, channels: int, size: int) -> _Map:
        """Zeros at the far end, up to `channels` and `size`."""
        if (source.channels, source.size) == (channels, size):
            return source
        ends = [0, channels - source.channels, size - source.size, size - source.size]
        pads = self.constant(f"fill_{len(self.nodes)}", np.array([0, 0, 0, 0, *ends], dtype=np.int64))
        return _Map(self.add("Pad", [source.name, pads], mode="constant"), channels, size)

    def relu(self, source: _Map) -> _Map:
        return _Map(self.add("Relu", [source.name]), source.channels, source.size)

    def block(self, source: _Map, filters: int, down: bool) -> _Map:
        first = self.relu(self.convolution(source, filters, 3, 2 if down else 1))
        branch = self.convolution(first, filters, 3, 1)
        straight = self.pool("AveragePool", source, 2) if down else source
        size = max(branch.size, straight.size)
        parts = [self.fill(part, filters, size).name for part in (branch, straight)]
        return self.relu(_Map(self.add("Add", parts), filters, size))


def _folded(convolution: FloatArray, affine: FloatArray, shape: tuple[int, ...]) -> tuple[FloatArray, FloatArray]:
    """Filters and biases with `y = gamma * x + beta` in them, computed in double precision."""
    count, filters = shape[0], int(np.prod(shape))
    _require(convolution.size == filters + count and affine.size == 2 * count, f"a layer does not fit {shape}")
    weights, biases = convolution[:filters].astype(np.float64).reshape(shape), convolution[filters:]
    gamma, beta = affine[:count].astype(np.float64), affine[count:]
    folded = weights * gamma.reshape(-1, 1, 1, 1)
    return folded.astype(np.float32), (biases * gamma + beta).astype(np.float32)


def _require(condition: bool, complaint: str) -> None:
    if not condition:
        raise WeightsError(f"not dlib's face recognition network: {complaint}")


def convert(network: DatNetwork, entry: ModelEntry) -> GraphProto:
    """Build the graph.

    Raises:
        WeightsError: the tensors are not those of this architecture, or the manifest's input spec is not the file's.
    """
    tags = [layer.tag for layer in network.layers]
    _require(tags == ["con_4", "affine_"] * (1 + 2 * len(BLOCKS)) + ["fc_2"], f"{len(tags)} layers")
    _require((network.rows, network.columns) == (SIZE_PX, SIZE_PX) == entry.input.fixed_px, "the input's size")
    _require(bool(np.allclose(network.mean, entry.input.mean, atol=1e-3)), f"the mean {network.mean}")
    builder = _Builder(layers=[layer.parameters for layer in network.layers])
    normalise, constants = g.normalise_nodes(entry.input, "normalised")
    features = builder.relu(builder.convolution(_Map("normalised", 3, SIZE_PX), BLOCKS[0][0], 7, 2))
    features = builder.pool("MaxPool", features, 3)
    for filters, down in BLOCKS:
        features = builder.block(features, filters, down)
    mean = builder.add("ReduceMean", [features.name], axes=[2, 3], keepdims=0)
    matrix = builder.layers.pop(0)
    _require(matrix.shape == (features.channels, DIMS), f"the last matrix is {matrix.shape}")
    last = helper.make_node("MatMul", [mean, builder.constant("embedding_matrix", matrix)], ["embedding"])
    return helper.make_graph(
        [*g.image_nodes(), *normalise, *builder.nodes, last],
        entry.name,
        [g.image_input(entry.input)],
        [g.float_output("embedding", ["batch", DIMS])],
        [*constants, *builder.constants],
    )
