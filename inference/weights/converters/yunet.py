"""YuNet (https://doi.org/10.1007/s11633-023-1423-y), the export with free dimensions."""

from onnx import GraphProto, ModelProto

from inference.weights import graph as g
from inference.weights.manifest import ModelEntry

VERSION = 1


def convert(source: ModelProto, entry: ModelEntry) -> GraphProto:
    """The published graph is sound; it gets the uint8 RGB input, its first convolution turned from BGR to RGB."""
    graph = GraphProto()
    graph.CopyFrom(source.graph)
    (pixels,) = (value.name for value in g.real_inputs(graph))
    g.swap_input_channels(graph, pixels)
    g.rename(graph, {pixels: g.PIXELS})
    nodes = [*g.image_nodes(), *graph.node]
    del graph.input[:], graph.node[:]
    graph.input.append(g.image_input(entry.input))
    graph.node.extend(nodes)
    outputs = [(value.name, value.type.tensor_type.shape.dim[2].dim_value) for value in graph.output]
    del graph.output[:]
    # The published names of the dimensions say that all three strides have the same number of cells.
    graph.output.extend(g.float_output(name, ["batch", f"cells_{name}", size]) for name, size in outputs)
    return graph
