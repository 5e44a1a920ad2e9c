"""The truth, not noise: drawn scenes that the small models of our own never saw, told through the API."""

from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from rest_framework.test import APIClient

from inference.codec import decode, encode_png
from inference.scenes.rle import rle_to_mask
from inference.weights.mini.scenes import DrawnShape, Scene, draw_scene
from portrait.cameras.models import Frame
from portrait.gallery.models import Collection
from portrait.jobs.models import JobItem
from portrait.jobs.tasks import run_item
from portrait.scenes.models import CameraScenes, Caption, SceneObject
from portrait.scenes.services.due import describe_due
from tests.api_clients import b64
from tests.portrait.sightings.seen import enrol, make_camera, make_frame, pictures

pytestmark = pytest.mark.django_db(transaction=True)

SCENES = 30
CAPTIONS, OBJECTS = {"model": "blip-mini"}, {"model": "yolact-mini"}


@lru_cache(maxsize=1)
def scenes() -> tuple[Scene, ...]:
    rng = np.random.default_rng(20_261_121)  # no seed of the training
    return tuple(draw_scene(rng) for _ in range(SCENES))


def post(client: APIClient, path: str, body: dict[str, Any], **headers: str) -> Any:
    answer = client.post(f"/api/v1/{path}", body, format="json", headers=headers)
    assert answer.status_code == 200, answer.content[:500]
    return answer


def test_captions_of_drawn_scenes_are_their_sentences(reader: APIClient) -> None:
    images = [b64(encode_png(scene.image)) for scene in scenes()]
    results = post(reader, "caption", CAPTIONS | {"images": images}).json()["results"]
    assert all("shapes" in told["domain"] for told in results)
    assert {(told["model"], told["method"]) for told in results} == {("blip-mini", "network")}
    right = sum(told["caption"] == scene.sentence for told, scene in zip(results, scenes(), strict=True))
    assert right >= 0.9 * SCENES


def test_a_caption_alone_is_that_of_a_list(reader: APIClient) -> None:
    images = [b64(encode_png(scene.image)) for scene in scenes()[:3]]
    alone = [post(reader, "caption", CAPTIONS | {"image": image}).json() for image in images]
    assert post(reader, "caption", CAPTIONS | {"images": images}).json()["results"] == alone


def test_settings_reach_the_model(reader: APIClient) -> None:
    image = b64(encode_png(scenes()[0].image))
    short = post(reader, "caption", CAPTIONS | {"image": image, "max_length": 6, "num_beams": 1}).json()["caption"]
    full = post(reader, "caption", CAPTIONS | {"image": image}).json()["caption"]
    assert len(short.split()) < len(full.split())
    prompt = " ".join(full.split()[:2])
    led = post(reader, "caption", CAPTIONS | {"image": image, "prompt": prompt, "num_beams": 1}).json()["caption"]
    assert led.startswith(prompt)
    long = reader.post("/api/v1/caption", CAPTIONS | {"image": image, "max_length": 512}, format="json")
    assert (long.status_code, long.json()["error"]["code"]) == (400, "invalid")


def shape_iou(shape: DrawnShape, found: dict[str, Any]) -> float:
    bits = rle_to_mask(found["mask"]).full()
    return float((bits & shape.bits).sum() / (bits | shape.bits).sum())


def test_objects_of_drawn_scenes_are_their_shapes(reader: APIClient) -> None:
    found_shapes = shapes = false = 0
    for scene in scenes():
        told = post(reader, "segment", OBJECTS | {"image": b64(encode_png(scene.image)), "score_threshold": 0.5}).json()
        height, width = scene.image.shape[:2]
        assert told["image"] == {"width": width, "height": height}
        assert "shapes" in told["domain"]
        assert [each["score"] for each in told["objects"]] == sorted(
            (each["score"] for each in told["objects"]), reverse=True
        )
        hits = [
            any(each["label"] == shape.label and shape_iou(shape, each) > 0.5 for each in told["objects"])
            for shape in scene.shapes
        ]
        shapes, found_shapes = shapes + len(hits), found_shapes + sum(hits)
        false += max(0, len(told["objects"]) - sum(hits))
    assert found_shapes >= 0.9 * shapes
    assert false <= 0.2 * shapes


def test_top_k_and_threshold_leave_out_the_worst(reader: APIClient) -> None:
    scene = next(scene for scene in scenes() if len(scene.shapes) >= 2)
    body = OBJECTS | {"image": b64(encode_png(scene.image))}
    everything = post(reader, "segment", body | {"score_threshold": 0, "top_k": 100}).json()["objects"]
    best = post(reader, "segment", body | {"score_threshold": 0, "top_k": 1}).json()["objects"]
    assert best == everything[:1]
    assert post(reader, "segment", body | {"score_threshold": 1}).json()["objects"] == []


