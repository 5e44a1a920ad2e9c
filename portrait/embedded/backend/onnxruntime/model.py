"""Triton's backend `onnxruntime`, as a python-based backend: runs `<version>/model.onnx` with ONNX Runtime on the CPU.

Triton's wheel carries no C++ backend for ONNX. This one reads the same model repository, so that the repository
that serves here serves in NVIDIA's container too. Runs in the Triton environment; imports nothing of Portrait.
"""

import json
import os
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before the import: official builds report to their maker otherwise

import onnxruntime as ort
import triton_python_backend_utils as pb_utils

_MODEL_ERRORS = (
    ort.capi.onnxruntime_pybind11_state.InvalidArgument,
    ort.capi.onnxruntime_pybind11_state.RuntimeException,
    ort.capi.onnxruntime_pybind11_state.Fail,
    ValueError,
)


class TritonPythonModel:
    """One instance: a session of its own. Triton calls `execute` with one dynamic batch, from one thread."""

    def initialize(self, args: dict[str, str]) -> None:
        config = json.loads(args["model_config"])
        name = config.get("default_model_filename") or "model.onnx"
        path = Path(args["model_repository"]) / args["model_version"] / name
        self._session = ort.InferenceSession(str(path), _options(config), providers=["CPUExecutionProvider"])
        self._inputs = [value["name"] for value in config["input"]]
        self._batches = config.get("max_batch_size", 0) > 0

    def execute(self, requests: list[Any]) -> list[Any]:
        """One answer a request, in order. Requests whose tensors fit together run as one batch."""
        answers: dict[int, Any] = {}
        joinable: defaultdict[Any, list[int]] = defaultdict(list)
        tensors = [self._tensors(request) for request in requests]
        for index, request in enumerate(requests):
            if request.is_cancelled():
                answers[index] = _failure("the caller no longer waits", pb_utils.TritonError.CANCELLED)
            else:
                key = tuple((tensor.dtype.str, tensor.shape[1:]) for tensor in tensors[index].values())
                joinable[key if self._batches else index].append(index)
        for indices in joinable.values():
            wanted = [list(requests[index].requested_output_names()) for index in indices]
            results = self._run([tensors[index] for index in indices], wanted)
            answers.update(zip(indices, results, strict=True))
        return [answers[index] for index in range(len(requests))]

    def finalize(self) -> None:
        del self._session

    def _tensors(self, request: Any) -> dict[str, Any]:
        return {name: pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in self._inputs}

    def _run(self, batches: list[dict[str, Any]], wanted: list[list[str]]) -> list[Any]:
        """Run requests joined; where that fails, one by one, so that only the faulty one gets the error."""
        try:
            return self._run_joined(batches, wanted)
        except _MODEL_ERRORS as error:
            if len(batches) == 1:
                return [_failure(str(error), _error_code(error))]
        return [answer for batch, names in zip(batches, wanted, strict=True) for answer in self._run([batch], [names])]

    def _run_joined(self, batches: list[dict[str, Any]], wanted: list[list[str]]) -> list[Any]:
        names = sorted({name for each in wanted for name in each})
        if len(batches) == 1:
            return [_answer(dict(zip(names, self._session.run(names, batches[0]), strict=True)), wanted[0])]
        joined = {name: np.concatenate([batch[name] for batch in batches]) for name in self._inputs}
        outputs = dict(zip(names, self._session.run(names, joined), strict=True))
        ends = np.cumsum([len(batch[self._inputs[0]]) for batch in batches])
        if any(len(output) != ends[-1] for output in outputs.values()):
            raise ValueError("an output of the model lacks the batch dimension; its max_batch_size must be 0")
        parts = {name: np.split(output, ends[:-1]) for name, output in outputs.items()}
        return [_answer({name: parts[name][i] for name in each}, each) for i, each in enumerate(wanted)]


def _options(config: dict[str, Any]) -> ort.SessionOptions:
    """The parameters that NVIDIA's backend knows by the same names."""
    values = {key: value["string_value"] for key, value in config.get("parameters", {}).items()}
    options = ort.SessionOptions()
    options.intra_op_num_threads = int(values.get("intra_op_thread_count", 1))
    options.inter_op_num_threads = int(values.get("inter_op_thread_count", 1))
    # Threads that spin while they wait would take the cores from the other instances.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return options


def _answer(outputs: dict[str, Any], wanted: list[str]) -> Any:
    return pb_utils.InferenceResponse(
        output_tensors=[pb_utils.Tensor(name, np.ascontiguousarray(outputs[name])) for name in wanted]
    )


def _failure(message: str, code: Any) -> Any:
    return pb_utils.InferenceResponse(output_tensors=[], error=pb_utils.TritonError(message, code))


def _error_code(error: Exception) -> Any:
    """Wrong shapes and types are the caller's fault, all else is the model's."""
    invalid = ort.capi.onnxruntime_pybind11_state.InvalidArgument
    return pb_utils.TritonError.INVALID_ARG if isinstance(error, invalid) else pb_utils.TritonError.INTERNAL
