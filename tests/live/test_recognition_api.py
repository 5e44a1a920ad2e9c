"""The main job through the API, on the real networks and the real database."""

import io
from typing import Any

import numpy as np
import pytest
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile
from PIL import Image
from rest_framework.test import APIClient

from inference.geometry import intersection_over_union
from inference.types import Box
from portrait.demo.photos import COLLINS, HOPPER, PhotoSet, built_in
from portrait.gallery.models import Collection, Identity, Portrait, PortraitEmbedding
from tests.api_clients import b64, plain_jpeg

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module")
def pictures() -> dict[str, bytes]:
    photos: PhotoSet = built_in()
    named = {photo.name: photo.data for photo in photos.probes}
    return named | {name: given[0].data for name, given in photos.people.items()}


def post(client: APIClient, path: str, body: dict[str, Any], status: int = 200) -> Any:
    answer = client.post(f"/api/v1/{path}", body, format="json")
    assert answer.status_code == status, answer.content
    return answer.json()


def error_of(client: APIClient, path: str, body: dict[str, Any], status: int) -> Any:
    return post(client, path, body, status)["error"]


@pytest.fixture
def enrolled(admin: APIClient, collection: Collection, pictures: dict[str, bytes]) -> dict[str, Any]:
    """Both people, enrolled in `collection`."""
    return {
        name: post(
            admin,
            "identities",
            {"collection": collection.name, "name": name, "external_id": name, "image": b64(pictures[name])},
            201,
        )
        for name in (COLLINS, HOPPER)
    }


class TestDetect:
    def test_boxes_are_in_the_upright_picture(self, reader: APIClient, pictures: dict[str, bytes]) -> None:
        upright = post(reader, "detect", {"image": b64(pictures[COLLINS])})
        turned = post(reader, "detect", {"image": b64(pictures["on its side, with EXIF"])})
        assert turned["image"] == upright["image"] == {"width": 512, "height": 512}
        (face,), (again,) = upright["faces"], turned["faces"]
        assert np.allclose(face["box"], again["box"], atol=6)
        x, y, width, height = face["box"]
        assert 160 < x < x + width < 290
        assert 40 < y < y + height < 220
        assert set(face["landmarks"]) == {"left_eye", "right_eye", "nose", "mouth_left", "mouth_right"}
        assert face["landmarks"]["left_eye"][0] < face["landmarks"]["right_eye"][0]
        assert face["quality"]["reasons"] == []

    def test_no_face_is_an_answer(self, reader: APIClient, pictures: dict[str, bytes]) -> None:
        assert post(reader, "detect", {"image": b64(pictures["a cat"])})["faces"] == []

    def test_every_form_of_sending(self, reader: APIClient, pictures: dict[str, bytes]) -> None:
        data = pictures["both in one picture"]
        uri = "data:image/jpeg;base64," + b64(data)
        upload = SimpleUploadedFile("x.jpg", data)
        answers = [
            reader.post("/api/v1/detect", {"image": b64(data)}, format="json"),
            reader.post("/api/v1/detect", {"image": uri}, format="json"),
            reader.post("/api/v1/detect", {"image": upload}, format="multipart"),
        ]
        assert [len(answer.json()["faces"]) for answer in answers] == [2, 2, 2]


