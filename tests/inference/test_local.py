"""The in-process client: what is missing, refused or broken is told as the server would tell it."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from inference.errors import InvalidInferenceRequestError, ModelNotInstalledError, ServerError
from inference.local import LocalClient

IMAGE = np.arange(12, dtype=np.uint8).reshape(1, 2, 2, 3)


def write_model(folder: Path, version: int, factor: float) -> None:
    """`image` (n, 2, 2, 3) -> `scaled`: its values times `factor`."""
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["float", "factor"], ["scaled"]),
    ]
    graph = helper.make_graph(
        nodes,
        "scaler",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["n", 2, 2, 3])],
        [helper.make_tensor_value_info("scaled", TensorProto.FLOAT, ["n", 2, 2, 3])],
        [helper.make_tensor("factor", TensorProto.FLOAT, [], [factor])],
    )
    target = folder / "scaler" / str(version) / "model.onnx"
    target.parent.mkdir(parents=True)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), target)


def test_the_highest_version_answers(tmp_path: Path) -> None:
    write_model(tmp_path, 2, 2.0)
    write_model(tmp_path, 10, 3.0)
    answer = LocalClient(tmp_path).infer("scaler", {"image": IMAGE}, ["scaled"], deadline_s=1)
    assert np.array_equal(answer["scaled"], IMAGE * 3.0)


def test_a_model_is_read_anew_when_loaded_again(tmp_path: Path) -> None:
    write_model(tmp_path, 1, 2.0)
    client = LocalClient(tmp_path)
    assert client.ready("scaler")
    write_model(tmp_path, 2, 5.0)
    assert client.infer("scaler", {"image": IMAGE}, ["scaled"], deadline_s=1)["scaled"].max() == 22
    client.load("scaler")
    assert client.infer("scaler", {"image": IMAGE}, ["scaled"], deadline_s=1)["scaled"].max() == 55


def test_a_model_that_is_not_there_is_not_installed(tmp_path: Path) -> None:
    client = LocalClient(tmp_path)
    assert client.ready()
    assert not client.ready("scaler")
    with pytest.raises(ModelNotInstalledError, match="scaler"):
        client.infer("scaler", {"image": IMAGE}, ["scaled"], deadline_s=1)


@pytest.mark.parametrize(
    ("inputs", "output"),
    [({"image": IMAGE[:, :1]}, "scaled"), ({"picture": IMAGE}, "scaled"), ({"image": IMAGE}, "other")],
    ids=["shape", "input name", "output name"],
)
def test_a_request_that_does_not_fit_is_refused(tmp_path: Path, inputs: dict[str, np.ndarray], output: str) -> None:
    write_model(tmp_path, 1, 2.0)
    with pytest.raises(InvalidInferenceRequestError, match="scaler"):
        LocalClient(tmp_path).infer("scaler", inputs, [output], deadline_s=1)


def test_a_broken_file_is_a_server_error(tmp_path: Path) -> None:
    (tmp_path / "scaler" / "1").mkdir(parents=True)
    (tmp_path / "scaler" / "1" / "model.onnx").write_bytes(b"no network")
    with pytest.raises(ServerError, match="cannot be opened"):
        LocalClient(tmp_path).infer("scaler", {"image": IMAGE}, ["scaled"], deadline_s=1)


# --- models of scenes -----------------------------------------------------------------------------


def test_parameters_are_those_that_were_noted_at_import(tmp_path: Path) -> None:
    write_model(tmp_path, 1, 2.0)
    client = LocalClient(tmp_path)
    assert client.parameters("scaler") == {}
    (tmp_path / "scaler" / "portrait.json").write_text('{"parameters": {"portrait.spec": "{}", "threads": 0}}')
    assert client.parameters("scaler") == {"portrait.spec": "{}", "threads": "0"}
    for broken in ("", "[]", '{"parameters": 1}', "{}"):
        (tmp_path / "scaler" / "portrait.json").write_text(broken)
        with pytest.raises(ServerError, match=r"portrait\.json cannot be used"):
            client.parameters("scaler")
    with pytest.raises(ModelNotInstalledError):
        client.parameters("other")


def test_both_kinds_of_models_are_listed(tmp_path: Path) -> None:
    write_model(tmp_path, 1, 2.0)
    write_model(tmp_path, 2, 2.0)
    (tmp_path / "blip-x" / "1").mkdir(parents=True)
    (tmp_path / "blip-x" / "1" / "blip.json").write_text("{}")
    (tmp_path / "empty" / "1").mkdir(parents=True)
    client = LocalClient(tmp_path)
    assert [(model.name, model.loaded) for model in client.models()] == [("blip-x", True), ("scaler", True)]
    assert not client.ready("blip-x")
    with pytest.raises(ServerError, match="no BLIP model that can be opened"):
        client.load("blip-x")


def test_a_captioning_model_answers_through_its_tensors(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="the extra `convert`")
    from inference.scenes import wire
    from inference.scenes.wire import Task
    from inference.types import CaptionSettings
    from inference.weights.blip.importer import import_blip
    from tests.inference.tiny_blip import make_reference, pictures, save

    import_blip(weights=save(make_reference(), tmp_path / "published"), name="blip-x", models_dir=tmp_path)
    client = LocalClient(tmp_path)
    inputs = wire.pack_tasks([Task(image, CaptionSettings(), "a red") for image in pictures(2)])
    answer = client.infer("blip-x", inputs, ["score", "text"], deadline_s=1)
    assert answer["text"].shape == (2, 1)
    assert (answer["score"] < 0).all()
    for wrong, outputs in [
        ({**inputs, "image": inputs["image"][:, :9]}, ["text"]),
        ({"image": inputs["image"]}, ["text"]),
        ({**inputs, "settings": inputs["settings"][:1]}, ["text"]),
        (inputs, ["other"]),
    ]:
        with pytest.raises(InvalidInferenceRequestError, match="blip-x"):
            client.infer("blip-x", wrong, outputs, deadline_s=1)
