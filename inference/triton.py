"""Triton over gRPC: the only file that knows `tritonclient` and gRPC.

It uses the service stubs inside `tritonclient` rather than its client class, which turns gRPC's status codes into
text; here the code decides which of `inference.errors` a failure becomes.
"""

import itertools
import math
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import grpc
import numpy as np
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import (
    deserialize_bytes_tensor,
    np_to_triton_dtype,
    serialize_byte_tensor,
    triton_to_np_dtype,
)

from inference.client import ServedModel, Tensor, Tensors
from inference.errors import (
    DeadlineExceededError,
    InvalidInferenceRequestError,
    InvalidInferenceResponseError,
    ModelNotInstalledError,
    ServerBusyError,
    ServerError,
    ServerUnavailableError,
)

_READY_DEADLINE_S = 2.0
_PAUSE_S = 0.1
"""Before the one further round over all addresses."""
_UNLIMITED = -1

ERRORS: Mapping[grpc.StatusCode, type[ServerError]] = MappingProxyType(
    {
        grpc.StatusCode.UNAVAILABLE: ServerUnavailableError,
        grpc.StatusCode.CANCELLED: ServerUnavailableError,  # the server shuts down: this side never cancels
        grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceededError,
        grpc.StatusCode.RESOURCE_EXHAUSTED: ServerBusyError,
        grpc.StatusCode.ABORTED: ServerBusyError,
        grpc.StatusCode.NOT_FOUND: ModelNotInstalledError,
        grpc.StatusCode.INVALID_ARGUMENT: InvalidInferenceRequestError,
        grpc.StatusCode.OUT_OF_RANGE: InvalidInferenceRequestError,
        grpc.StatusCode.FAILED_PRECONDITION: InvalidInferenceRequestError,
        grpc.StatusCode.DATA_LOSS: InvalidInferenceResponseError,
        grpc.StatusCode.UNIMPLEMENTED: ServerError,
        grpc.StatusCode.INTERNAL: ServerError,
        grpc.StatusCode.UNKNOWN: ServerError,
        grpc.StatusCode.ALREADY_EXISTS: ServerError,
        grpc.StatusCode.PERMISSION_DENIED: ServerError,
        grpc.StatusCode.UNAUTHENTICATED: ServerError,
        grpc.StatusCode.OK: ServerError,  # never raised; an "error OK" would be the server's fault
    }
)
"""What each status code means. Complete: a test compares it with `grpc.StatusCode`."""

_BY_TEXT: tuple[tuple[str, type[ServerError]], ...] = (
    ("has no available versions", ServerUnavailableError),  # known, but not loaded now: between unload and load
    ("unknown model", ModelNotInstalledError),
    ("failed to poll from model repository", ModelNotInstalledError),
    ("load failed for model", ServerError),
    ("exceeds maximum queue size", ServerBusyError),
    ("message larger than max", InvalidInferenceRequestError),
)
"""Triton uses one code for several conditions. Where its words say more than the code they go first, in this order;
seen in answers of Triton 2.51."""


@dataclass(slots=True)
class _Address:
    url: str
    channel: grpc.Channel
    stub: Any
    resting_until: float = 0.0


