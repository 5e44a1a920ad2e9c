"""What is told of a picture goes with it, whoever takes it away: person, portrait, camera, collection or rule."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone
from rest_framework.test import APIClient

from inference.codec import decode
from portrait.cameras.models import Frame
from portrait.cameras.services.cameras import delete_camera
from portrait.core.errors import NotFoundError
from portrait.core.models import Scope
from portrait.core.services import create_api_key
from portrait.gallery.models import Collection, Identity
from portrait.gallery.services.identities import delete_collection, delete_identity, delete_portrait
from portrait.scenes.models import Caption, SceneObject, Segmentation
from portrait.sightings.services.pictures import PictureExpiredError
from portrait.sightings.services.retention import expire_due
from tests.portrait.scenes.told import keep_caption, keep_objects, subject
from tests.portrait.sightings.seen import BOTH, ago, enrol, make_camera, make_frame, see, seen_once

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def collins(collection: Collection) -> Identity:
    return enrol(collection, "Eileen Collins", "collins")


@pytest.fixture
def frame(collection: Collection, collins: Identity) -> Frame:
    made = make_frame(make_camera(collection), BOTH)
    see(made, BOTH, [collins, None])
    keep_caption(made, "a woman in an orange suit next to a man")
    keep_objects(made, "person", "tie")
    return made


def left() -> tuple[int, int, int]:
    return Caption.objects.count(), Segmentation.objects.count(), SceneObject.objects.count()


def test_what_is_kept_is_replaced_by_the_same_model_only(frame: Frame) -> None:
    keep_caption(frame, "something else")
    keep_caption(frame, "two people", model="blip-other")
    keep_objects(frame)
    assert sorted(Caption.objects.values_list("model", "text")) == [
        ("blip-other", "two people"),
        ("blip-test", "something else"),
    ]
    assert left() == (2, 1, 0)


def test_the_scene_of_a_frame(reader: APIClient, frame: Frame, collins: Identity) -> None:
    keep_objects(frame, model="yolact-other")
    scene = reader.get(f"/api/v1/frames/{frame.pk}/scene").json()
    assert (scene["frame"], scene["portrait"]) == (frame.pk, None)
    assert scene["image"] == {"width": frame.width, "height": frame.height}
    assert scene["people"][0]["identity"]["id"] == str(collins.pk)
    [caption] = scene["captions"]
    assert (caption["caption"], caption["model"], caption["score"]) == (
        "a woman in an orange suit next to a man",
        "blip-test",
        -0.5,
    )
    assert caption["caption_with_names"] is None
    assert scene["segmented_by"] == ["yolact-other", "yolact-test"]
    assert [(each["label"], each["model"]) for each in scene["objects"]] == [
        ("person", "yolact-test"),
        ("tie", "yolact-test"),
    ]
    assert scene["objects"][0]["mask"]["size"] == [frame.height, frame.width]


def test_the_scene_of_a_portrait_names_who_it_is(reader: APIClient, collins: Identity) -> None:
    portrait = collins.portraits.get()
    keep_caption(portrait, "a woman smiling at the camera", faces=1)
    keep_caption(portrait, "a smiling woman", faces=2, model="blip-two")
    scene = reader.get(f"/api/v1/portraits/{portrait.pk}/scene").json()
    named = {each["model"]: each["caption_with_names"] for each in scene["captions"]}
    assert named == {"blip-test": "Eileen Collins smiling at the camera", "blip-two": None}
    assert scene["people"][0]["box"] == portrait.box


def test_a_scene_is_drawn(reader: APIClient, frame: Frame, collins: Identity) -> None:
    keep_objects(collins.portraits.get(), "person")
    for path in (f"frames/{frame.pk}", f"portraits/{collins.portraits.get().pk}"):
        answer = reader.get(f"/api/v1/{path}/scene", headers={"Accept": "image/png"})
        assert (answer.status_code, answer["Content-Type"]) == (200, "image/png")
        assert "no-store" in answer["Cache-Control"]
        assert decode(answer.content).shape[2] == 3
    answer = reader.get(f"/api/v1/frames/{frame.pk}/scene", headers={"Accept": "image/png"})
    assert decode(answer.content).shape == (frame.height, frame.width, 3)
    Frame.objects.filter(pk=frame.pk).update(picture="", error_message="gone")
    answer = reader.get(f"/api/v1/frames/{frame.pk}/scene", headers={"Accept": "image/png"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (410, "expired")


@pytest.mark.parametrize("number", ["0", "x", "-1", "9" * 40, "9" * 5000, "²", "1e3"])
def test_frames_that_are_none(reader: APIClient, number: str) -> None:
    assert reader.get(f"/api/v1/frames/{number}/scene").status_code == 404
    assert reader.get(f"/api/v1/portraits/{number}/scene").status_code == 404


def test_erasing_somebody_erases_what_was_told_of_frames_with_them(frame: Frame, collins: Identity) -> None:
    other = make_frame(frame.camera, "hopper")
    keep_caption(other, "a woman in a uniform")
    keep_caption(collins.portraits.get(), "a woman", faces=1)
    delete_identity(identity=collins)
    assert [row.frame_id for row in Caption.objects.all()] == [other.pk]
    assert left() == (1, 0, 0)
    assert Frame.objects.get(pk=frame.pk).state == "expired"


def test_what_is_told_goes_with_the_frames_picture(collection: Collection, collins: Identity) -> None:
    camera = make_camera(collection, keep_frames_h=1)
    old, new = ago(hours=3), ago(minutes=1)
    seen_once(camera, "collins", collins, old)
    make_frame(camera, "hopper", new)
    for row in camera.frames.all():
        keep_caption(row, "somebody")
        keep_objects(row, "person")
    expire_due(now=timezone.now())
    assert [row.shown_at for row in Caption.objects.all()] == [new]
    assert left() == (1, 1, 1)
    expire_due(now=timezone.now() + timedelta(hours=2))
    assert left() == (0, 0, 0)


@pytest.mark.parametrize("delete", ["portrait", "identity", "collection"])
def test_what_is_told_of_a_portrait_goes_with_it(collection: Collection, collins: Identity, delete: str) -> None:
    portrait = collins.portraits.get()
    keep_caption(portrait, "a woman")
    keep_objects(portrait, "person")
    if delete == "portrait":
        delete_portrait(portrait=portrait)
    elif delete == "identity":
        delete_identity(identity=collins)
    else:
        delete_collection(collection=collection)
    assert left() == (0, 0, 0)


@pytest.mark.parametrize("delete", ["camera", "collection"])
def test_what_is_told_of_frames_goes_with_them(collection: Collection, frame: Frame, delete: str) -> None:
    if delete == "camera":
        delete_camera(camera=frame.camera)
    else:
        delete_collection(collection=collection)
    assert left() == (0, 0, 0)


def test_nothing_is_kept_of_a_picture_that_went_meanwhile(frame: Frame, collins: Identity) -> None:
    portrait = collins.portraits.get()
    looked_at = subject(frame), subject(portrait)
    Frame.objects.filter(pk=frame.pk).update(picture="")
    delete_portrait(portrait=portrait)
    before = left()
    from portrait.scenes.models import Method
    from portrait.scenes.services.keeping import keep
    from portrait.scenes.services.looking import Told

    for each, error in zip(looked_at, (PictureExpiredError, NotFoundError), strict=True):
        with pytest.raises(error):
            keep(subject=each, told=Told("late", "blip-test", Method.NETWORK))
    assert left() == before


def bound_to(frame: Frame) -> APIClient:
    _, key = create_api_key(
        name="c", scope=Scope.READ, collection_ids=[frame.camera.collection_id], camera_ids=[frame.camera_id]
    )
    return APIClient(HTTP_AUTHORIZATION=f"Api-Key {key}")


def test_a_cameras_key_sees_its_own_frames_only(frame: Frame, collection: Collection, collins: Identity) -> None:
    other = make_frame(make_camera(collection, "garden"), "hopper")
    keep_caption(other, "a woman in a garden")
    keep_objects(other, "plant")
    keep_caption(collins.portraits.get(), "a woman in a portrait")
    keep_objects(collins.portraits.get(), "portrait")
    client = bound_to(frame)
    assert client.get(f"/api/v1/frames/{frame.pk}/scene").status_code == 200
    assert client.get(f"/api/v1/frames/{other.pk}/scene").status_code == 404
    assert client.get(f"/api/v1/portraits/{collins.portraits.get().pk}/scene").status_code == 403
    assert [row["frame"] for row in client.get("/api/v1/captions?q=woman").json()["results"]] == [frame.pk]
    assert {row["frame"] for row in client.get("/api/v1/objects").json()["results"]} == {frame.pk}
    assert client.get("/api/v1/captions?kind=portrait").json()["results"] == []


def search(client: APIClient, what: str = "captions", **asked: Any) -> list[dict[str, Any]]:
    answer = client.get(f"/api/v1/{what}", asked)
    assert answer.status_code == 200, answer.content
    return list(answer.json()["results"])


def test_captions_are_searched_by_their_words(
    reader: APIClient, frame: Frame, collection: Collection, collins: Identity
) -> None:
    portrait = collins.portraits.get()
    keep_caption(portrait, "two dogs running on the beach")
    assert [row["caption"] for row in search(reader, q="dog run")] == ["two dogs running on the beach"]
    assert [row["kind"] for row in search(reader, q='"orange suit"')] == ["frame"]
    assert len(search(reader, q="dog or suit")) == 2
    assert search(reader, q="woman -orange") == []
    assert search(reader, q="Collins") == [], "captions name nobody"
    assert search(reader, q="the") == []
    assert [row["kind"] for row in search(reader)] == ["portrait", "frame"], "newest first"
    [row] = search(reader, q="suit")
    assert row["camera"] == {"id": str(frame.camera_id), "name": "door"}
    assert (row["frame"], row["portrait"], row["scene_url"]) == (frame.pk, None, f"/api/v1/frames/{frame.pk}/scene")
    [row] = search(reader, q="beach")
    assert (row["portrait"], row["identity"], row["camera"]) == (str(portrait.pk), str(collins.pk), None)
    assert reader.get(row["scene_url"]).status_code == 200


@pytest.mark.parametrize("q", ["'", '"', "((", "a & | b", "-", ":*", "\\", "%", "ü" * 200, "; drop table", "🦊"])
def test_a_search_may_be_any_text(reader: APIClient, frame: Frame, q: str) -> None:
    search(reader, q=q)


@pytest.mark.parametrize("asked", [{"q": "x" * 201}, {"q": "\0"}, {"min_score": 0.5}, {"kind": "camera"}])
def test_searches_that_are_none(reader: APIClient, asked: dict[str, Any]) -> None:
    assert reader.get("/api/v1/captions", asked).status_code == 400


def test_both_lists_are_filtered(reader: APIClient, frame: Frame, collection: Collection, collins: Identity) -> None:
    portrait, grace = collins.portraits.get(), enrol(collection, "Grace Hopper", "hopper")
    late = make_frame(make_camera(collection, "garden"), "hopper", frame.captured_at + timedelta(hours=1))
    keep_caption(late, "a plant")
    keep_objects(late, "plant", score=0.4)
    keep_caption(portrait, "a face")
    keep_objects(portrait, "person")

    def found(what: str, **asked: Any) -> set[int | None]:
        return {row["frame"] for row in search(reader, what, **asked)}

    for what in ("captions", "objects"):
        assert found(what, kind="portrait") == {None}
        assert found(what, kind="frame") == {frame.pk, late.pk}
        assert found(what, camera=str(late.camera_id)) == {late.pk}
        assert found(what, identity=str(collins.pk)) == {frame.pk, None}
        assert found(what, identity=str(grace.pk)) == set()
        assert found(what, until=frame.captured_at.isoformat()) == {frame.pk}
        assert found(what, since=late.captured_at.isoformat(), kind="frame") == {late.pk}
        assert found(what, collection=collection.name) == {frame.pk, late.pk, None}
        assert found(what, model="nothing-of-the-kind") == set()
    assert found("objects", label="person") == {frame.pk, None}
    assert found("objects", label="plant", min_score=0.5) == set()
    assert found("objects", min_score=0.3, label="plant") == {late.pk}


def test_a_longer_page_costs_no_more_queries(
    reader: APIClient, frame: Frame, collins: Identity, django_assert_max_num_queries: Any
) -> None:
    portrait = collins.portraits.get()
    for number in range(8):
        keep_caption(frame if number % 2 else portrait, "a dog", model=f"blip-{number}")
        keep_objects(frame if number % 2 else portrait, "dog", "cat", model=f"yolact-{number}")
    for what in ("captions", "objects"):
        reader.get(f"/api/v1/{what}?page_size=1")
        with django_assert_max_num_queries(3):
            assert len(search(reader, what)) >= 8
    with django_assert_max_num_queries(9):
        assert len(reader.get(f"/api/v1/frames/{frame.pk}/scene").json()["objects"]) == 10


def test_pages_go_on_where_the_last_ended(reader: APIClient, frame: Frame) -> None:
    for number in range(5):
        keep_caption(frame, f"sentence {number}", model=f"blip-{number}")
    path, seen = "/api/v1/captions?page_size=2&q=sentence", []
    while path:
        page = reader.get(path).json()
        seen += [row["caption"] for row in page["results"]]
        path = page["next"]
    assert seen == [f"sentence {number}" for number in reversed(range(5))]


def test_words_are_found_by_the_index(frame: Frame) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET enable_seqscan = off")
        cursor.execute(
            "EXPLAIN SELECT id FROM scenes_caption WHERE words @@ websearch_to_tsquery('english', 'orange suit')"
        )
        plan = str(cursor.fetchall())
        cursor.execute("RESET enable_seqscan")
    assert "caption_words" in plan
