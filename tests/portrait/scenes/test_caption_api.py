"""`POST /api/v1/caption` on real servers: by rules, with people, several pictures, and whatever is wrong with one."""

import io
import struct
import zlib
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from rest_framework.test import APIClient

from portrait.gallery.models import Collection, Identity
from portrait.scenes.models import Caption
from portrait.sightings.models import Detection
from tests.api_clients import MakeClient, b64, plain_jpeg
from tests.portrait.sightings.seen import BOTH, enrol, make_camera, make_frame, pictures, see

pytestmark = pytest.mark.django_db(transaction=True)


def describe(client: APIClient, data: bytes | None = None, **values: Any) -> Any:
    image = {} if data is None else {"image": b64(data)}
    return client.post("/api/v1/caption", {"model": "describe", **image, **values}, format="json")


@pytest.fixture
def collins(collection: Collection) -> Identity:
    return enrol(collection, "Eileen Collins", "collins")


def test_who_is_known_is_named_and_where(reader: APIClient, collection: Collection, collins: Identity) -> None:
    told = describe(reader, pictures()["collins"], collection=collection.name).json()
    assert (told["caption"], told["model"], told["method"]) == ("A person.", "describe", "rules")
    assert told["caption_with_names"] == "Eileen Collins."
    [person] = told["people"]
    assert person["identity"] == {"id": str(collins.pk), "external_id": None, "name": "Eileen Collins"}
    assert person["similarity"] > 0.9
    assert person["box"][2] > 60
    assert "names_reason" not in told
    assert Caption.objects.count() == 0, "an uploaded picture leaves nothing behind"


def test_unknown_people_are_counted_and_stay_unknown(
    reader: APIClient, collection: Collection, collins: Identity
) -> None:
    told = describe(reader, pictures()[BOTH], collection=collection.name).json()
    assert told["caption"] == "Two people."
    assert told["caption_with_names"] == "Eileen Collins and another person."
    assert sorted(person["identity"] is None for person in told["people"]) == [False, True]
    Identity.objects.filter(pk=collins.pk).update(kind=Identity.Kind.UNKNOWN, name="unknown_person_3")
    told = describe(reader, pictures()[BOTH], collection=collection.name).json()
    assert told["caption_with_names"] is None
    assert told["names_reason"]
    Identity.objects.filter(pk=collins.pk).update(kind=Identity.Kind.KNOWN, name="Eileen", hidden=True)
    assert describe(reader, pictures()[BOTH], collection=collection.name).json()["caption_with_names"] is None


def test_people_may_be_left_out(reader: APIClient, collection: Collection, collins: Identity) -> None:
    told = describe(reader, pictures()["collins"], collection=collection.name, people=False).json()
    assert (told["caption"], told["people"], told["caption_with_names"]) == ("A person.", [], None)
    assert describe(reader, plain_jpeg()).json()["caption"] == "No face was found."


def test_one_bad_picture_does_not_spoil_the_others(
    reader: APIClient, collection: Collection, collins: Identity
) -> None:
    images = [b64(pictures()["collins"]), b64(b"no picture"), "%%%", b64(plain_jpeg())]
    results = describe(reader, images=images, collection=collection.name).json()["results"]
    assert [each.get("caption") for each in results] == ["A person.", None, None, "No face was found."]
    assert results[0]["caption_with_names"] == "Eileen Collins."
    assert set(results[1]) == {"error"}
    assert results[1]["error"]["code"] == "unsupported_image"
    assert results[2]["error"]["code"] == "corrupt_image"


def test_a_form_with_one_and_with_several_pictures(reader: APIClient, collins: Identity) -> None:
    def file() -> SimpleUploadedFile:
        return SimpleUploadedFile("a.jpg", pictures()["collins"], "image/jpeg")

    one = reader.post("/api/v1/caption", {"image": file(), "model": "describe"}, format="multipart").json()
    assert len(one["people"]) == 1, "people are looked for unless that is declined, in forms too"
    several = reader.post("/api/v1/caption", {"images": [file(), file()], "model": "describe"}, format="multipart")
    assert [len(each["people"]) for each in several.json()["results"]] == [1, 1]
    declined = {"image": file(), "model": "describe", "people": "false"}
    assert reader.post("/api/v1/caption", declined, format="multipart").json()["people"] == []


