"""BLIP in torch -> two ONNX graphs, and the proof that they compute the same."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from inference.errors import ConversionMismatchError, WeightsError
from inference.runtime import onnxruntime
from inference.scenes.blip import state_names
from inference.types import FloatArray
from inference.weights.blip.config import BlipConfig, Normalisation
from inference.weights.blip.graphs import PictureGraph, StepGraph
from inference.weights.blip.network import Blip

OPSET = 17
TOLERANCE = 1e-4
"""Largest difference of one number, relative to the largest number of its tensor, or to 1 where that is smaller.
3e-6 was measured for networks of the base model's size."""
_PICTURES = 2
_BEAMS = 3
_STEPS = 4


def export(network: Blip, normalisation: Normalisation, config: BlipConfig, encoder: Path, decoder: Path) -> None:
    """Write both graphs."""
    layers, side = config.text.layers, config.vision.image_px
    crosses, pasts, now = (state_names(kind, layers) for kind in ("cross", "past", "now"))
    picture = PictureGraph(network, normalisation)
    image = torch.zeros(1, side, side, 3, dtype=torch.uint8)
    _export(
        picture,
        (image,),
        encoder,
        names=["image"],
        outputs=crosses,
        axes={name: {0: "images"} for name in ["image", *crosses]},
    )
    with torch.inference_mode():
        seen = [tensor.clone() for tensor in picture(image)]
    heads, width = config.text.heads, config.text.width // config.text.heads
    # no size is 1, so that none is taken for a constant
    past = [torch.zeros(2, heads, width, 3), torch.zeros(2, heads, 3, width)] * layers
    inputs = (torch.ones(1, 2, 2, dtype=torch.int64), torch.arange(2), *past, *seen)
    axes = {
        "ids": {0: "images", 1: "beams", 2: "tokens"},
        "rows": {0: "texts"},
        "logits": {0: "texts"},
        **{name: {0: "texts_before", 3 if "_k_" in name else 2: "past"} for name in pasts},
        **{name: {0: "images"} for name in crosses},
        **{name: {0: "texts", 3 if "_k_" in name else 2: "length"} for name in now},
    }
    names, outputs = ["ids", "rows", *pasts, *crosses], ["logits", *now]
    _export(StepGraph(network), inputs, decoder, names=names, outputs=outputs, axes=axes)


def _export(
    module: nn.Module,
    inputs: tuple[torch.Tensor, ...],
    path: Path,
    *,
    names: Sequence[str],
    outputs: Sequence[str],
    axes: dict[str, dict[int, str]],
) -> None:
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that this exporter is the older one, and that shapes are traced
            torch.onnx.export(
                module.eval(),
                inputs,
                str(path),
                input_names=list(names),
                output_names=list(outputs),
                dynamic_axes=axes,
                opset_version=OPSET,
                dynamo=False,
            )
    except (RuntimeError, ValueError, torch.onnx.errors.OnnxExporterError) as error:
        raise WeightsError(f"the network cannot be written as ONNX: {error}") from error


def parity(
    network: Blip, normalisation: Normalisation, config: BlipConfig, encoder: Path, decoder: Path
) -> dict[str, Any]:
    """Run both graphs beside torch: several pictures, several beams, a prompt and several steps with exchanged rows.

    Raises:
        ConversionMismatchError: they differ by more than the bound.
    """
    largest = {"keys and values of pictures": 0.0, "logits": 0.0, "keys and values of tokens": 0.0}
    torch.manual_seed(0)
    generator = np.random.default_rng(0)
    side = config.vision.image_px
    images = generator.integers(0, 256, (_PICTURES, side, side, 3), dtype=np.uint8)
    images[0] //= 3  # one dark, one bright
    with torch.inference_mode():
        seen = [tensor.numpy() for tensor in PictureGraph(network, normalisation).eval()(torch.from_numpy(images))]
    session = _session(encoder)
    answered = session.run(None, {"image": images})
    largest["keys and values of pictures"] = max(_difference(a, b) for a, b in zip(answered, seen, strict=True))
    del session
    for logits, states in _steps(network, config, decoder, seen, generator):
        largest["logits"] = max(largest["logits"], logits)
        largest["keys and values of tokens"] = max(largest["keys and values of tokens"], states)
    for what, difference in largest.items():
        if not difference <= TOLERANCE:
            raise ConversionMismatchError(
                f"the {what} of the ONNX graphs differ from torch by {difference:.3g}, more than {TOLERANCE:g}"
            )
    return {"largest_difference": largest, "bound": TOLERANCE, "relative_to": "the largest number, at least 1"}


def _steps(
    network: Blip, config: BlipConfig, decoder: Path, seen: Sequence[FloatArray], generator: np.random.Generator
) -> list[tuple[float, float]]:
    """Differences of logits, and of keys and values, step by step; both sides get what torch remembers."""
    session, module, text = _session(decoder), StepGraph(network).eval(), config.text
    pasts, crosses = state_names("past", text.layers), state_names("cross", text.layers)
    state = [tensor.numpy() for pair in network.text_decoder.no_past(_PICTURES) for tensor in pair]
    tokens, beams, rows = min(3, text.positions - _STEPS), 1, np.arange(_PICTURES)
    found = []
    for _ in range(_STEPS):
        ids = generator.integers(0, text.vocabulary, (_PICTURES, beams, tokens))
        with torch.inference_mode():
            tensors = [torch.from_numpy(array) for array in (ids, rows, *state, *seen)]
            logits, *now = [tensor.numpy() for tensor in module(*tensors)]
        feeds = dict(zip(["ids", "rows", *pasts, *crosses], (ids, rows, *state, *seen), strict=True))
        answer, *states = session.run(None, feeds)
        found.append((_difference(answer, logits), max(_difference(a, b) for a, b in zip(states, now, strict=True))))
        rows = np.concatenate([place * beams + generator.integers(0, beams, _BEAMS) for place in range(_PICTURES)])
        state, beams, tokens = now, _BEAMS, 1
    return found


def _session(path: Path) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _difference(found: FloatArray, expected: FloatArray) -> float:
    if found.shape != expected.shape or not np.isfinite(found).all():
        return float("inf")
    scale = max(1.0, float(np.abs(expected).max()))
    return float(np.abs(found - expected).max()) / scale
