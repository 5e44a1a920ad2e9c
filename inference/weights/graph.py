"""What the converters share: repairs of a published ONNX graph, and Portrait's uint8 input in front of it."""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, checker, helper, numpy_helper

from inference.types import FloatArray
from inference.weights.manifest import InputSpec

IMAGE = "image"
PIXELS = "image_pixels"
"""Name of the float32 NCHW tensor, in RGB order, that the input nodes make of `image`."""


def initializers(graph: GraphProto) -> dict[str, TensorProto]:
    """The graph's constants by name."""
    return {tensor.name: tensor for tensor in graph.initializer}


def real_inputs(graph: GraphProto) -> list[ValueInfoProto]:
    """Inputs that a caller has to give: those without an initializer."""
    constants = initializers(graph)
    return [value for value in graph.input if value.name not in constants]


def drop_unused_initializers(graph: GraphProto) -> None:
    """Training counters (`num_batches_tracked`) and the like, which no node reads."""
    used = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def rename(graph: GraphProto, names: Mapping[str, str]) -> None:
    """Rename tensors wherever a node makes or reads them."""
    for node in graph.node:
        for tensors in (node.input, node.output):
            for place, name in enumerate(tensors):
                if name in names:
                    tensors[place] = names[name]


def image_input(spec: InputSpec) -> ValueInfoProto:
    """The declaration of `image`: uint8 (batch, height, width, 3)."""
    height, width = spec.fixed_px or ("height", "width")
    return helper.make_tensor_value_info(IMAGE, TensorProto.UINT8, ["batch", height, width, 3])


def image_nodes() -> list[NodeProto]:
    """uint8 NHWC -> float32 NCHW. Transposed first: a quarter of the bytes to move."""
    return [
        helper.make_node("Transpose", [IMAGE], ["image_nchw"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["image_nchw"], [PIXELS], to=TensorProto.FLOAT),
    ]


def normalise_nodes(spec: InputSpec, output: str) -> tuple[list[NodeProto], list[TensorProto]]:
    """`(pixels - mean) * scale`. Not folded into the first convolution: its zero padding stands for the mean."""
    mean = np.array(spec.mean, dtype=np.float32).reshape(1, 3, 1, 1)
    constants = [constant("image_mean", mean), constant("image_scale", np.array(spec.scale, dtype=np.float32))]
    nodes = [
        helper.make_node("Sub", [PIXELS, "image_mean"], ["image_centred"]),
        helper.make_node("Mul", ["image_centred", "image_scale"], [output]),
    ]
    return nodes, constants


def constant(name: str, value: np.ndarray) -> TensorProto:
    return numpy_helper.from_array(np.ascontiguousarray(value), name)


def swap_input_channels(graph: GraphProto, tensor: str) -> None:
    """Let the convolution that reads `tensor` take RGB where it was trained on BGR, at no cost at run time.

    Raises:
        ValueError: something other than one convolution reads it.
    """
    readers = [node for node in graph.node if tensor in node.input]
    if [node.op_type for node in readers] != ["Conv"]:
        raise ValueError(f"{tensor!r} should be read by one convolution")
    weights = initializers(graph)[readers[0].input[1]]
    filters: FloatArray = numpy_helper.to_array(weights)
    weights.CopyFrom(constant(weights.name, filters[:, ::-1]))


def finish(graph: GraphProto, *, name: str, opset: int, properties: Mapping[str, str]) -> ModelProto:
    """A checked model with `properties` and the digest of its graph in its metadata."""
    del graph.value_info[:]
    drop_unused_initializers(graph)
    graph.name = name
    # IR 8 and these opsets are read by every ONNX Runtime since 1.14, the container's included.
    model = helper.make_model(
        graph, ir_version=8, opset_imports=[helper.make_opsetid("", opset)], producer_name="portrait"
    )
    checker.check_model(model, full_check=True)
    helper.set_model_props(model, {**properties, "portrait.graph_sha256": graph_sha256(model)})
    return model


def graph_sha256(model: ModelProto) -> str:
    """Digest of the graph alone, so that it can stand in the metadata beside it."""
    return hashlib.sha256(model.graph.SerializeToString(deterministic=True)).hexdigest()


def properties_of(model: ModelProto) -> dict[str, str]:
    """The model's metadata."""
    return {prop.key: prop.value for prop in model.metadata_props}


def float_output(name: str, shape: Sequence[int | str]) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))