class TestBadPictures:
    @pytest.mark.parametrize(
        ("data", "status", "code"),
        [
            (b"", 400, "empty_image"),
            (b"hello, I am a text", 415, "unsupported_image"),
            (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415, "unsupported_image"),
            (plain_jpeg()[:-200], 400, "corrupt_image"),
            (b"\xff\xd8\xff\xe0" + b"\0" * 50, 400, "corrupt_image"),
        ],
    )
    def test_each_is_named(self, reader: APIClient, data: bytes, status: int, code: str) -> None:
        for path in ("detect", "recognize"):
            error = error_of(reader, path, {"image": b64(data)}, status)
            assert error["code"] == code
            assert error["field"] == "image"
            assert len(error["message"]) > 20

    @pytest.mark.parametrize(
        "body",
        [
            {},
            {"image": None},
            {"image": 5},
            {"image": ["x"]},
            {"image": "not base64 !"},
            {"image": "AAAA", "image_url": "http://example.org/x"},
        ],
    )
    def test_requests_without_a_picture(self, reader: APIClient, body: dict[str, Any]) -> None:
        error = error_of(reader, "detect", body, 400)
        assert (error["code"], error["field"]) == ("invalid", "image")

    def test_a_field_sent_twice_is_not_silently_dropped(self, enroller: APIClient, pictures: dict[str, bytes]) -> None:
        def twice() -> list[SimpleUploadedFile]:
            return [SimpleUploadedFile("x.jpg", pictures[name]) for name in (COLLINS, "flipped")]

        for path, more in (("detect", {}), ("identities", {"name": "X"})):
            answer = enroller.post(f"/api/v1/{path}", {"image": twice(), **more}, format="multipart")
            assert (answer.status_code, answer.json()["error"]["field"]) == (400, "image")
            assert "images" in answer.json()["error"]["message"]
        assert not Identity.objects.filter(name="X").exists()

    def test_empty_fields_of_a_form_count_as_not_sent(self, reader: APIClient, pictures: dict[str, bytes]) -> None:
        form = {"image": SimpleUploadedFile("x.jpg", pictures[COLLINS]), "image_url": "", "collection": ""}
        assert reader.post("/api/v1/recognize", form, format="multipart").status_code == 200

    def test_too_large(self, reader: APIClient) -> None:
        assert error_of(reader, "detect", {"image": "A" * 36_000_000}, 413)["code"] == "image_too_large"
        upload = SimpleUploadedFile("x.jpg", b"\xff\xd8" + bytes(26 * 2**20))
        answer = reader.post("/api/v1/detect", {"image": upload}, format="multipart")
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "image_too_large")

    def test_an_address_inside_is_refused(self, reader: APIClient) -> None:
        error = error_of(reader, "detect", {"image_url": "http://169.254.169.254/latest/meta-data/"}, 400)
        assert (error["code"], error["field"]) == ("image_url_refused", "image_url")

    def test_not_json_at_all(self, reader: APIClient) -> None:
        answer = reader.post("/api/v1/detect", b"{broken", content_type="application/json")
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "parse_error")
        answer = reader.post("/api/v1/detect", b"x", content_type="text/plain")
        assert answer.status_code == 415


class TestVerify:
    def test_same_and_different(self, reader: APIClient, pictures: dict[str, bytes]) -> None:
        same = post(reader, "verify", {"image_a": b64(pictures[COLLINS]), "image_b": b64(pictures["flipped"])})
        other = post(reader, "verify", {"image_a": b64(pictures[COLLINS]), "image_b": b64(pictures[HOPPER])})
        assert same["same"] is True
        assert same["similarity"] > 0.9
        assert other["similarity"] < 0.5
        assert other["same"] is False
        assert same["threshold"] == other["threshold"] == 0.5
        assert same["distance"] < other["distance"]
        assert len(same["faces"]) == 2

    def test_a_face_is_needed_in_both(self, reader: APIClient, pictures: dict[str, bytes]) -> None:
        body = {"image_a": b64(pictures[COLLINS]), "image_b": b64(pictures["a cat"])}
        error = error_of(reader, "verify", body, 422)
        assert (error["code"], error["field"]) == ("no_face", "image_b")


