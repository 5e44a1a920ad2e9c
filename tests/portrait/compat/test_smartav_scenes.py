"""The first-generation API's captions and objects, by its documented requests, through the small models of our own."""

import base64
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image
from redis.exceptions import RedisError
from rest_framework.test import APIClient

from inference.codec import encode_png
from inference.geometry import intersection_over_union
from inference.types import Box
from inference.weights.mini.scenes import Scene, draw_scene
from portrait.core.models import Scope
from portrait.core.pipelines import inference_client
from portrait.gallery.models import Collection
from tests.api_clients import MakeClient, b64, plain_jpeg
from tests.portrait.compat.old_client import call, data_uri

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.portrait.compat.urls")]

CAPTION = "/image-captioning"
INIT = "/instance-segmentation/init-engine"
LOAD = "/instance-segmentation/load-model"
DETECT = "/instance-segmentation/detect-objects"
MINI, WRITER = "yolact-mini", "blip-mini"


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    """Ten scenes that no training saw."""
    rng = np.random.default_rng(900_001)
    return [draw_scene(rng) for _ in range(10)]


def picture(scene: Scene) -> str:
    return "data:image/png;base64," + b64(encode_png(scene.image))


def rect(found: dict[str, Any]) -> Box:
    return Box(*(found["Rect"][side] for side in "xywh"))


def choose(client: APIClient, path: str = INIT, **body: Any) -> None:
    answer = client.post(path, body, format="json")
    assert (answer.status_code, answer.content) == (200, b"success"), answer.content
    assert answer["Content-Type"].startswith("text/plain")


class TestObjects:
    def test_the_documented_session(self, reader: APIClient, scenes: list[Scene]) -> None:
        choose(reader, model=MINI)
        right = total = 0
        for scene in scenes:
            body = {"image": picture(scene), "top_k": 12, "score_threshold": 0.4}
            answer = call(reader, DETECT, body)
            assert set(answer) == {"mjpg", "detected_objects", "model", "domain"}
            drawn = Image.open(io.BytesIO(base64.b64decode(answer["mjpg"])))
            assert (drawn.format, drawn.size) == ("JPEG", scene.image.shape[1::-1])
            for shape in scene.shapes:
                total += 1
                right += any(
                    each["Class"] == shape.label and intersection_over_union(rect(each), shape.box) > 0.7
                    for each in answer["detected_objects"]
                )
            for each in answer["detected_objects"]:
                assert set(each) == {"Class", "Score", "Rect"}
                assert 0.4 <= each["Score"] <= 1
        assert right / total >= 0.85

    def test_it_is_what_our_own_api_answers(self, reader: APIClient, scenes: list[Scene]) -> None:
        ours = reader.post("/api/v1/segment", {"image": picture(scenes[0]), "model": MINI}, format="json").json()
        theirs = call(reader, DETECT, {"image": picture(scenes[0]), "model": MINI})
        assert [each["Class"] for each in theirs["detected_objects"]] == [each["label"] for each in ours["objects"]]
        assert [rect(each).as_list() for each in theirs["detected_objects"]] == [o["box"] for o in ours["objects"]]

    def test_top_k_and_the_threshold_count(self, reader: APIClient, scenes: list[Scene]) -> None:
        scene = next(each for each in scenes if len(each.shapes) > 1)
        body = {"image": picture(scene), "model": MINI, "score_threshold": 0}
        assert len(call(reader, DETECT, {**body, "top_k": 1})["detected_objects"]) == 1
        assert len(call(reader, DETECT, {**body, "top_k": "2"})["detected_objects"]) == 2
        assert call(reader, DETECT, {**body, "score_threshold": 1})["detected_objects"] == []

    def test_a_picture_without_objects(self, reader: APIClient) -> None:
        answer = call(reader, DETECT, {"image": data_uri(plain_jpeg()), "model": MINI, "score_threshold": 0.9})
        assert answer["detected_objects"] == []
        assert Image.open(io.BytesIO(base64.b64decode(answer["mjpg"]))).size == (64, 48)

    def test_fields_of_old_that_count_for_nothing(self, reader: APIClient, scenes: list[Scene]) -> None:
        choose(reader, LOAD, weights=f"folder/{MINI}.pt", device=0, dataset="coco.yml", half=True, dnn=True)
        call(reader, DETECT, {"image": picture(scenes[0]), "iou_threshold": 0.45})

    @pytest.mark.parametrize(
        "wrong",
        [
            {"top_k": 0},
            {"top_k": 101},
            {"top_k": "many"},
            {"score_threshold": 1.5},
            {"score_threshold": "nan"},
            {"model": 5.5, "top_k": None},
            {"colour": "red"},
        ],
    )
    def test_wrong_values(self, reader: APIClient, wrong: dict[str, Any]) -> None:
        answer = call(reader, DETECT, {"image": data_uri(plain_jpeg()), **wrong}, 400)
        assert answer["code"] == "invalid"

    @pytest.mark.parametrize("body", [{}, [], "x", None, [{"image": "AAAA"}]])
    def test_no_picture(self, reader: APIClient, body: Any) -> None:
        for path in (DETECT, *([] if isinstance(body, list) else [CAPTION])):
            assert isinstance(call(reader, path, body, 400)["error"], str)