class TritonClient:
    """An `InferenceClient` of one or several Triton servers that serve the same models. Safe to share between threads.

    Calls go to the addresses in turn. One that is unavailable rests for `rest_s` (it is then asked only if all others
    fail too) and the call moves on to the next at once; when all have failed, one further round follows after a
    short pause, as far as the deadline allows. Nothing else is tried again: a late answer would be late
    again and a refused request refused again.

    Make it in the process that uses it: gRPC's channels do not survive a fork.

    Args:
        urls: `host:port`, or `grpc://host:port`, or `grpcs://host:port` for TLS.
        connect_timeout_s: after this an address that does not answer at all counts as unavailable.
    """

    def __init__(self, urls: Sequence[str], *, connect_timeout_s: float = 2.0, rest_s: float = 3.0) -> None:
        if not urls:
            raise ValueError("TritonClient needs at least one address")
        self._addresses = [_address(url, connect_timeout_s) for url in urls]
        self._rest_s = rest_s
        self._turn = itertools.count()  # next() is atomic

    def infer(self, model: str, inputs: Tensors, outputs: Sequence[str], *, deadline_s: float) -> dict[str, Tensor]:
        request = _infer_request(model, inputs, outputs)
        response = self._anywhere(lambda stub, left_s: stub.ModelInfer(request, timeout=left_s), deadline_s, model)
        batch = next(iter(inputs.values())).shape[0]
        return {name: _output(response, name, batch) for name in outputs}

    def ready(self, model: str | None = None) -> bool:
        return any(self._is_ready(address, model) for address in self._rotation())

    def load(self, model: str, *, deadline_s: float = 120.0) -> None:
        """On every address, as each server keeps its own models."""
        request = service_pb2.RepositoryModelLoadRequest(model_name=model)
        for address in self._addresses:
            _translated(
                lambda stub, left_s: stub.RepositoryModelLoad(request, timeout=left_s), address, model, deadline_s
            )

    def unload(self, model: str, *, deadline_s: float = 30.0) -> None:
        """On every address."""
        request = service_pb2.RepositoryModelUnloadRequest(model_name=model)
        for address in self._addresses:
            _translated(
                lambda stub, left_s: stub.RepositoryModelUnload(request, timeout=left_s), address, model, deadline_s
            )

    def models(self, *, deadline_s: float = 5.0) -> list[ServedModel]:
        """Loaded: on every address that answers, as each server keeps its own models. One that is away is left out."""
        request, answers = service_pb2.RepositoryIndexRequest(), []
        failure: ServerError | None = None
        for address in self._rotation():
            try:
                answers.append(_translated(_asking_index(request), address, "", deadline_s))
            except ServerUnavailableError as error:
                failure = error
        if failure is not None and not answers:
            raise failure
        return _merged([_versions(answer) for answer in answers])

    def parameters(self, model: str, *, deadline_s: float = 5.0) -> dict[str, str]:
        request = service_pb2.ModelConfigRequest(name=model)
        answer = self._anywhere(lambda stub, left_s: stub.ModelConfig(request, timeout=left_s), deadline_s, model)
        return {key: value.string_value for key, value in answer.config.parameters.items()}

    def served(self, *, deadline_s: float = 2.0) -> dict[str, int]:
        """How many inferences each loaded model has done, on all addresses that answer: who calls twice sees what was
        in use between. One that is away is left out."""
        request, counts = service_pb2.ModelStatisticsRequest(), dict[str, int]()
        for address in self._addresses:
            try:
                answer = _translated(_asking_statistics(request), address, "", deadline_s)
            except ServerError:
                continue
            for model in answer.model_stats:
                counts[model.name] = counts.get(model.name, 0) + int(model.inference_count)
        return counts

    def close(self) -> None:
        """Close the connections; the client is of no use afterwards."""
        for address in self._addresses:
            address.channel.close()

    def _anywhere(self, send: Callable[[Any, float], Any], deadline_s: float, model: str) -> Any:
        """The first answer of any address, within the deadline."""
        end = time.monotonic() + deadline_s
        failure: ServerError = DeadlineExceededError(f"no time was left to call model {model!r}")
        for pause_s in (0.0, _PAUSE_S):
            time.sleep(max(0.0, min(pause_s, end - time.monotonic())))
            for address in self._rotation():
                left_s = end - time.monotonic()
                if left_s <= 0:
                    raise failure
                try:
                    answer = _translated(send, address, model, left_s)
                except ServerUnavailableError as error:
                    failure = error
                    address.resting_until = time.monotonic() + self._rest_s
                else:
                    address.resting_until = 0.0
                    return answer
        raise failure

    def _rotation(self) -> list[_Address]:
        """All addresses, another first at each call, those that rest last."""
        start, now = next(self._turn) % len(self._addresses), time.monotonic()
        turned = self._addresses[start:] + self._addresses[:start]
        return sorted(turned, key=lambda address: address.resting_until > now)

    @staticmethod
    def _is_ready(address: _Address, model: str | None) -> bool:
        try:
            if model is None:
                # "live", not "ready": that is false as long as any one model failed to load, needed or not
                return bool(address.stub.ServerLive(service_pb2.ServerLiveRequest(), timeout=_READY_DEADLINE_S).live)
            request = service_pb2.ModelReadyRequest(name=model)
            return bool(address.stub.ModelReady(request, timeout=_READY_DEADLINE_S).ready)
        except (grpc.RpcError, ValueError):  # ValueError: the channel is closed
            return False


def _asking_index(request: Any) -> Callable[[Any, float], Any]:
    return lambda stub, left_s: stub.RepositoryIndex(request, timeout=left_s)


def _asking_statistics(request: Any) -> Callable[[Any, float], Any]:
    return lambda stub, left_s: stub.ModelStatistics(request, timeout=left_s)


def _versions(answer: Any) -> dict[str, tuple[bool, str]]:
    """Of one server: whether any version of a model is loaded, and if none is, why."""
    found: dict[str, tuple[bool, str]] = {}
    for model in answer.models:
        loaded, reason = found.get(model.name, (False, ""))
        found[model.name] = (loaded or model.state == "READY", reason or model.reason)
    return found