class TestRecognize:
    def test_unseen_pictures_are_named(
        self, reader: APIClient, collection: Collection, enrolled: dict[str, Any]
    ) -> None:
        for photo in built_in().probes:
            faces = post(reader, "recognize", {"image": b64(photo.data), "collection": collection.name})["faces"]
            faces.sort(key=lambda face: face["box"][0])
            names = [face["candidates"][0]["identity"]["name"] if face["candidates"] else "unknown" for face in faces]
            assert tuple(names) == photo.expected, photo.name

    def test_the_answer_has_exactly_the_agreed_shape(
        self, reader: APIClient, collection: Collection, enrolled: dict[str, Any], pictures: dict[str, bytes]
    ) -> None:
        answer = post(reader, "recognize", {"image": b64(pictures["flipped"]), "collection": collection.name})
        assert set(answer) == {"faces"}
        (face,) = answer["faces"]
        assert set(face) == {"box", "score", "candidates"}
        assert set(face["candidates"][0]) == {"identity", "similarity"}
        assert face["candidates"][0]["identity"] == {
            "id": enrolled[COLLINS]["id"],
            "external_id": COLLINS,
            "name": COLLINS,
        }

    def test_a_lower_bar_shows_who_comes_next(
        self, reader: APIClient, collection: Collection, enrolled: dict[str, Any], pictures: dict[str, bytes]
    ) -> None:
        body = {"image": b64(pictures["flipped"]), "collection": collection.name, "min_similarity": 0}
        (face,) = post(reader, "recognize", body)["faces"]
        first, second = face["candidates"]
        assert first["identity"]["name"] == COLLINS
        assert second["identity"]["name"] == HOPPER
        assert first["similarity"] > 0.5 > second["similarity"]
        (face,) = post(reader, "recognize", body | {"top_k": 1})["faces"]
        assert len(face["candidates"]) == 1

    def test_another_collection_knows_nobody(
        self, reader: APIClient, other_collection: Collection, enrolled: dict[str, Any], pictures: dict[str, bytes]
    ) -> None:
        body = {"image": b64(pictures["flipped"]), "collection": other_collection.name, "min_similarity": 0}
        assert [face["candidates"] for face in post(reader, "recognize", body)["faces"]] == [[]]

    def test_a_stranger_is_registered_once_and_recognised_later(
        self, enroller: APIClient, collection: Collection, pictures: dict[str, bytes]
    ) -> None:
        ask = {"collection": collection.name, "register_unknown": True}
        (first,) = post(enroller, "recognize", ask | {"image": b64(pictures[COLLINS])})["faces"]
        assert first["candidates"][0]["identity"]["name"] == "unknown_person_1"
        (again,) = post(enroller, "recognize", ask | {"image": b64(pictures["flipped"])})["faces"]
        assert again["candidates"][0]["identity"] == first["candidates"][0]["identity"]
        (other,) = post(enroller, "recognize", ask | {"image": b64(pictures[HOPPER])})["faces"]
        assert other["candidates"][0]["identity"]["name"] == "unknown_person_2"
        assert post(enroller, "recognize", ask | {"image": b64(pictures["a cat"])})["faces"] == []
        assert Identity.objects.filter(collection=collection, kind="unknown").count() == 2

    def test_a_high_bar_holds_for_strangers_too(
        self, enroller: APIClient, collection: Collection, pictures: dict[str, bytes]
    ) -> None:
        ask = {"collection": collection.name, "register_unknown": True, "min_similarity": 0.9999}
        (new,) = post(enroller, "recognize", ask | {"image": b64(pictures[COLLINS])})["faces"]
        assert new["candidates"][0]["identity"]["name"] == "unknown_person_1"
        (known,) = post(enroller, "recognize", ask | {"image": b64(pictures["small"])})["faces"]
        assert known["candidates"] == []
        assert Identity.objects.filter(collection=collection).count() == 1

    def test_naming_an_unknown_person_makes_it_known(
        self, enroller: APIClient, collection: Collection, pictures: dict[str, bytes]
    ) -> None:
        ask = {"collection": collection.name, "register_unknown": True, "image": b64(pictures[COLLINS])}
        identity = post(enroller, "recognize", ask)["faces"][0]["candidates"][0]["identity"]["id"]
        answer = enroller.patch(f"/api/v1/identities/{identity}", {"name": COLLINS}, format="json")
        assert (answer.json()["name"], answer.json()["kind"]) == (COLLINS, "known")

    @pytest.mark.parametrize(
        "wrong", [{"top_k": 0}, {"top_k": 101}, {"min_similarity": 1.1}, {"min_similarity": "x"}, {"collection": "?"}]
    )
    def test_parameters_are_checked(self, reader: APIClient, wrong: dict[str, Any]) -> None:
        status = 404 if "collection" in wrong else 400
        assert error_of(reader, "recognize", {"image": b64(plain_jpeg())} | wrong, status)["field"] == next(iter(wrong))


