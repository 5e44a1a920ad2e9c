"""An `InferenceClient` in this process, by ONNX Runtime: `inference` without a server, and benchmarks' bare loop.

It reads the same repository as Triton: `<models_dir>/<model>/<version>/model.onnx`, highest version.
"""

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from inference.client import Tensor, Tensors
from inference.errors import InvalidInferenceRequestError, ModelNotInstalledError, ServerError
from inference.runtime import onnxruntime as ort

_REFUSED = (
    ort.capi.onnxruntime_pybind11_state.InvalidArgument,
    ort.capi.onnxruntime_pybind11_state.InvalidGraph,
    ValueError,  # unknown input or output names
)


class LocalClient:
    """Runs models of `models_dir`, each opened at its first use. Safe to share between threads.

    `threads` is what one call may use. Deadlines are not kept: a computation of this process cannot be abandoned.
    """

    def __init__(self, models_dir: Path, *, threads: int = 1) -> None:
        self._models_dir = models_dir
        self._threads = threads
        self._sessions: dict[str, ort.InferenceSession] = {}
        self._lock = threading.Lock()

    def infer(self, model: str, inputs: Tensors, outputs: Sequence[str], *, deadline_s: float) -> dict[str, Tensor]:
        session = self._session(model)
        try:
            answers = session.run(list(outputs), dict(inputs))
        except _REFUSED as error:
            raise InvalidInferenceRequestError(f"model {model!r} refuses the request: {error}") from error
        except Exception as error:  # the runtime's own classes have no common base
            raise ServerError(f"model {model!r} failed: {error}") from error
        return {name: np.asarray(answer) for name, answer in zip(outputs, answers, strict=True)}

    def ready(self, model: str | None = None) -> bool:
        try:
            return model is None or self._session(model) is not None
        except ServerError:
            return False

    def load(self, model: str) -> None:
        self.unload(model)
        self._session(model)

    def unload(self, model: str) -> None:
        with self._lock:
            self._sessions.pop(model, None)

    def _session(self, model: str) -> ort.InferenceSession:
        with self._lock:
            if model not in self._sessions:
                self._sessions[model] = self._opened(model)
            return self._sessions[model]

    def _opened(self, model: str) -> ort.InferenceSession:
        versions = sorted((self._models_dir / model).glob("*/model.onnx"), key=lambda path: int(path.parent.name))
        if not versions:
            raise ModelNotInstalledError(
                f"model {model!r} is not installed: no {self._models_dir / model}/1/model.onnx"
            )
        options = ort.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            return ort.InferenceSession(versions[-1], options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise ServerError(f"model {model!r} cannot be opened: {error}") from error