def _merged(servers: Sequence[Mapping[str, tuple[bool, str]]]) -> list[ServedModel]:
    names = sorted({name for server in servers for name in server})
    states = {name: [server.get(name, (False, "")) for server in servers] for name in names}
    return [
        ServedModel(
            name,
            loaded=all(loaded for loaded, _ in states[name]),
            reason=next((reason for loaded, reason in states[name] if not loaded and reason), ""),
        )
        for name in names
    ]


def _address(url: str, connect_timeout_s: float) -> _Address:
    scheme, _, rest = url.rpartition("://")
    options = [
        ("grpc.max_send_message_length", _UNLIMITED),
        ("grpc.max_receive_message_length", _UNLIMITED),
        ("grpc.min_reconnect_backoff_ms", int(1000 * connect_timeout_s)),  # is also the time one attempt gets
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 1000),  # a restarted server is found again within a second
    ]
    if scheme == "grpcs":
        channel = grpc.secure_channel(rest, grpc.ssl_channel_credentials(), options)
    elif scheme in ("", "grpc"):
        channel = grpc.insecure_channel(rest, options)
    else:
        raise ValueError(f"{url!r} is not an address of Triton's gRPC port: give host:port, grpc:// or grpcs://")
    return _Address(url=url, channel=channel, stub=service_pb2_grpc.GRPCInferenceServiceStub(channel))


def _translated(send: Callable[[Any, float], Any], address: _Address, model: str, deadline_s: float) -> Any:
    try:
        return send(address.stub, deadline_s)
    except grpc.RpcError as error:
        raise _meaning(error, address.url, model) from error


def _meaning(error: grpc.RpcError, url: str, model: str) -> ServerError:
    code, details = error.code(), error.details() or ""
    told = next((kind for text, kind in _BY_TEXT if text in details.lower()), None)
    kind = told or ERRORS[code]
    message = f"model {model!r}: {details} ({code.name})"
    if kind is ModelNotInstalledError:
        message += f"; install it with: manage.py models {'build' if model.endswith('-mini') else 'install'} {model}"
    meaning = kind(message)
    meaning.add_note(f"at {url}")  # for the log: whoever asked through the API need not know where the server is
    return meaning


def _infer_request(model: str, inputs: Tensors, outputs: Sequence[str]) -> Any:
    request = service_pb2.ModelInferRequest(model_name=model)
    for name, tensor in inputs.items():
        datatype = np_to_triton_dtype(tensor.dtype)
        if datatype is None or tensor.size == 0 or (datatype == "BYTES" and not _is_bytes(tensor)):
            raise InvalidInferenceRequestError(f"input {name!r}: {tensor.dtype} {tensor.shape} cannot be sent")
        request.inputs.add(name=name, datatype=datatype, shape=tensor.shape)
        request.raw_input_contents.append(
            serialize_byte_tensor(tensor).item() if datatype == "BYTES" else tensor.tobytes()
        )
    for name in outputs:
        request.outputs.add(name=name)
    return request


def _output(response: Any, name: str, batch: int) -> Tensor:
    """One output, checked: its bytes fill its shape, and it has a row for each row of the input.

    Without the check a broken backend passes unseen: with NumPy 2, Triton's 2.51 Python stub answers tensors
    of zero bytes and no error.
    """
    place = next((place for place, output in enumerate(response.outputs) if output.name == name), None)
    if place is None or place >= len(response.raw_output_contents):
        raise InvalidInferenceResponseError(f"model {response.model_name!r} did not answer output {name!r}")
    output, raw = response.outputs[place], response.raw_output_contents[place]
    shape, dtype = tuple(output.shape), triton_to_np_dtype(output.datatype)
    told = f"model {response.model_name!r} answered {name!r} as {output.datatype} {shape} of {len(raw)} bytes"
    if shape[:1] != (batch,):
        raise InvalidInferenceResponseError(f"{told} for a batch of {batch}")
    if output.datatype == "BYTES":
        return _texts(raw, shape, told)
    if dtype is None:
        raise InvalidInferenceResponseError(f"{told}: not a known type")
    if len(raw) == 0 or len(raw) != math.prod(shape) * np.dtype(dtype).itemsize:
        raise InvalidInferenceResponseError(f"{told}: the bytes do not fill the shape")
    return np.frombuffer(raw, dtype).reshape(shape)


def _is_bytes(tensor: Tensor) -> bool:
    return tensor.dtype == object and all(isinstance(each, bytes) for each in tensor.flat)


def _texts(raw: bytes, shape: tuple[int, ...], told: str) -> Tensor:
    """Byte strings, dtype object."""
    try:
        return np.asarray(deserialize_bytes_tensor(raw)).reshape(shape)
    except (struct.error, ValueError) as error:
        raise InvalidInferenceResponseError(f"{told}: the texts do not fill the shape") from error
