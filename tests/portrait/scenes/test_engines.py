"""Which network a request gets, and loading and unloading, on the real Triton with the small models of our own."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from pytest_django import Settings
from rest_framework.test import APIClient

from inference.config import SceneTask, spec_from_json
from inference.errors import ModelNotInstalledError, ModelNotLoadedError, ServerError, ServerUnavailableError
from inference.weights.imported import Origin, Served, Wire, read_record, write_imported
from inference.weights.mini.install import MINIS
from portrait.core.models import Scope
from portrait.core.pipelines import inference_client
from portrait.gallery.models import Collection
from portrait.scenes.services import engines
from tests.api_clients import MakeClient, b64, plain_jpeg

pytestmark = pytest.mark.django_db

Install = Callable[[str], None]


def rename_mini(models: Path, name: str) -> None:
    """yolact-mini under another name, as if it were for photos."""
    record = read_record(django_settings.PORTRAIT.models_dir, "yolact-mini")
    spec = spec_from_json(record["parameters"]["portrait.spec"])
    fields = json.loads((MINIS / "yolact-mini" / "served.json").read_text())
    wires = {
        end: tuple(Wire(each["name"], each["data_type"], tuple(each["dims"])) for each in fields.pop(end))
        for end in ("inputs", "outputs")
    }
    files = {file: MINIS / "yolact-mini" / file for file in record["files"]}
    origin = Origin("yolact", "CC0-1.0", "", {}, {})
    write_imported(models, replace(spec, name=name, domain=""), Served(**fields, **wires), origin, files)


@pytest.fixture
def install(embedded_models: Path) -> Iterator[Install]:
    """Puts yolact-mini into the running server's repository under another name, as one for photos; loads it."""
    names: list[str] = []

    def put(name: str) -> None:
        rename_mini(embedded_models, name)
        names.append(name)
        inference_client().load(name)

    yield put
    for name in names:
        inference_client().unload(name)
        shutil.rmtree(embedded_models / name, ignore_errors=True)


@pytest.fixture
def embedded_models() -> Path:
    folder: Path = django_settings.PORTRAIT.var / "triton" / "models"
    if not folder.is_dir():
        pytest.skip("TRITON_URL is set: the server's repository is not at hand")
    return folder


def names_of(answer: Any) -> dict[str, dict[str, Any]]:
    assert answer.status_code == 200, answer.content
    return {each["name"]: each for each in answer.json()["results"]}


def test_the_list_tells_what_each_network_is(reader: APIClient) -> None:
    found = names_of(reader.get("/api/v1/models"))
    assert found["centerface"]["task"] == "face_detection"
    assert found["centerface"]["default"]
    assert found["dlib_resnet"]["task"] == "face_embedding"
    mini = found["yolact-mini"]
    assert mini["task"] == "segmentation"
    assert mini["loaded"]
    assert not mini["default"]
    assert "circle" in mini["labels"]
    assert "shapes" in mini["domain"]
    assert found["blip-mini"]["task"] == "captioning"
    assert found["blip-mini"]["max_tokens"] >= 16


def test_a_model_that_knows_shapes_only_is_never_taken_unasked() -> None:
    with pytest.raises(ModelNotInstalledError, match="models install yolact-resnet50") as told:
        engines.chosen(SceneTask.SEGMENTATION)
    assert "yolact-mini" in str(told.value)
    with pytest.raises(ModelNotInstalledError, match="models install blip-base"):
        engines.chosen(SceneTask.CAPTIONING)
    assert engines.chosen(SceneTask.SEGMENTATION, "yolact-mini") == "yolact-mini"


def test_the_settings_may_name_it(settings: Settings) -> None:
    settings.PORTRAIT = replace(settings.PORTRAIT, segmenter="yolact-mini", captioner="blip-mini")
    assert engines.chosen(SceneTask.SEGMENTATION) == "yolact-mini"
    assert engines.chosen(SceneTask.CAPTIONING) == "blip-mini"
    assert {each.name for each in engines.engines() if each.is_default} == {
        *("centerface", "dlib_resnet", "yolact-mini", "blip-mini")
    }


def test_a_setting_that_names_what_is_not_there_is_named(settings: Settings) -> None:
    settings.PORTRAIT = replace(settings.PORTRAIT, captioner="blip-nope")
    with pytest.raises(ModelNotInstalledError, match="PORTRAIT_CAPTIONER names a model that is not there"):
        engines.chosen(SceneTask.CAPTIONING)


def test_a_model_for_photos_is_the_default_and_the_published_ones_go_first(install: Install) -> None:
    install("yolact-of-ours")
    assert engines.chosen(SceneTask.SEGMENTATION) == "yolact-of-ours"
    install("yolact-another")
    assert engines.chosen(SceneTask.SEGMENTATION) == "yolact-another"
    install("yolact-resnet50")
    assert engines.chosen(SceneTask.SEGMENTATION) == "yolact-resnet50"
    assert engines.chosen(SceneTask.SEGMENTATION, "yolact-another") == "yolact-another"


def test_what_is_not_there_says_how_to_get_it() -> None:
    with pytest.raises(ModelNotInstalledError, match=r"manage\.py models install yolact-base"):
        engines.chosen(SceneTask.SEGMENTATION, "yolact-base")
    with pytest.raises(engines.WrongModelError, match=r"there are: .*yolact-mini"):
        engines.chosen(SceneTask.SEGMENTATION, "blip-mini")
    with pytest.raises(engines.WrongModelError):
        engines.chosen(SceneTask.CAPTIONING, "centerface")


