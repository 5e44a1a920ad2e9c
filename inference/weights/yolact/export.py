"""A YOLACT network as a model of the repository: to ONNX, compared with PyTorch, described. Needs PyTorch."""

import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from inference.errors import ConversionMismatchError
from inference.runtime import onnxruntime as ort
from inference.types import FloatArray
from inference.weights import imported
from inference.weights.yolact.architecture import Architecture
from inference.weights.yolact.network import Served, Yolact

OPSET = 17
OUTPUTS = ("loc", "conf", "coef", "proto")
PARITY_BOUND = 1e-3
"""The most that ONNX Runtime may differ from PyTorch: root mean square of the difference, as a share of that of the
output. A wrong graph is off by far more. Random weights of the published sizes gave up to 8e-5."""
PARITY_LARGEST = 0.05
"""The same for any single number, as a share of the output's largest. Wider, as rounding alone shows where a sum of
large numbers decides a saturated tanh or softmax: up to 2e-3 with random weights of large scale."""
_TINY = 1e-6
_SEED = 20261121
_MAX_BATCH = 4
"""A batch gains nothing on a CPU, and each picture of it takes memory; a GPU is served well enough by four."""


def export(network: Yolact, architecture: Architecture, path: Path) -> None:
    """Write `path`: one input `image`, float32 RGB (batch, size, size, 3) 0..255, and the four raw heads."""
    image = torch.zeros(1, architecture.size_px, architecture.size_px, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about sizes that become constants, which is meant, and the older exporter
        torch.onnx.export(
            Served(network).eval(),
            (image,),
            str(path),
            dynamo=False,
            opset_version=OPSET,
            input_names=["image"],
            output_names=list(OUTPUTS),
            dynamic_axes={name: {0: "batch"} for name in ("image", *OUTPUTS)},
        )


def parity(network: Yolact, architecture: Architecture, path: Path) -> dict[str, object]:
    """Compare `path` with PyTorch on a picture of shapes and one of noise, in one batch.

    Raises:
        ConversionMismatchError: they differ by more than the bounds, or the outputs' shapes are not as described.
    """
    pictures = probe(architecture.size_px)
    with torch.inference_mode():
        expected = [tensor.numpy() for tensor in Served(network).eval()(torch.from_numpy(pictures))]
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    answers = session.run(list(OUTPUTS), {"image": pictures})
    shapes = {name: answer.shape[1:] for name, answer in zip(OUTPUTS, answers, strict=True)}
    if shapes != output_shapes(architecture):
        raise ConversionMismatchError(f"the converted model answers {shapes}, not {output_shapes(architecture)}")
    pairs = {name: (answer, wanted) for name, answer, wanted in zip(OUTPUTS, answers, expected, strict=True)}
    usual = {name: _share(_rms(answer - wanted), _rms(wanted)) for name, (answer, wanted) in pairs.items()}
    largest = {name: _share(_peak(answer - wanted), _peak(wanted)) for name, (answer, wanted) in pairs.items()}
    # "not": whatever is not a number is no match either
    if not (max(usual.values()) <= PARITY_BOUND and max(largest.values()) <= PARITY_LARGEST):
        raise ConversionMismatchError(
            f"the converted model differs from PyTorch by {usual} (bound {PARITY_BOUND}), in single numbers by up to "
            f"{largest} (bound {PARITY_LARGEST}): do not use it; report it with the versions of torch and onnxruntime"
        )
    return {
        "against": f"torch {torch.__version__}",
        "rms_difference": usual,
        "bound": PARITY_BOUND,
        "largest_difference": largest,
        "largest_bound": PARITY_LARGEST,
    }


def _rms(values: FloatArray) -> float:
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))


def _peak(values: FloatArray) -> float:
    return float(np.abs(values).max())


def _share(difference: float, whole: float) -> float:
    return difference / max(_TINY, whole)


def probe(size_px: int) -> FloatArray:
    """Two pictures (2, size, size, 3), 0..255: gradients with a bright and a dark disc, and noise."""
    rows, columns = np.mgrid[0:size_px, 0:size_px] / size_px
    drawn = np.stack([255 * rows, 255 * columns, 127 + 64 * (rows - columns)], axis=-1)
    drawn[np.hypot(rows - 0.35, columns - 0.4) < 0.2] = (230, 210, 180)
    drawn[np.hypot(rows - 0.7, columns - 0.65) < 0.15] = (30, 20, 60)
    noise = np.random.default_rng(_SEED).uniform(0, 255, drawn.shape)
    return np.stack([drawn, noise]).astype(np.float32)


def output_shapes(architecture: Architecture) -> dict[str, tuple[int, ...]]:
    """Of one picture."""
    side, priors, masks = architecture.proto_px, architecture.priors, architecture.masks
    return {
        "loc": (priors, 4),
        "conf": (priors, architecture.classes),
        "coef": (priors, masks),
        "proto": (side, side, masks),
    }


def served(architecture: Architecture) -> imported.Served:
    """How Triton is told of it."""
    size = architecture.size_px
    return imported.Served(
        backend="onnxruntime",
        max_batch=_MAX_BATCH,
        inputs=(imported.Wire("image", "TYPE_FP32", (size, size, 3)),),
        outputs=tuple(imported.Wire(name, "TYPE_FP32", dims) for name, dims in output_shapes(architecture).items()),
    )


def origin(
    *, licence: str, homepage: str, files: Mapping[str, str], parity: Mapping[str, object], notes: str = ""
) -> imported.Origin:
    return imported.Origin(kind="yolact", licence=licence, homepage=homepage, files=files, parity=parity, notes=notes)