def test_a_portraits_and_a_frames_captions_are_stored_without_names(
    enroller: APIClient, collection: Collection, collins: Identity
) -> None:
    portrait = collins.portraits.get()
    told = describe(enroller, portrait=str(portrait.pk)).json()
    assert told["caption_with_names"] == "Eileen Collins."
    frame = make_frame(make_camera(collection), BOTH)
    see(frame, BOTH, [collins, None])
    told = describe(enroller, frame=frame.pk).json()
    assert told["caption_with_names"] == "Eileen Collins and another person."
    assert [row.text for row in Caption.objects.order_by("id")] == ["A person.", "Two people."]
    stored = str(list(Caption.objects.values()))
    assert "Collins" not in stored
    assert str(collins.pk) not in stored
    Identity.objects.filter(pk=collins.pk).update(name="Renamed")
    scene = enroller.get(f"/api/v1/frames/{frame.pk}/scene").json()
    assert scene["captions"][0]["caption_with_names"] == "Renamed and another person."
    assert [person["identity"] and person["identity"]["name"] for person in scene["people"]] == ["Renamed", None]


def test_the_same_model_replaces_its_caption(enroller: APIClient, collins: Identity) -> None:
    portrait = str(collins.portraits.get().pk)
    for _ in range(2):
        assert describe(enroller, portrait=portrait).status_code == 200
    assert Caption.objects.count() == 1


def test_a_frame_that_waits_says_that_its_faces_are_not_known_yet(enroller: APIClient, collection: Collection) -> None:
    frame = make_frame(make_camera(collection), "collins", state="waiting", finished_at=None)
    told = describe(enroller, frame=frame.pk).json()
    assert (told["caption"], told["people"], told["caption_with_names"]) == ("A person.", [], None)
    assert "waits" in told["names_reason"]


def test_storing_needs_more_than_reading(
    reader: APIClient, collection: Collection, collins: Identity, make_client: MakeClient
) -> None:
    for values in ({"portrait": str(collins.portraits.get().pk)}, {"frame": 1}):
        assert describe(reader, **values).status_code == 403
    assert describe(reader, plain_jpeg(), **{"async": True}).status_code == 403
    assert Caption.objects.count() == 0


def test_who_is_in_another_collection_is_nobody_here(
    reader: APIClient, collection: Collection, other_collection: Collection, collins: Identity
) -> None:
    told = describe(reader, pictures()["collins"], collection=other_collection.name).json()
    assert [person["identity"] for person in told["people"]] == [None]


def test_a_portrait_is_of_its_own_collection(
    enroller: APIClient, other_collection: Collection, collins: Identity
) -> None:
    answer = describe(enroller, portrait=str(collins.portraits.get().pk), collection=other_collection.name)
    assert (answer.status_code, answer.json()["error"]["field"]) == (400, "collection")