def test_an_unloaded_model_says_how_to_load_it(admin: APIClient, install: Install) -> None:
    install("yolact-of-ours")
    answer = admin.post("/api/v1/models/yolact-of-ours/unload")
    assert answer.status_code == 200, answer.content
    assert answer.json()["loaded"] is False
    with pytest.raises(ModelNotLoadedError, match="POST /api/v1/models/yolact-of-ours/load"):
        engines.chosen(SceneTask.SEGMENTATION, "yolact-of-ours")
    with pytest.raises(ModelNotLoadedError, match="yolact-of-ours is there: POST /api/v1/models/yolact-of-ours/load"):
        engines.chosen(SceneTask.SEGMENTATION)


def test_a_broken_model_tells_no_path(
    admin: APIClient, install: Install, embedded_models: Path, settings: Settings
) -> None:
    settings.PORTRAIT = replace(settings.PORTRAIT, external=frozenset({"triton_url"}))  # the repository stays as it is
    install("yolact-broken")
    inference_client().unload("yolact-broken")
    (embedded_models / "yolact-broken" / "1" / "model.onnx").write_bytes(b"no network")
    with pytest.raises(ServerError):
        inference_client().load("yolact-broken")

    answers = [
        admin.get("/api/v1/models"),
        admin.post("/api/v1/models/yolact-broken/load"),
        admin.post("/api/v1/segment", {"image": b64(plain_jpeg()), "model": "yolact-broken"}),
    ]

    assert [answer.status_code for answer in answers] == [200, 502, 503]
    for answer in answers:
        assert "yolact-broken" in answer.content.decode()
        assert not any(
            part in answer.content.decode() for part in ("/triton", ".onnx", ".py", "Traceback", "127.0.0.1")
        )
    assert "could not be loaded" in names_of(answers[0])["yolact-broken"]["reason"]


def test_unloading_and_loading_again(admin: APIClient) -> None:
    assert admin.post("/api/v1/models/yolact-mini/unload").json()["loaded"] is False
    assert not names_of(admin.get("/api/v1/models"))["yolact-mini"]["loaded"]
    answer = admin.post("/api/v1/models/yolact-mini/load")
    assert answer.status_code == 200, answer.content
    assert answer.json()["loaded"] is True
    assert engines.chosen(SceneTask.SEGMENTATION, "yolact-mini") == "yolact-mini"


def test_what_was_installed_meanwhile_is_loaded_without_a_restart(
    admin: APIClient, settings: Settings, embedded_models: Path, tmp_path: Path
) -> None:
    models = tmp_path / "models"
    shutil.copytree(settings.PORTRAIT.models_dir, models, ignore=shutil.ignore_patterns(".*"))
    settings.PORTRAIT = replace(settings.PORTRAIT, models_dir=models)
    rename_mini(models, "yolact-late")
    try:
        answer = admin.post("/api/v1/models/yolact-late/load")
        assert answer.status_code == 200, answer.content
        assert answer.json()["loaded"] is True
    finally:
        inference_client().unload("yolact-late")
        shutil.rmtree(models / "yolact-late")
        engines.sync_models(replace(settings.PORTRAIT, models_dir=django_settings.PORTRAIT.models_dir))


def test_faces_stay_recognisable(admin: APIClient) -> None:
    answer = admin.post("/api/v1/models/dlib_resnet/unload")
    assert answer.status_code == 409
    assert "no face can be recognised" in answer.json()["error"]["message"]
    assert inference_client().ready("dlib_resnet")


@pytest.mark.parametrize("action", ["load", "unload"])
def test_a_model_that_is_not_there_can_be_neither_loaded_nor_unloaded(admin: APIClient, action: str) -> None:
    answer = admin.post(f"/api/v1/models/yolact-base/{action}")
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "model_not_installed"
    assert "manage.py models install yolact-base" in answer.json()["error"]["message"]


@pytest.mark.parametrize("name", ["..", "%2e%2e", "a/b", "yolact-mini%00", "x" * 5000])
def test_a_name_that_is_no_name_does_no_harm(admin: APIClient, name: str) -> None:
    assert admin.post(f"/api/v1/models/{name}/load").status_code in (400, 404)


def test_only_an_admin_of_everything_changes_what_is_served(make_client: MakeClient, collection: Collection) -> None:
    for scope in (Scope.READ, Scope.ENROL):
        assert make_client(scope).post("/api/v1/models/yolact-mini/unload").status_code == 403
    bound = make_client(Scope.ADMIN, [collection])
    assert bound.post("/api/v1/models/yolact-mini/unload").status_code == 403
    assert bound.get("/api/v1/models").status_code == 200
    assert inference_client().ready("yolact-mini")


def test_a_server_that_is_away_is_said_to_be_away(reader: APIClient, monkeypatch: pytest.MonkeyPatch) -> None:
    class Away:
        def models(self) -> list[Any]:
            raise ServerUnavailableError("nobody answers")

    monkeypatch.setattr(engines, "inference_client", Away)
    answer = reader.get("/api/v1/models")
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "inference_unavailable"
    assert answer.headers["Retry-After"]
