"""The Triton client against an in-process gRPC server of tritonclient's own stubs that answers what a test says."""

# ruff: noqa: SIM117

import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from typing import Any

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from inference import errors
from inference.triton import ERRORS, TritonClient

IMAGES = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)


def sums(request: Any) -> Any:
    """A model that answers the sum of each row of its input."""
    rows = np.frombuffer(request.raw_input_contents[0], np.uint8).reshape(tuple(request.inputs[0].shape))
    return answer("total", rows.reshape(len(rows), -1).sum(axis=1, dtype=np.float32)[:, None])


def answer(name: str, tensor: np.ndarray, shape: tuple[int, ...] | None = None, raw: bytes | None = None) -> Any:
    response = service_pb2.ModelInferResponse(model_name="adder")
    response.outputs.add(name=name, datatype="FP32", shape=tensor.shape if shape is None else shape)
    response.raw_output_contents.append(tensor.tobytes() if raw is None else raw)
    return response


class Servicer(service_pb2_grpc.GRPCInferenceServiceServicer):
    def __init__(self, model: Callable[[Any], Any] | None, fault: tuple[grpc.StatusCode, str] | None) -> None:
        self.model, self.fault = model, fault
        self.asked: list[str] = []
        self.released = threading.Event()

    def ModelInfer(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.asked.append(request.model_name)
        if self.fault:
            context.abort(*self.fault)
        if self.model is None:  # never answers until the test is over
            self.released.wait(30)
            return service_pb2.ModelInferResponse()
        return self.model(request)

    def ServerLive(self, request: Any, context: grpc.ServicerContext) -> Any:
        return service_pb2.ServerLiveResponse(live=self.fault is None)

    def ModelReady(self, request: Any, context: grpc.ServicerContext) -> Any:
        return service_pb2.ModelReadyResponse(ready=request.name == "adder")

    def RepositoryModelLoad(self, request: Any, context: grpc.ServicerContext) -> Any:
        if request.model_name != "adder":
            context.abort(grpc.StatusCode.INTERNAL, "failed to load 'x', failed to poll from model repository")
        self.asked.append(f"load {request.model_name}")
        return service_pb2.RepositoryModelLoadResponse()

    def RepositoryModelUnload(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.asked.append(f"unload {request.model_name}")
        return service_pb2.RepositoryModelUnloadResponse()

    def RepositoryIndex(self, request: Any, context: grpc.ServicerContext) -> Any:
        response = service_pb2.RepositoryIndexResponse()
        response.models.add(name="adder", state="READY")
        state = "READY" if "load yolact-base" in self.asked else "UNAVAILABLE"
        response.models.add(name="yolact-base", state=state, reason="" if state == "READY" else "unloaded")
        return response

    def ModelConfig(self, request: Any, context: grpc.ServicerContext) -> Any:
        if request.name != "adder":
            context.abort(grpc.StatusCode.NOT_FOUND, f"Request for unknown model: '{request.name}' is not found")
        response = service_pb2.ModelConfigResponse()
        response.config.parameters["portrait.spec"].string_value = "{}"
        return response


@contextmanager
def serving(
    model: Callable[[Any], Any] | None = sums,
    fault: tuple[grpc.StatusCode, str] | None = None,
    port: int = 0,
    received_bytes: int = -1,
) -> Iterator[tuple[str, Servicer]]:
    servicer = Servicer(model, fault)
    server = grpc.server(futures.ThreadPoolExecutor(4), options=[("grpc.max_receive_message_length", received_bytes)])
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    try:
        yield f"127.0.0.1:{port}", servicer
    finally:
        servicer.released.set()
        server.stop(None).wait(5)


@contextmanager
def client(*urls: str) -> Iterator[TritonClient]:
    made = TritonClient(urls)
    try:
        yield made
    finally:
        made.close()


def absent() -> str:
    """An address where nothing listens."""
    with serving() as (url, _):
        return url


def infer(triton: TritonClient, *, deadline_s: float = 10.0, images: np.ndarray = IMAGES) -> dict[str, np.ndarray]:
    return triton.infer("adder", {"image": images}, ["total"], deadline_s=deadline_s)


def test_an_answer_keeps_shape_type_and_values() -> None:
    with serving() as (url, servicer), client(url) as triton:
        result = infer(triton)
    assert servicer.asked == ["adder"]
    assert result["total"].dtype == np.float32
    assert result["total"][:, 0].tolist() == [float(IMAGES[0].sum()), float(IMAGES[1].sum())]


def test_tensors_beyond_grpcs_usual_four_megabytes_pass_both_ways() -> None:
    def echo(request: Any) -> Any:
        return answer("total", np.zeros((2, 2_000_000), np.float32))

    with serving(echo) as (url, _), client(url) as triton:
        assert infer(triton, images=np.zeros((2, 2000, 2000, 3), np.uint8))["total"].shape == (2, 2_000_000)


def test_a_request_larger_than_the_server_takes_is_not_worth_a_retry() -> None:
    with serving(received_bytes=10) as (url, servicer), client(url) as triton:
        with pytest.raises(errors.InvalidInferenceRequestError, match="larger than max"):
            infer(triton)
    assert servicer.asked == []


def test_the_error_map_names_every_status_code() -> None:
    assert set(ERRORS) == set(grpc.StatusCode)
    assert all(issubclass(kind, errors.ServerError) for kind in ERRORS.values())


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
def test_each_status_code_becomes_its_error(code: grpc.StatusCode) -> None:
    with serving(fault=(code, "because")) as (url, _), client(url) as triton:
        with pytest.raises(errors.ServerError, match="because") as caught:
            infer(triton)
    assert type(caught.value) is ERRORS[code]


@pytest.mark.parametrize(
    ("code", "details", "expected"),
    [  # words of Triton 2.51
        ("NOT_FOUND", "Request for unknown model: 'adder' is not found", errors.ModelNotInstalledError),
        ("UNAVAILABLE", "Request for unknown model: 'adder' is not found", errors.ModelNotInstalledError),
        ("INVALID_ARGUMENT", "Request for unknown model: 'adder' is not found", errors.ModelNotInstalledError),
        ("NOT_FOUND", "Request for unknown model: 'adder' has no available versions", errors.ServerUnavailableError),
        ("UNAVAILABLE", "[request id: 1] Exceeds maximum queue size", errors.ServerBusyError),
        ("INVALID_ARGUMENT", "load failed for model 'adder': version 1 is at UNAVAILABLE", errors.ServerError),
        ("INVALID_ARGUMENT", "unexpected shape for input 'image'", errors.InvalidInferenceRequestError),
    ],
)
def test_tritons_words_decide_where_one_code_has_several_meanings(
    code: str, details: str, expected: type[errors.ServerError]
) -> None:
    with serving(fault=(grpc.StatusCode[code], details)) as (url, _), client(url) as triton:
        with pytest.raises(errors.ServerError) as caught:
            infer(triton)
    assert type(caught.value) is expected


def test_nothing_listening_is_unavailable_and_worth_a_retry() -> None:
    url = absent()
    with client(url) as triton:
        with pytest.raises(errors.ServerUnavailableError) as caught:
            infer(triton)
        assert caught.value.__notes__ == [f"at {url}"]
        assert caught.value.retryable
        assert not triton.ready()


def test_an_absent_address_costs_the_caller_nothing_but_a_detour() -> None:
    with serving() as (url, servicer), client(absent(), url, absent()) as triton:
        for _ in range(6):
            assert infer(triton)["total"].shape == (2, 1)
        assert triton.ready()
    assert len(servicer.asked) == 6


def test_calls_go_to_the_addresses_in_turn() -> None:
    with serving() as (first, one), serving() as (second, other), client(first, second) as triton:
        for _ in range(8):
            infer(triton)
    assert (len(one.asked), len(other.asked)) == (4, 4)


def test_an_address_that_failed_rests_while_the_other_works() -> None:
    fault = (grpc.StatusCode.UNAVAILABLE, "starting")
    with serving(fault=fault) as (ill, asked_ill), serving() as (well, _), client(ill, well) as triton:
        for _ in range(10):
            infer(triton)
    assert len(asked_ill.asked) == 1


def test_an_unavailable_server_gets_one_more_round_only() -> None:
    with serving(fault=(grpc.StatusCode.UNAVAILABLE, "starting")) as (url, servicer), client(url) as triton:
        with pytest.raises(errors.ServerUnavailableError):
            infer(triton)
    assert len(servicer.asked) == 2


def test_a_server_that_comes_back_is_used_again() -> None:
    with serving() as (url, _), client(url) as triton:
        infer(triton)
    with client(url) as triton:
        with pytest.raises(errors.ServerUnavailableError):
            infer(triton)
        with serving(port=int(url.rpartition(":")[2])):
            for _ in range(100):  # the channel knocks again within a second
                if triton.ready():
                    break
                threading.Event().wait(0.05)
            assert infer(triton)["total"].shape == (2, 1)


@pytest.mark.parametrize("code", ["INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "INTERNAL"])
def test_what_a_retry_does_not_help_is_sent_once(code: str) -> None:
    fault = (grpc.StatusCode[code], "no")
    with serving(fault=fault) as (first, one), serving(fault=fault) as (second, other), client(first, second) as triton:
        with pytest.raises(errors.ServerError):
            infer(triton)
    assert len(one.asked) + len(other.asked) == 1


def test_a_slow_server_meets_the_deadline_and_is_not_asked_again() -> None:
    with serving(model=None) as (url, servicer), client(url) as triton:
        with pytest.raises(errors.DeadlineExceededError) as caught:
            infer(triton, deadline_s=0.2)
        assert caught.value.retryable
        assert len(servicer.asked) == 1


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(lambda _: service_pb2.ModelInferResponse(), id="no outputs"),
        pytest.param(lambda _: answer("other", np.zeros((2, 1), np.float32)), id="another output"),
        pytest.param(lambda _: answer("total", np.zeros((2, 1), np.float32), raw=b""), id="zero bytes"),
        pytest.param(lambda _: answer("total", np.zeros((2, 0), np.float32)), id="no elements"),
        pytest.param(lambda _: answer("total", np.zeros((2, 1), np.float32), shape=(2, 3)), id="shape too large"),
        pytest.param(lambda _: answer("total", np.zeros((3, 1), np.float32)), id="another batch size"),
    ],
)
def test_an_answer_that_is_not_what_was_asked_is_refused(model: Callable[[Any], Any]) -> None:
    with serving(model) as (url, servicer), client(url) as triton:
        with pytest.raises(errors.InvalidInferenceResponseError):
            infer(triton)
    assert len(servicer.asked) == 1


def test_an_answer_without_its_bytes_is_refused() -> None:
    def hollow(_: Any) -> Any:
        response = answer("total", np.zeros((2, 1), np.float32))
        response.ClearField("raw_output_contents")
        return response

    with serving(hollow) as (url, _), client(url) as triton:
        with pytest.raises(errors.InvalidInferenceResponseError):
            infer(triton)


@pytest.mark.parametrize(
    "images", [np.zeros((0, 4, 4, 3), np.uint8), np.array([[1]], dtype=object), np.array([["a"]], dtype=object)]
)
def test_a_tensor_that_cannot_be_sent_is_refused_before_it_is(images: np.ndarray) -> None:
    with serving() as (url, servicer), client(url) as triton:
        with pytest.raises(errors.InvalidInferenceRequestError):
            infer(triton, images=images)
    assert servicer.asked == []


def echoed(request: Any) -> Any:
    """A model that answers the texts it was given."""
    response = service_pb2.ModelInferResponse(model_name="adder")
    response.outputs.add(name="total", datatype=request.inputs[0].datatype, shape=request.inputs[0].shape)
    response.raw_output_contents.append(request.raw_input_contents[0])
    return response


def test_texts_travel_as_they_are() -> None:
    texts = np.array([["ein Straßenhund".encode(), b""], [b"\0\xff", b"$1"]], dtype=object)
    with serving(echoed) as (url, _), client(url) as triton:
        answered = triton.infer("adder", {"prompt": texts}, ["total"], deadline_s=5)["total"]
    assert answered.dtype == object
    assert (answered == texts).all()


@pytest.mark.parametrize("raw", [b"", b"\x05\0\0\0ab", b"\x01\0\0\0a\x01\0\0\0b"])
def test_texts_that_do_not_fill_their_shape_are_refused(raw: bytes) -> None:
    def hollow(request: Any) -> Any:
        response = echoed(request)
        response.raw_output_contents[0] = raw
        return response

    with serving(hollow) as (url, _), client(url) as triton:
        with pytest.raises(errors.InvalidInferenceResponseError, match="texts"):
            triton.infer("adder", {"prompt": np.array([[b"a"]], dtype=object)}, ["total"], deadline_s=5)


def test_a_model_counts_as_loaded_only_where_every_server_has_it() -> None:
    with serving() as (first, one), serving() as (second, other), client(first, second) as triton:
        assert [(model.name, model.loaded) for model in triton.models()] == [("adder", True), ("yolact-base", False)]
        one.asked.append("load yolact-base")
        assert [model.loaded for model in triton.models()] == [True, False]
        assert triton.models()[1].reason == "unloaded"
        other.asked.append("load yolact-base")
        assert [model.loaded for model in triton.models()] == [True, True]


def test_a_server_that_is_away_is_left_out_of_the_list() -> None:
    with serving() as (url, _), client(absent(), url) as triton:
        assert [(model.name, model.loaded) for model in triton.models()] == [("adder", True), ("yolact-base", False)]
    with client(absent(), absent()) as triton, pytest.raises(errors.ServerUnavailableError):
        triton.models()


def test_the_parameters_of_a_model_are_told() -> None:
    with serving() as (url, _), client(url) as triton:
        assert triton.parameters("adder") == {"portrait.spec": "{}"}
        with pytest.raises(errors.ModelNotInstalledError, match="models install yolact-base"):
            triton.parameters("yolact-base")


def test_readiness_of_server_and_model_load_and_unload() -> None:
    with serving() as (first, one), serving() as (second, other), client(first, second) as triton:
        assert triton.ready()
        assert triton.ready("adder")
        assert not triton.ready("nothing")
        triton.load("adder")
        triton.unload("adder")
        with pytest.raises(errors.ModelNotInstalledError):
            triton.load("nothing")
    assert one.asked == other.asked == ["load adder", "unload adder"]


def test_many_threads_share_one_client() -> None:
    with serving() as (first, one), serving() as (second, other), client(first, second) as triton:
        with futures.ThreadPoolExecutor(8) as pool:
            results = list(pool.map(lambda _: infer(triton)["total"][1, 0], range(64)))
    assert set(results) == {float(IMAGES[1].sum())}
    assert len(one.asked) + len(other.asked) == 64


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000", "ftp://x"])
def test_an_address_of_another_protocol_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="gRPC"):
        TritonClient([url])


def test_without_addresses_there_is_no_client() -> None:
    with pytest.raises(ValueError, match="at least one"):
        TritonClient([])
