"""The python-based `onnxruntime` backend, with tiny models in a real Triton."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from django.conf import settings
from numpy.typing import NDArray
from onnx import TensorProto, helper
from tritonclient import grpc

from tests.live.conftest import Installation, wait_for

_CONFIG = """name: "{name}"
backend: "onnxruntime"
max_batch_size: {batch}
input [ {{ name: "image", data_type: TYPE_UINT8, dims: [ {dims} ] }} ]
output [
  {{ name: "double", data_type: TYPE_FP32, dims: [ {dims} ] }},
  {{ name: "mean", data_type: TYPE_FP32, dims: [ 1 ] }}
]
{more}
"""


def _write_model(models: Path, name: str, *, batch: int, dims: str, more: str = "") -> None:
    """`double` = image * 2 + (1, 2, 3): it fails where the last dimension is not 3; `mean` = mean of a batch item."""
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["float", "two"], ["scaled"]),
        helper.make_node("Add", ["scaled", "colours"], ["double"]),
        helper.make_node("Flatten", ["float"], ["flat"], axis=1),
        helper.make_node("ReduceMean", ["flat", "axis"], ["mean"], keepdims=1),
    ]
    constants = {
        "two": np.array(2, np.float32),
        "colours": np.array([1, 2, 3], np.float32),
        "axis": np.array([1], np.int64),
    }
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["n", "h", "w", "c"])],
        [
            helper.make_tensor_value_info("double", TensorProto.FLOAT, ["n", "h", "w", "c"]),
            helper.make_tensor_value_info("mean", TensorProto.FLOAT, ["n", 1]),
        ],
        [onnx.numpy_helper.from_array(value, key) for key, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    (models / name / "1").mkdir(parents=True)
    onnx.save(model, str(models / name / "1" / "model.onnx"))
    (models / name / "config.pbtxt").write_text(_CONFIG.format(name=name, batch=batch, dims=dims, more=more))


@pytest.fixture
def client(installation: Installation, tmp_path: Path) -> Iterator[grpc.InferenceServerClient]:
    """A Triton of its own with two models; the session's PostgreSQL and Redis are of no interest to it."""
    slow_batch = "dynamic_batching { preferred_batch_size: [ 6 ] max_queue_delay_microseconds: 2000000 }"
    _write_model(tmp_path, "joined", batch=6, dims="-1, -1, -1", more=slow_batch)
    _write_model(tmp_path, "single", batch=0, dims="-1, -1, -1, 3")
    urls = {"DATABASE_URL": settings.PORTRAIT.database_url, "REDIS_URL": settings.PORTRAIT.redis_url}
    started = installation.manage("services", "start", PORTRAIT_MODELS=str(tmp_path), PORTRAIT_CORES="1", **urls)
    assert started.returncode == 0, started.stderr
    url = json.loads((installation.var / "run" / "endpoints.json").read_text())["triton_url"]
    with grpc.InferenceServerClient(url) as connected:
        yield connected
    assert installation.manage("services", "stop", **urls).returncode == 0


def _infer(
    client: grpc.InferenceServerClient, model: str, image: NDArray[np.uint8], outputs: tuple[str, ...]
) -> dict[str, NDArray[np.float32]]:
    tensor = grpc.InferInput("image", list(image.shape), "UINT8")
    tensor.set_data_from_numpy(image)
    answer = client.infer(model, [tensor], outputs=[grpc.InferRequestedOutput(name) for name in outputs])
    assert {output.name for output in answer.get_response().outputs} == set(outputs)
    return {name: answer.as_numpy(name) for name in outputs}


def _counted(client: grpc.InferenceServerClient) -> tuple[int, int]:
    statistics = client.get_inference_statistics("joined").model_stats[0]
    return statistics.inference_count, statistics.execution_count


def _image(seed: int, *shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def test_requests_are_joined_run_once_and_split_and_only_a_faulty_one_fails(
    client: grpc.InferenceServerClient,
) -> None:
    colours = np.array([1, 2, 3], np.float32)
    images = [_image(0, 1, 4, 5, 3), _image(1, 2, 4, 5, 3), _image(2, 3, 4, 5, 3)]
    wanted = [("double",), ("double", "mean"), ("mean",)]  # each gets what it asked for, not what another did
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda i: _infer(client, "joined", images[i], wanted[i]), range(3)))
    for image, answer in zip(images, answers, strict=True):
        if "double" in answer:
            np.testing.assert_array_equal(answer["double"], image * np.float32(2) + colours)
        if "mean" in answer:
            np.testing.assert_allclose(answer["mean"], image.reshape(len(image), -1).mean(1, keepdims=True), rtol=1e-5)
    wait_for(lambda: _counted(client) == (6, 1), "six pictures in one execution")  # Triton counts after it answered

    with pytest.raises(grpc.InferenceServerException, match="broadcast") as refused:
        _infer(client, "joined", _image(3, 1, 4, 5, 4), ("double",))
    assert "INTERNAL" in str(refused.value.status()) or "INVALID_ARGUMENT" in str(refused.value.status())
    np.testing.assert_array_equal(
        _infer(client, "joined", images[0], ("double",))["double"], images[0] * np.float32(2) + colours
    )

    # A model without a batch dimension of Triton's: requests run one by one.
    single = _image(4, 2, 3, 4, 3)
    np.testing.assert_array_equal(
        _infer(client, "single", single, ("double",))["double"], single * np.float32(2) + colours
    )
    with pytest.raises(grpc.InferenceServerException, match="unexpected shape") as wrong:
        _infer(client, "single", _image(5, 2, 3, 4, 1), ("double",))
    assert "INVALID_ARGUMENT" in str(wrong.value.status())
    large = _image(6, 1, 2000, 3000, 3)  # more than a shared memory region holds at first: it grows
    assert _infer(client, "single", large, ("double",))["double"].shape == (1, 2000, 3000, 3)