def bomb() -> bytes:
    """A small PNG that says it is 30,000 pixels a side."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    rows = zlib.compress(b"\0" * 1_000_000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("values", "status", "field"),
    [
        ({}, 400, "image"),
        ({"image": "x", "image_url": "http://example.com/a.jpg"}, 400, "image"),
        ({"image": b64(plain_jpeg()), "images": [b64(plain_jpeg())]}, 400, "image"),
        ({"images": []}, 400, "image"),
        ({"images": [b64(plain_jpeg())] * 33}, 400, "images"),
        ({"images": [5]}, 400, "images.0"),
        ({"image": b64(b"text")}, 415, "image"),
        ({"image": b64(bomb())}, 413, "image"),
        ({"image": b64(plain_jpeg()), "num_beams": 1_000_000_000}, 400, "num_beams"),
        ({"image": b64(plain_jpeg()), "num_beams": 0}, 400, "num_beams"),
        ({"image": b64(plain_jpeg()), "num_beams": "nan"}, 400, "num_beams"),
        ({"image": b64(plain_jpeg()), "max_length": 1e9}, 400, "max_length"),
        ({"image": b64(plain_jpeg()), "min_length": 9, "max_length": 8}, 400, "max_length"),
        ({"image": b64(plain_jpeg()), "length_penalty": "nan"}, 400, "length_penalty"),
        ({"image": b64(plain_jpeg()), "repetition_penalty": "inf"}, 400, "repetition_penalty"),
        ({"image": b64(plain_jpeg()), "prompt": "x" * 10_000}, 400, "prompt"),
        ({"image": b64(plain_jpeg()), "prompt": "\0"}, 400, "prompt"),
        ({"image": b64(plain_jpeg()), "beams": 3}, 400, "beams"),
        ({"image": b64(plain_jpeg()), "model": "yolact-base"}, 400, "model"),
        ({"image": b64(plain_jpeg()), "model": "../../etc"}, 400, "model"),
        ({"frame": 2**70}, 400, "frame"),
        ({"frame": 0}, 400, "frame"),
        ({"frame": 2**62}, 404, "frame"),
        ({"portrait": "x"}, 400, "portrait"),
        ({"frame": 1, "prompt": "this is Alice, who"}, 400, "prompt"),
    ],
)
def test_requests_that_cannot_be_done(enroller: APIClient, values: dict[str, Any], status: int, field: str) -> None:
    body = {"model": "describe", **values}
    answer = enroller.post("/api/v1/caption", body, format="json")
    assert (answer.status_code, answer.json()["error"].get("field")) == (status, field)


def test_a_file_that_is_too_large_is_refused(reader: APIClient) -> None:
    large = io.BytesIO(b"\xff\xd8" + b"\0" * (25 * 2**20 + 1))
    answer = reader.post("/api/v1/caption", {"image": large, "model": "describe"}, format="multipart")
    assert answer.status_code == 413


def test_nan_in_a_form_is_refused(reader: APIClient) -> None:
    body = {"image": SimpleUploadedFile("a.jpg", plain_jpeg()), "length_penalty": "nan", "model": "describe"}
    assert reader.post("/api/v1/caption", body, format="multipart").status_code == 400


@pytest.mark.parametrize(("path", "model"), [("caption", "blip-large"), ("segment", "yolact-im700")])
def test_a_model_that_is_not_installed_is_told_with_the_command_that_installs_it(
    reader: APIClient, path: str, model: str
) -> None:
    answer = reader.post(f"/api/v1/{path}", {"image": b64(plain_jpeg()), "model": model}, format="json")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "model_not_installed")
    assert f"manage.py models install {model}" in answer.json()["error"]["message"]


def test_errors_are_json_even_where_a_picture_is_asked_for(reader: APIClient) -> None:
    for body in ({}, {"image": b64(b"text")}, {"image": b64(plain_jpeg()), "model": "yolact-im700"}):
        answer = reader.post("/api/v1/segment", body, format="json", headers={"Accept": "image/png"})
        assert answer.status_code >= 400
        assert answer["Content-Type"] == "application/json"
        assert answer.json()["error"]["code"]
    none = APIClient().post("/api/v1/segment", {}, format="json", headers={"Accept": "image/png"})
    assert (none.status_code, none.json()["error"]["code"]) == (401, "not_authenticated")
    odd = reader.post("/api/v1/segment", {}, format="json", headers={"Accept": "image/webp"})
    assert (odd.status_code, odd.json()["error"]["code"]) == (406, "not_acceptable")


@pytest.mark.parametrize(
    "values", [{"top_k": 0}, {"top_k": 101}, {"top_k": 1e9}, {"score_threshold": "nan"}, {"score_threshold": 2}]
)
def test_absurd_numbers_for_segment(reader: APIClient, values: dict[str, Any]) -> None:
    answer = reader.post("/api/v1/segment", {"image": b64(plain_jpeg()), **values}, format="json")
    assert (answer.status_code, answer.json()["error"]["field"]) == (400, next(iter(values)))


def test_a_dismissed_face_is_still_a_face(enroller: APIClient, collection: Collection, collins: Identity) -> None:
    frame = make_frame(make_camera(collection), BOTH)
    faces = see(frame, BOTH, [collins, collins])
    told = describe(enroller, frame=frame.pk).json()
    assert told["caption_with_names"] == "Eileen Collins and another person.", "nobody is there twice"
    Detection.objects.filter(pk=faces[0].pk).update(identity=None, track=None, dismissed=True)
    scene = enroller.get(f"/api/v1/frames/{frame.pk}/scene").json()
    assert scene["captions"][0]["caption_with_names"] == "Eileen Collins and another person."
