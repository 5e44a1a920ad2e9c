"""UltraFace RFB-320 (Linzaer/Ultra-Light-Fast-Generic-Face-Detector-1MB), MIT: repaired, and with free dimensions.

The published graph carries its anchors (priors) as constants for 320x240, and with them that size. Here they are
computed in the graph from the sizes of the feature maps, by the rule of the published training code
(`vision/utils/box_utils.py`, `generate_priors`); at 320x240 they are the published ones.
"""

from onnx import GraphProto, ModelProto, NodeProto, parser

from inference.errors import WeightsError
from inference.weights import graph as g
from inference.weights.manifest import ModelEntry

VERSION = 1
OPSET = 12
# The published tensors where anchors come in: the box offsets of each feature map, all offsets, all class scores.
MAPS = ("331", "377", "417", "447")
OFFSETS, SCORES = "460", "459"
ANCHORS_PX = ((10, 16, 24), (32, 48), (64, 96), (128, 192, 256))
"""Sides of the square anchors at each cell of a feature map."""

_PRELUDE = """
    zero = Constant<value_int=0>()  one = Constant<value_int=1>()
    two = Constant<value_int=2>()  three = Constant<value_int=3>()
    half = Constant<value_float=0.5>()
    image_shape = Shape(image)
    image_rows = Gather<axis=0>(image_shape, one)
    image_columns = Gather<axis=0>(image_shape, two)
    image_size_1 = Unsqueeze<axes=[0]>(image_columns)
    image_size_2 = Unsqueeze<axes=[0]>(image_rows)
    image_size_int = Concat<axis=0>(image_size_1, image_size_2)
    image_size = Cast<to=1>(image_size_int)
"""
_LEVEL = """
    shape_{i} = Shape(_{map})
    rows_{i} = Gather<axis=0>(shape_{i}, two)
    columns_{i} = Gather<axis=0>(shape_{i}, three)
    y_int_{i} = Range(zero, rows_{i}, one)
    x_int_{i} = Range(zero, columns_{i}, one)
    y_index_{i} = Cast<to=1>(y_int_{i})
    x_index_{i} = Cast<to=1>(x_int_{i})
    y_middle_{i} = Add(y_index_{i}, half)
    x_middle_{i} = Add(x_index_{i}, half)
    rows_float_{i} = Cast<to=1>(rows_{i})
    columns_float_{i} = Cast<to=1>(columns_{i})
    y_flat_{i} = Div(y_middle_{i}, rows_float_{i})
    x_flat_{i} = Div(x_middle_{i}, columns_float_{i})
    y_{i} = Unsqueeze<axes=[1, 2, 3]>(y_flat_{i})
    x_{i} = Unsqueeze<axes=[0, 2, 3]>(x_flat_{i})
    anchors_{i} = Constant<value=float[{count}, 2] {{{anchors}}}>()
    sides_{i} = Div(anchors_{i}, image_size)
    rows_1d_{i} = Unsqueeze<axes=[0]>(rows_{i})
    columns_1d_{i} = Unsqueeze<axes=[0]>(columns_{i})
    ones_{i} = Constant<value_ints=[{count}, 1]>()
    grid_{i} = Concat<axis=0>(rows_1d_{i}, columns_1d_{i}, ones_{i})
    xs_{i} = Expand(x_{i}, grid_{i})
    ys_{i} = Expand(y_{i}, grid_{i})
    sizes_{i} = Expand(sides_{i}, grid_{i})
    priors_4d_{i} = Concat<axis=3>(xs_{i}, ys_{i}, sizes_{i})
    flat_{i} = Constant<value_ints=[-1, 4]>()
    priors_{i} = Reshape(priors_4d_{i}, flat_{i})
"""
_DECODE = """
    priors_free = Concat<axis=0>(priors_0, priors_1, priors_2, priors_3)
    least = Constant<value_float=0.0>()  most = Constant<value_float=1.0>()
    priors = Clip(priors_free, least, most)
    prior_centre, prior_size = Split<axis=1>(priors)
    centre_offset, size_offset = Split<axis=2>(_{offsets})
    centre_variance = Constant<value_float=0.1>()  size_variance = Constant<value_float=0.2>()
    centre_scaled = Mul(centre_offset, centre_variance)
    centre_moved = Mul(centre_scaled, prior_size)
    centre = Add(centre_moved, prior_centre)
    size_scaled = Mul(size_offset, size_variance)
    size_grown = Exp(size_scaled)
    size = Mul(size_grown, prior_size)
    extent = Mul(size, half)
    top_left = Sub(centre, extent)
    bottom_right = Add(centre, extent)
    boxes = Concat<axis=2>(top_left, bottom_right)
    scores = Softmax<axis=2>(_{scores})
"""


def _decode_nodes() -> list[NodeProto]:
    """From offsets and class scores to `boxes` (left, top, right, bottom as shares of the picture) and `scores`."""
    levels = [
        _LEVEL.format(i=i, map=name, count=len(sides), anchors=", ".join(f"{side}.0" for side in sides for _ in "xy"))
        for i, (name, sides) in enumerate(zip(MAPS, ANCHORS_PX, strict=True))
    ]
    body = _PRELUDE + "".join(levels) + _DECODE.format(offsets=OFFSETS, scores=SCORES)
    return list(parser.parse_graph("decode (uint8[n, h, w, 3] image) => (float[n, p, 4] boxes) {" + body + "}").node)


def _feeding(graph: GraphProto, wanted: set[str]) -> list[NodeProto]:
    """The nodes that `wanted` tensors depend on, in the graph's order."""
    kept: list[NodeProto] = []
    for node in reversed(graph.node):
        if wanted.intersection(node.output):
            wanted |= set(node.input)
            kept.append(node)
    return kept[::-1]


def convert(source: ModelProto, entry: ModelEntry) -> GraphProto:
    """Keep the network up to offsets and class scores, and put the uint8 input before and the decoding behind it."""
    graph = GraphProto()
    graph.CopyFrom(source.graph)
    made = {name for node in graph.node for name in node.output}
    if not made.issuperset({*MAPS, OFFSETS, SCORES}):
        raise WeightsError("not the published UltraFace RFB-320: its tensors have other names")
    (pixels,) = (value.name for value in g.real_inputs(graph))
    network = _feeding(graph, {OFFSETS, SCORES})
    normalise, constants = g.normalise_nodes(entry.input, pixels)
    del graph.input[:], graph.node[:], graph.output[:]
    graph.node.extend([*g.image_nodes(), *normalise, *network])
    # The text format knows no names that begin with a digit.
    g.rename(graph, {name: f"_{name}" for name in (*MAPS, OFFSETS, SCORES)})
    graph.node.extend(_decode_nodes())
    graph.initializer.extend(constants)
    graph.input.append(g.image_input(entry.input))
    graph.output.extend(
        [g.float_output("scores", ["batch", "anchors", 2]), g.float_output("boxes", ["batch", "anchors", 4])]
    )
    return graph