def test_on_request_the_picture_is_answered_with_masks_drawn(reader: APIClient) -> None:
    scene = scenes()[0]
    answer = post(reader, "segment", OBJECTS | {"image": b64(encode_png(scene.image))}, Accept="image/png")
    assert answer["Content-Type"] == "image/png"
    drawn = decode(answer.content)
    assert drawn.shape == scene.image.shape
    changed = (drawn != scene.image).any(axis=2)
    for shape in scene.shapes:
        assert changed[shape.bits].mean() > 0.7
    assert changed.mean() < 0.9


def test_models_that_know_shapes_only_are_no_default(reader: APIClient) -> None:
    for path in ("caption", "segment"):
        answer = reader.post(f"/api/v1/{path}", {"image": b64(encode_png(scenes()[0].image))}, format="json")
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "model_not_installed")
        assert "-mini" in answer.json()["error"]["message"]


def test_of_a_frame_both_are_stored_by_the_cameras_rule(enroller: APIClient, collection: Collection) -> None:
    camera = make_camera(collection)
    CameraScenes.objects.create(camera=camera, caption_model="blip-mini", segment_model="yolact-mini")
    frame = make_frame(camera, "collins")
    describe_due(camera=camera, frames=[frame])
    item = JobItem.objects.get()
    JobItem.objects.update(paused_until=None)
    run_item(item.pk)
    item.refresh_from_db()
    assert (item.state, item.error_code) == ("done", "")
    scene = enroller.get(f"/api/v1/frames/{frame.pk}/scene").json()
    assert [caption["model"] for caption in scene["captions"]] == ["blip-mini"]
    assert "shapes" in scene["captions"][0]["domain"]
    assert scene["segmented_by"] == ["yolact-mini"]
    [found] = enroller.get("/api/v1/captions?model=blip-mini").json()["results"]
    assert (found["frame"], "shapes" in found["domain"]) == (frame.pk, True)


def test_through_the_queue_the_results_are_the_same(enroller: APIClient) -> None:
    image = b64(encode_png(scenes()[1].image))
    for path, how in (("caption", CAPTIONS), ("segment", OBJECTS)):
        body = how | {"image": image, "async": True}
        job = enroller.post(f"/api/v1/{path}", body, format="json").json()
        run_item(JobItem.objects.get(job_id=job["id"]).pk)
        [item] = enroller.get(f"/api/v1/jobs/{job['id']}").json()["items"]
        assert item["error"] is None
        assert item["result"] == post(enroller, path, how | {"image": image}).json()


def test_of_a_portrait_objects_and_caption_are_stored_and_found(enroller: APIClient, collection: Collection) -> None:
    portrait = enrol(collection, "Eileen Collins", "collins").portraits.get()
    told = post(enroller, "segment", OBJECTS | {"portrait": str(portrait.pk), "score_threshold": 0}).json()
    assert SceneObject.objects.count() == len(told["objects"])
    post(enroller, "caption", CAPTIONS | {"portrait": str(portrait.pk)})
    row = Caption.objects.get()
    assert (row.portrait_id, row.faces, row.model) == (portrait.pk, 1, "blip-mini")
    assert Frame.objects.count() == 0


def test_a_sentence_by_rules_tells_objects_too_and_what_their_model_knows(
    reader: APIClient, collection: Collection, settings: Any
) -> None:
    settings.PORTRAIT = replace(settings.PORTRAIT, segmenter="yolact-mini")
    scene = next(scene for scene in scenes() if len({shape.label for shape in scene.shapes}) == 3)
    told = post(reader, "caption", {"model": "describe", "image": b64(encode_png(scene.image))}).json()
    assert all(shape.label in told["caption"].lower() for shape in scene.shapes)
    assert (told["method"], "shapes" in told["domain"]) == ("rules", True)


def test_a_sentence_without_a_person_gets_no_name(reader: APIClient, collection: Collection) -> None:
    enrol(collection, "Eileen Collins", "collins")
    body = CAPTIONS | {"image": b64(pictures()["collins"]), "collection": collection.name}
    told = post(reader, "caption", body).json()
    assert told["people"][0]["identity"]["name"] == "Eileen Collins"
    assert told["caption_with_names"] is None
    assert told["names_reason"]
