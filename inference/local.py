"""An `InferenceClient` in this process, by ONNX Runtime: `inference` without a server, and benchmarks' bare loop.

It reads the same repository as Triton: `<models_dir>/<model>/<version>/`, highest version, which holds a `model.onnx`
or a captioning model (`inference.scenes.blip`).
"""

import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from inference.client import ServedModel, Tensor, Tensors
from inference.errors import InvalidInferenceRequestError, ModelNotInstalledError, ServerError
from inference.runtime import onnxruntime as ort

_REFUSED = (
    ort.capi.onnxruntime_pybind11_state.InvalidArgument,
    ort.capi.onnxruntime_pybind11_state.InvalidGraph,
    ValueError,  # unknown input or output names
)
_NETWORK = "model.onnx"
_CAPTIONER = "blip.json"
_RECORD = "portrait.json"
"""As `inference.weights.imported` writes it."""


class _Model(Protocol):
    def run(self, outputs: Sequence[str], inputs: Tensors) -> Sequence[Tensor]: ...


class LocalClient:
    """Runs models of `models_dir`, each opened at its first use. Safe to share between threads.

    `threads` is what one call may use. Deadlines are not kept: a computation of this process cannot be abandoned.
    """

    def __init__(self, models_dir: Path, *, threads: int = 1) -> None:
        self._models_dir = models_dir
        self._threads = threads
        self._opened: dict[str, _Model] = {}
        self._lock = threading.Lock()

    def infer(self, model: str, inputs: Tensors, outputs: Sequence[str], *, deadline_s: float) -> dict[str, Tensor]:
        opened = self._model(model)
        try:
            answers = opened.run(list(outputs), dict(inputs))
        except (InvalidInferenceRequestError, *_REFUSED) as error:
            raise InvalidInferenceRequestError(f"model {model!r} refuses the request: {error}") from error
        except Exception as error:  # the runtime's own classes have no common base
            raise ServerError(f"model {model!r} failed: {error}") from error
        return {name: np.asarray(answer) for name, answer in zip(outputs, answers, strict=True)}

    def ready(self, model: str | None = None) -> bool:
        try:
            return model is None or self._model(model) is not None
        except ServerError:
            return False

    def load(self, model: str) -> None:
        self.unload(model)
        self._model(model)

    def unload(self, model: str) -> None:
        with self._lock:
            self._opened.pop(model, None)

    def models(self) -> list[ServedModel]:
        """What is installed; all of it counts as loaded, as the first use opens it."""
        folders = {
            path.parent.parent for name in (_NETWORK, _CAPTIONER) for path in self._models_dir.glob(f"[!.]*/*/{name}")
        }
        return [ServedModel(name, loaded=True) for name in sorted(folder.name for folder in folders)]

    def parameters(self, model: str) -> dict[str, str]:
        """Those that were noted when it was imported; a model that was not has none."""
        self._version(model)
        record = self._models_dir / model / _RECORD
        try:
            noted = json.loads(record.read_text(encoding="utf-8"))["parameters"]
            return {str(key): str(value) for key, value in noted.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ServerError(f"model {model!r}: {record} cannot be used: {error}") from error

    def _model(self, model: str) -> _Model:
        with self._lock:
            if model not in self._opened:
                self._opened[model] = self._open(model)
            return self._opened[model]

    def _version(self, model: str) -> Path:
        """The folder of the highest version."""
        folder = self._models_dir / model
        found = {path.parent for name in (_NETWORK, _CAPTIONER) for path in folder.glob(f"*/{name}")}
        versions = sorted((path for path in found if path.name.isdigit()), key=lambda path: int(path.name))
        if not versions:
            raise ModelNotInstalledError(f"model {model!r} is not installed: no {folder}/1/{_NETWORK}")
        return versions[-1]

    def _open(self, model: str) -> _Model:
        version = self._version(model)
        if (version / _CAPTIONER).is_file():
            return _captioner(version, self._threads)
        options = ort.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            session: _Model = ort.InferenceSession(version / _NETWORK, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise ServerError(f"model {model!r} cannot be opened: {error}") from error
        return session


def _captioner(version: Path, threads: int) -> _Model:
    """The import is late because whoever runs no captioning model needs no tokenizers."""
    try:
        from inference.scenes.served import ServedBlip
    except ModuleNotFoundError as error:
        raise ServerError(f"{version} is a captioning model, which needs {error.name}: pip install it") from error
    return ServedBlip(version, threads=threads)
