"""What the pipelines need of an inference server, and the fake that stands in where a fault is injected."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

Tensor = NDArray[Any]
Tensors = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model of the server's repository. `reason`: why it is not loaded, where the server says so."""

    name: str
    loaded: bool
    reason: str = ""


class InferenceClient(Protocol):
    """A client is safe to share between threads. Every method raises `inference.errors.ServerError`s only."""

    def infer(self, model: str, inputs: Tensors, outputs: Sequence[str], *, deadline_s: float) -> dict[str, Tensor]:
        """Run `model` once. Inputs carry their batch dimension first; so do the answered outputs.

        Raises:
            ServerUnavailableError, DeadlineExceededError, ServerBusyError: worth a retry later.
            ModelNotInstalledError, InvalidInferenceRequestError, InvalidInferenceResponseError: not.
        """

    def ready(self, model: str | None = None) -> bool:
        """Whether the server (or the named model on it) answers inferences now; never raises."""

    def load(self, model: str) -> None:
        """Load or reload a model from the server's repository."""

    def unload(self, model: str) -> None:
        """Stop serving a model."""

    def models(self) -> list[ServedModel]:
        """What is in the repository, by name, loaded or not.

        Raises:
            ServerUnavailableError, DeadlineExceededError: worth a retry later.
        """

    def parameters(self, model: str) -> dict[str, str]:
        """The parameters of a loaded model's configuration.

        Raises:
            ModelNotInstalledError: it is not in the repository. ServerUnavailableError: it is there, not loaded.
        """


class FakeInferenceClient:
    """Answers from functions handed to it, for fault tests: `models` maps a name to `inputs -> outputs`."""

    def __init__(
        self,
        models: Mapping[str, Callable[[Tensors], dict[str, Tensor]]],
        parameters: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        self._models = dict(models)
        self._parameters = dict(parameters or {})
        self.calls: list[tuple[str, dict[str, tuple[int, ...]]]] = []

    def infer(self, model: str, inputs: Tensors, outputs: Sequence[str], *, deadline_s: float) -> dict[str, Tensor]:
        self.calls.append((model, {name: tensor.shape for name, tensor in inputs.items()}))
        answer = self._models[model](inputs)
        return {name: answer[name] for name in outputs}

    def ready(self, model: str | None = None) -> bool:
        return model is None or model in self._models

    def load(self, model: str) -> None:
        self.calls.append((f"load {model}", {}))

    def unload(self, model: str) -> None:
        self.calls.append((f"unload {model}", {}))

    def models(self) -> list[ServedModel]:
        return [ServedModel(name, loaded=True) for name in sorted(self._models)]

    def parameters(self, model: str) -> dict[str, str]:
        return dict(self._parameters.get(model, {}))
