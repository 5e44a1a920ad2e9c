"""A BLIP model in Triton's Python backend: what a model's `model.py` imports.

One instance owns both sessions and the loop, so that keys and values never leave its process. Its memory, measured with
random weights of the base model's size (files of 0.9 GB) in a process of its own: 1.4 GB once it is loaded (the runtime
holds the embedding a second time, turned for the last product), hardly more with one picture and three beams. A batch
may have eight pictures, whose keys and values are 42 MB each, but no more than 24 texts advance together: the most was
1.94 GB, with eight pictures, three beams and 64 tokens, and 1.6 GB with ten beams, of which 1.5 GB stay.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import triton_python_backend_utils as pb_utils

from inference.errors import InferenceError, InvalidInferenceRequestError
from inference.scenes import wire
from inference.scenes.blip import BlipModel
from inference.scenes.wire import Answer, Task


class TritonPythonModel:
    """The one instance. Triton calls `execute` with one dynamic batch, from one thread."""

    def initialize(self, args: dict[str, str]) -> None:
        parameters = {
            key: value["string_value"] for key, value in json.loads(args["model_config"])["parameters"].items()
        }
        folder = Path(args["model_repository"]) / args["model_version"]
        self._model = BlipModel(folder, threads=int(parameters.get("intra_op_thread_count", 0)))

    def execute(self, requests: list[Any]) -> list[Any]:
        """One answer a request, in order. A request that cannot be done gets its own error."""
        answers: dict[int, Any] = {}
        asked: dict[int, list[Task]] = {}
        for index, request in enumerate(requests):
            try:
                asked[index] = self._tasks(request)
            except InferenceError as error:
                answers[index] = _failure(str(error), pb_utils.TritonError.INVALID_ARG)
        answers.update(self._answered(requests, asked))
        return [answers[index] for index in range(len(requests))]

    def finalize(self) -> None:
        del self._model

    def _tasks(self, request: Any) -> list[Task]:
        tensors = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
        tasks = wire.unpack_tasks(tensors)
        for task in tasks:
            self._model.check(task)
        return tasks

    def _answered(self, requests: Sequence[Any], asked: dict[int, list[Task]]) -> dict[int, Any]:
        """All together; where that fails, one request after the other, so that only the faulty one gets the error."""
        owners = [index for index, tasks in asked.items() for _ in tasks]
        try:
            found = self._model.captions(
                [task for tasks in asked.values() for task in tasks],
                gone=lambda place: bool(requests[owners[place]].is_cancelled()),
            )
        except Exception as error:  # the runtime's own classes have no common base
            if len(asked) > 1:
                parts = [self._answered(requests, {index: tasks}) for index, tasks in asked.items()]
                return {index: answer for part in parts for index, answer in part.items()}
            return {index: _failure(f"the captions failed: {error}", _code(error)) for index in asked}
        return {
            index: self._answer(requests[index], [found[place] for place, owner in enumerate(owners) if owner == index])
            for index in asked
        }

    def _answer(self, request: Any, found: Sequence[Answer | None]) -> Any:
        answers = [answer for answer in found if answer is not None]
        if len(answers) < len(found):
            return _failure("the caller no longer waits", pb_utils.TritonError.CANCELLED)
        outputs = wire.pack_answers(answers, self._model.numbers.max_tokens)
        return pb_utils.InferenceResponse(
            output_tensors=[pb_utils.Tensor(name, outputs[name]) for name in request.requested_output_names()]
        )


def _failure(message: str, code: Any) -> Any:
    return pb_utils.InferenceResponse(output_tensors=[], error=pb_utils.TritonError(message, code))


def _code(error: Exception) -> Any:
    refused = isinstance(error, InvalidInferenceRequestError)
    return pb_utils.TritonError.INVALID_ARG if refused else pb_utils.TritonError.INTERNAL