class TestEnrol:
    def test_a_portrait_answers_its_report(self, enrolled: dict[str, Any], reader: APIClient) -> None:
        (report,) = enrolled[COLLINS]["results"]
        assert report["status"] == "accepted"
        portrait = report["portrait"]
        assert portrait["quality"]["reasons"] == []
        assert portrait["quality"]["score"] > 0.5
        for key in ("image_url", "thumbnail_url"):
            answer = reader.get(portrait[key])
            assert answer["Content-Type"] == "image/jpeg"
            assert answer["X-Content-Type-Options"] == "nosniff"
            assert "private" in answer["Cache-Control"]
            Image.open(io.BytesIO(b"".join(answer.streaming_content))).verify()

    def test_what_is_kept_carries_no_metadata(
        self, enroller: APIClient, collection: Collection, pictures: dict[str, bytes]
    ) -> None:
        """A phone writes where a picture was taken; that is nobody's business here."""
        exif = Image.Exif()
        exif[0x010E] = "SECRET PLACE"
        buffer = io.BytesIO()
        Image.open(io.BytesIO(pictures[COLLINS])).save(buffer, "JPEG", exif=exif)
        assert b"SECRET PLACE" in buffer.getvalue()
        body = {"collection": collection.name, "name": "A", "image": b64(buffer.getvalue())}
        post(enroller, "identities", body, 201)
        with default_storage.open(Portrait.objects.get(identity__name="A").image.name) as file:
            assert b"SECRET PLACE" not in file.read()

    def test_the_same_picture_twice_is_stored_once(
        self, enroller: APIClient, enrolled: dict[str, Any], pictures: dict[str, bytes]
    ) -> None:
        path = f"identities/{enrolled[COLLINS]['id']}/portraits"
        (report,) = post(enroller, path, {"image": b64(pictures[COLLINS])}, 201)["results"]
        assert report["status"] == "duplicate"
        assert report["portrait"]["id"] == enrolled[COLLINS]["results"][0]["portrait"]["id"]
        assert Portrait.objects.filter(identity_id=enrolled[COLLINS]["id"]).count() == 1

    def test_an_external_id_appends(
        self, enroller: APIClient, collection: Collection, enrolled: dict[str, Any], pictures: dict[str, bytes]
    ) -> None:
        body = {"collection": collection.name, "name": "?", "external_id": COLLINS, "image": b64(pictures["flipped"])}
        answer = post(enroller, "identities", body, 200)
        assert (answer["id"], answer["name"]) == (enrolled[COLLINS]["id"], COLLINS)
        assert answer["portrait_count"] == 2

    def test_many_pictures_each_with_its_report(
        self, enroller: APIClient, enrolled: dict[str, Any], pictures: dict[str, bytes]
    ) -> None:
        names = ["flipped", "a cat", "grey", "both in one picture"]
        images = [b64(pictures[name]) for name in names] + [b64(b"rubbish")]
        path = f"identities/{enrolled[COLLINS]['id']}/portraits"
        reports = post(enroller, path, {"images": images}, 201)["results"]
        assert [report["status"] for report in reports] == ["accepted", "rejected", "accepted", "rejected", "rejected"]
        codes = [report["error"]["code"] for report in reports if report["error"]]
        assert codes == ["no_face", "several_faces", "unsupported_image"]

    def test_nothing_is_stored_where_no_picture_is_good(
        self, enroller: APIClient, collection: Collection, pictures: dict[str, bytes]
    ) -> None:
        body = {"collection": collection.name, "name": "Nobody"}
        error = error_of(enroller, "identities", body | {"image": b64(pictures["a cat"])}, 422)
        assert error["code"] == "no_face"
        images = [b64(pictures["a cat"]), b64(b"rubbish")]
        error = error_of(enroller, "identities", body | {"images": images}, 422)
        assert error["code"] == "nothing_enrolled"
        assert [entry["code"] for entry in error["results"]] == ["no_face", "unsupported_image"]
        assert not Identity.objects.filter(name="Nobody").exists()

    def test_of_several_faces_the_caller_picks_one(
        self, enroller: APIClient, enrolled: dict[str, Any], pictures: dict[str, bytes]
    ) -> None:
        path, image = f"identities/{enrolled[HOPPER]['id']}/portraits", b64(pictures["both in one picture"])
        error = error_of(enroller, path, {"image": image}, 422)
        assert error["code"] == "several_faces"
        rightmost = max((face["box"] for face in error["faces"]), key=lambda box: float(box[0]))
        choice = ",".join(str(value) for value in rightmost)
        (report,) = post(enroller, path, {"image": image, "face": choice}, 201)["results"]
        assert report["portrait"]["box"][2:] == rightmost[2:]
        with default_storage.open(Portrait.objects.get(id=report["portrait"]["id"]).image.name) as file:
            kept = file.read()
        faces = post(enroller, "detect", {"image": b64(kept)})["faces"]
        assert len(faces) == 1, "another person's face was kept in this portrait"
        assert intersection_over_union(Box(*faces[0]["box"]), Box(*report["portrait"]["box"])) > 0.8
        assert report["warnings"] == []
        assert error_of(enroller, path, {"image": image, "face": "0,0,5,5"}, 422)["code"] == "no_face"
        assert error_of(enroller, path, {"image": image, "face": "left"}, 400)["field"] == "face"

    def test_a_poor_face_is_refused_with_reasons_unless_forced(
        self, enroller: APIClient, enrolled: dict[str, Any], pictures: dict[str, bytes]
    ) -> None:
        image = Image.open(io.BytesIO(pictures[COLLINS]))
        buffer = io.BytesIO()
        image.resize((96, 96)).save(buffer, "JPEG")
        path = f"identities/{enrolled[COLLINS]['id']}/portraits"
        error = error_of(enroller, path, {"image": b64(buffer.getvalue())}, 422)
        assert error["code"] == "poor_quality"
        assert "too_small" in error["reasons"]
        assert error["quality"]["size_px"] < 40
        post(enroller, path, {"image": b64(buffer.getvalue()), "force": True}, 201)

    def test_a_look_alike_is_pointed_out(
        self, enroller: APIClient, collection: Collection, enrolled: dict[str, Any], pictures: dict[str, bytes]
    ) -> None:
        body = {"collection": collection.name, "name": "E. Collins", "image": b64(pictures["flipped"])}
        (report,) = post(enroller, "identities", body, 201)["results"]
        (warning,) = report["warnings"]
        assert warning["code"] == "possible_duplicate"
        assert warning["identity"]["id"] == enrolled[COLLINS]["id"]
        assert warning["similarity"] > 0.5

    def test_a_face_unlike_the_others_is_pointed_out(
        self, enroller: APIClient, enrolled: dict[str, Any], pictures: dict[str, bytes]
    ) -> None:
        path = f"identities/{enrolled[COLLINS]['id']}/portraits"
        (report,) = post(enroller, path, {"image": b64(pictures[HOPPER])}, 201)["results"]
        assert {warning["code"] for warning in report["warnings"]} == {"unlike_other_portraits", "possible_duplicate"}