class TestEngines:
    def test_by_get_with_a_body_as_the_first_version_asked(self, reader: APIClient, scenes: list[Scene]) -> None:
        answer = reader.generic("GET", INIT, f'{{"model": "{MINI}"}}', content_type="application/json")
        assert (answer.status_code, answer.content) == (200, b"success")
        assert call(reader, DETECT, {"image": picture(scenes[0])})["model"] == MINI

    @pytest.mark.parametrize(
        ("told", "named"),
        [
            ("yolact_resnet50_54_800000.pth", "yolact-resnet50"),
            ("weights/yolact_base_54_800000.pth", "yolact-base"),
            ("yolact_im700_54_800000.pth", "yolact-im700"),
            ("", "yolact-resnet50"),
            ("instance_segmentation/yolov7-seg.pt", "yolact-resnet50"),
        ],
    )
    def test_what_is_not_installed_says_how_to_install_it(self, admin: APIClient, told: str, named: str) -> None:
        for path, field in ((INIT, "model"), (LOAD, "weights")):
            answer = call(admin, path, {field: told}, 503)
            assert answer["code"] == "model_not_installed"
            assert f"manage.py models install {named}" in answer["error"]

    def test_without_a_choice_a_photo_gets_no_model_that_knows_shapes_only(self, reader: APIClient) -> None:
        assert call(reader, DETECT, {"image": data_uri(plain_jpeg())}, 503)["code"] == "model_not_installed"

    def test_a_choice_is_the_callers_own(self, reader: APIClient, make_client: MakeClient) -> None:
        choose(reader, model=MINI)
        call(make_client(), DETECT, {"image": data_uri(plain_jpeg())}, 503)
        call(reader, DETECT, {"image": data_uri(plain_jpeg())})

    @pytest.mark.parametrize("told", ["centerface", "blip-mini", "../../etc/passwd", "yolact-mini\\..\\centerface"])
    def test_a_model_for_something_else(self, reader: APIClient, told: str) -> None:
        assert call(reader, INIT, {"model": told}, 400)["code"] == "wrong_model"

    @pytest.mark.parametrize("body", [[], "x", {"model": ["x"]}, {"model": "x" * 201}, {"modell": MINI}])
    def test_a_body_that_is_not_as_documented(self, reader: APIClient, body: Any) -> None:
        for path in (INIT, LOAD):
            assert isinstance(call(reader, path, body, 400)["error"], str)

    def test_only_an_administrators_key_loads(
        self, reader: APIClient, admin: APIClient, make_client: MakeClient, collection: Collection
    ) -> None:
        bound = make_client(Scope.ADMIN, [collection])
        inference_client().unload(MINI)
        try:
            for client in (reader, bound):
                assert call(client, INIT, {"model": MINI}, 503)["code"] == "model_not_loaded"
            choose(admin, model=MINI)
            choose(reader, model=MINI)
        finally:
            inference_client().load(MINI)

    def test_without_redis_a_choice_is_lost_and_nothing_else(
        self, reader: APIClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Down:
            def get(self, *args: Any, **values: Any) -> Any:
                raise RedisError("down")

            set = get

        monkeypatch.setattr("portrait.compat.smartav.services.scenes.cache", Down())
        choose(reader, model=MINI)
        assert call(reader, DETECT, {"image": data_uri(plain_jpeg())}, 503)["code"] == "model_not_installed"
        call(reader, DETECT, {"image": data_uri(plain_jpeg()), "model": MINI})


class TestCaptions:
    def test_an_object_gets_an_object(self, reader: APIClient, scenes: list[Scene]) -> None:
        told = [call(reader, CAPTION, {"image": picture(scene), "model": WRITER}) for scene in scenes]
        for each in told:
            assert set(each) == {"caption", "text", "questions", "model", "domain"}
            assert (each["text"], each["questions"]) == ("", [])
        right = sum(each["caption"] == scene.sentence for each, scene in zip(told, scenes, strict=True))
        assert right >= 8

    def test_a_list_gets_a_list_in_its_order(self, reader: APIClient, scenes: list[Scene]) -> None:
        bodies = [{"image": picture(scene), "model": WRITER} for scene in scenes[:4]]
        bodies.insert(2, {"image": picture(scenes[0]), "model": "describe", "candidate_size": 3})
        told = call(reader, CAPTION, bodies)
        assert [each["model"] for each in told] == [WRITER, WRITER, "describe", WRITER, WRITER]
        alone = [call(reader, CAPTION, body)["caption"] for body in bodies]
        assert [each["caption"] for each in told] == alone

    def test_rules_where_no_network_is_there(self, reader: APIClient, pictures: dict[str, bytes]) -> None:
        told = call(reader, CAPTION, {"image": data_uri(pictures["collins"]), "model": "describe"})
        assert told["caption"]
        answer = call(reader, CAPTION, {"image": data_uri(pictures["collins"])}, 503)
        assert answer["code"] == "model_not_installed"
        assert "manage.py models install blip-base" in answer["error"]

    def test_nothing_to_do(self, reader: APIClient) -> None:
        assert call(reader, CAPTION, []) == []

    def test_one_bad_picture(self, reader: APIClient, pictures: dict[str, bytes]) -> None:
        body = [{"image": data_uri(data), "model": "describe"} for data in (pictures["collins"], b"a text")]
        assert call(reader, CAPTION, body, 415)["code"] == "unsupported_image"

    @pytest.mark.parametrize("body", [5, "x", [5], [{}], {"image": 5}, [{"image": "AAAA"}] * 33, {"image": "!"}])
    def test_a_body_that_is_not_as_documented(self, reader: APIClient, body: Any) -> None:
        assert isinstance(call(reader, CAPTION, body, 400)["error"], str)