class TestDelete:
    def test_deleting_leaves_no_row_no_vector_no_file(
        self, admin: APIClient, collection: Collection, enrolled: dict[str, Any], pictures: dict[str, bytes]
    ) -> None:
        files = [
            name
            for portrait in Portrait.objects.filter(identity__collection=collection)
            for name in (portrait.image.name, portrait.thumbnail.name)
        ]
        assert len(files) == 4
        assert all(default_storage.exists(name) for name in files)
        portrait = enrolled[COLLINS]["results"][0]["portrait"]["id"]
        assert admin.delete(f"/api/v1/portraits/{portrait}?erase=true").status_code == 204
        assert admin.delete(f"/api/v1/identities/{enrolled[HOPPER]['id']}?erase=true").status_code == 204
        assert not any(default_storage.exists(name) for name in files)
        assert not PortraitEmbedding.objects.filter(collection=collection).exists()
        body = {"image": b64(pictures["flipped"]), "collection": collection.name}
        assert [face["candidates"] for face in post(admin, "recognize", body)["faces"]] == [[]]

    def test_a_collection_goes_with_everything_in_it(
        self, admin: APIClient, collection: Collection, enrolled: dict[str, Any]
    ) -> None:
        names = [portrait.image.name for portrait in Portrait.objects.filter(identity__collection=collection)]
        assert admin.delete(f"/api/v1/collections/{collection.name}").status_code == 204
        assert not any(default_storage.exists(name) for name in names)
        assert not Identity.objects.filter(collection_id=collection.id).exists()
        assert admin.delete("/api/v1/collections/default").status_code == 409
