"""The first-generation API's faces, by its documented requests, on the real networks and database."""

import json
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import default_storage
from rest_framework.test import APIClient

from inference.errors import ServerUnavailableError
from portrait.compat.smartav.services import recognition
from portrait.core.api_errors import SERVER_AWAY
from portrait.gallery.models import Collection, Identity, Portrait, PortraitEmbedding
from portrait.sightings.models import Sighting
from tests.api_clients import b64, plain_jpeg
from tests.portrait.compat.old_client import (
    CLEAR,
    CONFIG,
    FACES,
    RENAME,
    UPDATE,
    call,
    data_uri,
    recognise,
    sample,
)
from tests.portrait.sightings import seen

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.urls("tests.portrait.compat.urls")]

STRANGER = "hopper"
IN_PROFILE = "somebody not enrolled"
BOTH = "both in one picture"
Pictures = dict[str, bytes]


@pytest.fixture
def enrolled(enroller: APIClient, collection: Collection, pictures: Pictures) -> Any:
    """Both people of the demo, under the ids p1 and p2."""
    body = [sample("p1", pictures["collins"], name="Eileen"), sample("p2", pictures["hopper"], name="Grace")]
    return call(enroller, UPDATE, body, collection=collection)


class TestRoundTrip:
    def test_the_documented_session(self, admin: APIClient, collection: Collection, pictures: Pictures) -> None:
        """Clear, enrol, append, recognise, name the stranger, recognise again, clear."""
        assert call(admin, CLEAR, {}, collection=collection)["success"] is True
        body = [sample("person1", pictures["collins"]), sample("person2", plain_jpeg())]
        answer = call(admin, UPDATE, body, collection=collection)
        assert (answer["success"], answer["fail"]) == (["person1"], ["person2"])

        more = [{"id": "person1", "image": data_uri(pictures["flipped"]), "name": "", "metadata": "", "action": ""}]
        assert call(admin, UPDATE, more, collection=collection)["success"] == ["person1"]
        person = Identity.objects.get(collection=collection, external_id="person1")
        assert person.embeddings.count() == 2, "the second picture was appended"
        assert (person.name, person.action) == ("person1", "embedlink"), "and changed nothing else"

        left, right = recognise(admin, pictures[BOTH], collection, min_distance=0.5)
        told = {"id": "person1", "name": "person1", "metadata": "example.org/person1", "bbox": left["bbox"]}
        assert left == told
        assert right["id"] == right["name"] == "unknown_person_1", "nobody enrolled her"

        renamed = call(admin, f"{RENAME}/unknown_person_1", {"name": "James", "metadata": "new"}, collection=collection)
        assert renamed == {"success": '"unknown_person_1" has been configured successfully.'}
        (named,) = recognise(admin, pictures["turned by 15 degrees"], collection)
        assert (named["id"], named["name"], named["metadata"]) == ("unknown_person_1", "James", "new")

        files = [portrait.image.name for portrait in Portrait.objects.filter(identity__collection=collection)]
        answer = admin.get(f"{CLEAR}?collection={collection.name}")
        assert answer.json() == {"success": True, "msg": "Samples have been removed successfully"}
        assert not Identity.objects.filter(collection=collection).exists()
        assert not PortraitEmbedding.objects.filter(collection=collection).exists()
        assert len(files) == 3
        assert not any(default_storage.exists(name) for name in files)

    def test_what_old_clients_enrol_our_api_knows(
        self, enrolled: Any, reader: APIClient, collection: Collection, pictures: Pictures
    ) -> None:
        answer = reader.post(
            "/api/v1/recognize", {"image": b64(pictures["flipped"]), "collection": collection.name}, format="json"
        ).json()
        assert answer["faces"][0]["candidates"][0]["identity"]["external_id"] == "p1"

    def test_what_our_api_enrols_old_clients_know(
        self, admin: APIClient, collection: Collection, pictures: Pictures
    ) -> None:
        body = {"collection": collection.name, "name": "E", "image": b64(pictures["collins"]), "metadata": {"a": [1]}}
        made = admin.post("/api/v1/identities", body, format="json").json()
        (found,) = recognise(admin, pictures["flipped"], collection)
        assert (found["id"], found["name"], found["metadata"]) == (made["id"], "E", '{"a": [1]}')
        call(admin, f"{RENAME}/{made['id']}", {"name": "Eileen", "metadata": {"b": 2}}, collection=collection)
        (found,) = recognise(admin, pictures["flipped"], collection)
        assert (found["name"], found["metadata"]) == ("Eileen", {"b": 2})
        call(admin, UPDATE, [sample(made["id"], pictures["small"])], collection=collection)
        assert Identity.objects.get(id=made["id"]).portraits.count() == 2

    def test_every_address_with_a_slash_at_the_end(
        self, admin: APIClient, collection: Collection, pictures: Pictures
    ) -> None:
        call(admin, f"{UPDATE}/", [sample("p1", pictures["collins"])], collection=collection)
        (found,) = call(admin, f"{FACES}/", {"image": data_uri(pictures["small"])}, collection=collection)
        assert found["id"] == "p1"
        call(admin, f"{RENAME}/p1/", {"name": "E", "metadata": ""}, collection=collection)
        assert admin.get(f"{CONFIG}/").status_code == 200
        assert admin.get(f"{CLEAR}/?collection={collection.name}").json()["success"] is True


class TestRecognition:
    def test_no_face_is_an_empty_list(self, enroller: APIClient, collection: Collection, pictures: Pictures) -> None:
        assert recognise(enroller, pictures["a cat"], collection) == []

    def test_the_box_is_that_of_our_own_api(self, enroller: APIClient, collection: Collection, pictures: Any) -> None:
        (found,) = recognise(enroller, pictures["on its side, with EXIF"], collection)
        body = {"image": b64(pictures["on its side, with EXIF"])}
        (face,) = enroller.post("/api/v1/detect", body, format="json").json()["faces"]
        assert [int(part) for part in found["bbox"].split(", ")] == [round(value) for value in face["box"]]

    def test_a_stranger_is_registered_once(self, enroller: APIClient, collection: Collection, pictures: Any) -> None:
        first, second = (recognise(enroller, pictures[STRANGER], collection) for _ in range(2))
        assert first == second
        assert Identity.objects.filter(collection=collection).count() == 1

    def test_numbers_count_on(self, enroller: APIClient, collection: Collection, pictures: Pictures) -> None:
        """The first generation's counter never got beyond 1."""
        ids = [found["id"] for found in recognise(enroller, pictures[BOTH], collection)]
        assert sorted(ids) == ["unknown_person_1", "unknown_person_2"]

    def test_an_id_that_a_client_took_is_left_out(
        self, enroller: APIClient, collection: Collection, pictures: Pictures
    ) -> None:
        """Who moves their samples over brings strangers of the old server along."""
        moved = [sample("unknown_person_1", pictures["collins"]), sample("unknown_person_7", pictures["collins"])]
        call(enroller, UPDATE, moved, collection=collection)
        (found,) = recognise(enroller, pictures[STRANGER], collection)
        assert found["id"] == found["name"] == "unknown_person_8"

    def test_min_distance_is_a_similarity(
        self, enrolled: Any, enroller: APIClient, collection: Collection, pictures: Pictures
    ) -> None:
        (loose,) = recognise(enroller, pictures[IN_PROFILE], collection, min_distance=0)
        assert loose["id"] in ("p1", "p2"), "at 0 everybody is alike enough"
        assert Identity.objects.filter(collection=collection).count() == 2
        (strict,) = recognise(enroller, pictures["turned by 15 degrees"], collection, min_distance=1)
        assert strict["id"] == "unknown_person_1", "at 1 nobody is"
        (same,) = recognise(enroller, pictures["turned by 15 degrees"], collection, min_distance=0.9)
        assert same["id"] == "unknown_person_1", "and the very same picture is known then"

    def test_all_vectors_of_a_person_count(
        self, enrolled: Any, enroller: APIClient, collection: Collection, pictures: Pictures
    ) -> None:
        """A bound that the first picture alone does not reach."""
        probe = pictures["turned by 15 degrees"]
        (before,) = recognise(enroller, probe, collection, min_distance=0.5)
        assert before["id"] == "p2"
        call(enroller, UPDATE, [sample("p2", probe)], collection=collection)
        (after,) = recognise(enroller, probe, collection, min_distance=0.999)
        assert after["id"] == "p2"

    def test_a_face_too_poor_is_seen_and_not_registered(
        self, enroller: APIClient, collection: Collection, pictures: Pictures
    ) -> None:
        (found,) = recognise(enroller, pictures[IN_PROFILE], collection)
        assert (found["id"], found["name"], found["metadata"]) == ("", "unknown", "")
        assert not Identity.objects.filter(collection=collection).exists()

    def test_a_stranger_of_a_camera_gets_an_id(
        self, enroller: APIClient, collection: Collection, pictures: Pictures
    ) -> None:
        (made,) = recognise(enroller, pictures[STRANGER], collection)
        Identity.objects.filter(collection=collection).update(external_id=None, name="unknown_person_5")
        body = {"name": "James", "metadata": "m"}
        call(enroller, f"{RENAME}/unknown_person_5", body, collection=collection)
        (found,) = recognise(enroller, pictures[STRANGER], collection)
        assert (found["id"], found["name"], found["bbox"]) == ("unknown_person_5", "James", made["bbox"])
        assert Identity.objects.get(collection=collection).kind == Identity.Kind.KNOWN

    def test_a_stranger_who_is_erased_at_this_moment(self, collection: Collection) -> None:
        gone = Identity.objects.create(collection=collection, name="unknown_person_1", kind=Identity.Kind.UNKNOWN)
        Identity.objects.filter(pk=gone.pk).delete()
        recognition.give_id(identity=gone)
        assert not Identity.objects.exists()


class TestSamples:
    def test_one_bad_entry_stops_no_other(self, enroller: APIClient, collection: Collection, pictures: Any) -> None:
        body = [
            sample("text", b"", image="hello !"),
            sample("good", pictures["collins"]),
            sample("no face", plain_jpeg()),
            sample("no picture", b"I am a text"),
            sample("number", b"", image=5),
            sample("large", b"", image="A" * 36_000_000),
        ]
        answer = call(enroller, UPDATE, body, collection=collection)
        assert answer["success"] == ["good"]
        assert answer["fail"] == ["text", "no face", "no picture", "number", "large"]
        codes = {reason["id"]: reason["code"] for reason in answer["reasons"]}
        assert codes == {
            "text": "invalid",
            "no face": "no_face",
            "no picture": "unsupported_image",
            "number": "invalid",
            "large": "image_too_large",
        }
        assert [each.name for each in Identity.objects.filter(collection=collection)] == ["good"]

    def test_several_pictures_of_one_person_in_a_request(
        self, enroller: APIClient, collection: Collection, pictures: Pictures
    ) -> None:
        names = ("collins", "flipped", "small", "collins")
        answer = call(enroller, UPDATE, [sample("p", pictures[name]) for name in names], collection=collection)
        assert answer["success"] == ["p"] * 4
        assert Identity.objects.get(collection=collection).portraits.count() == 3, "the same picture counts once"

    def test_of_several_faces_the_largest_is_meant(
        self, enroller: APIClient, collection: Collection, pictures: Pictures
    ) -> None:
        assert call(enroller, UPDATE, [sample("p", pictures[BOTH])], collection=collection)["success"] == ["p"]
        assert Portrait.objects.get(identity__collection=collection).box

    def test_a_new_person_without_a_name_is_called_as_the_id(
        self, enroller: APIClient, collection: Collection, pictures: Pictures
    ) -> None:
        body = [sample("p9", pictures["collins"], name="", metadata=None, action=None)]
        assert call(enroller, UPDATE, body, collection=collection)["success"] == ["p9"]
        row = Identity.objects.get(collection=collection)
        assert (row.name, row.metadata, row.action) == ("p9", {}, "")

    def test_nothing_to_do(self, enroller: APIClient, collection: Collection) -> None:
        assert call(enroller, UPDATE, [], collection=collection) == {"success": [], "fail": [], "reasons": []}

    @pytest.mark.parametrize(
        "spoil",
        [
            {"id": None},
            {"id": ""},
            {"id": "x" * 201},
            {"id": "\0"},
            {"name": [1]},
            {"metadata": "\0"},
            {"metadata": "x" * 70_000},
            {"action": "x" * 201},
            {"colour": "red"},
        ],
    )
    def test_an_entry_that_is_not_as_documented(
        self, enroller: APIClient, collection: Collection, spoil: dict[str, Any]
    ) -> None:
        answer = call(enroller, UPDATE, [sample("p", plain_jpeg(), **spoil)], 400, collection)
        assert answer["code"] == "invalid"
        assert isinstance(answer["error"], str)

    def test_half_a_surrogate_pair(self, enroller: APIClient, collection: Collection) -> None:
        for field in ("id", "name", "metadata", "action"):
            body = json.dumps([sample("p", plain_jpeg(), **{field: "\ud800"})])
            answer = enroller.post(f"{UPDATE}?collection={collection.name}", body, content_type="application/json")
            assert answer.status_code == 400

    @pytest.mark.parametrize("missing", ["id", "name", "image", "metadata", "action"])
    def test_all_five_fields_are_needed(self, enroller: APIClient, collection: Collection, missing: str) -> None:
        entry = sample("p", plain_jpeg())
        del entry[missing]
        answer = call(enroller, UPDATE, [entry], 400, collection)
        assert (answer["code"], answer["field"]) == ("invalid", f"0.{missing}")

    @pytest.mark.parametrize("body", [{"id": "p"}, "text", 5, None, [1], [[]]])
    def test_a_body_that_is_no_list_of_entries(self, enroller: APIClient, collection: Collection, body: Any) -> None:
        assert isinstance(call(enroller, UPDATE, body, 400, collection)["error"], str)

    def test_too_many(self, enroller: APIClient, collection: Collection) -> None:
        body = [sample(str(index), b"") for index in range(101)]
        assert call(enroller, UPDATE, body, 400, collection)["code"] == "invalid"


class TestMetadata:
    def test_an_id_that_nobody_has(self, enroller: APIClient, collection: Collection) -> None:
        for wanted in ("unknown_person_3", "%00", "00000000-0000-4000-8000-000000000000", "x" * 5000):
            answer = call(enroller, f"{RENAME}/{wanted}", {"name": "J", "metadata": "m"}, 404, collection)
            assert answer["code"] == "not_found"
            assert answer["error"].startswith("Could not find")

    @pytest.mark.parametrize(
        "body", [{}, {"name": "J"}, {"metadata": "m"}, [], "x", {"name": "J", "metadata": "m", "actoin": "x"}]
    )
    def test_a_body_that_is_not_as_documented(
        self, enrolled: Any, enroller: APIClient, collection: Collection, body: Any
    ) -> None:
        assert call(enroller, f"{RENAME}/p1", body, 400, collection)["code"] == "invalid"
        assert Identity.objects.get(collection=collection, external_id="p1").name == "Eileen"

    def test_an_empty_name_changes_nothing_of_it(
        self, enrolled: Any, enroller: APIClient, collection: Collection
    ) -> None:
        call(enroller, f"{RENAME}/p1", {"name": "", "metadata": "m"}, collection=collection)
        row = Identity.objects.get(collection=collection, external_id="p1")
        assert (row.name, row.metadata) == ("Eileen", {"metadata": "m"})


class TestErrors:
    @pytest.mark.parametrize(
        ("image", "status", "code"),
        [
            ("", 400, "empty_image"),
            ("hello !", 400, "invalid"),
            (None, 400, "invalid"),
            (data_uri(b"I am a text"), 415, "unsupported_image"),
            (data_uri(plain_jpeg()[:-200]), 400, "corrupt_image"),
            ("A" * 36_000_000, 413, "image_too_large"),
        ],
    )
    def test_pictures(self, enroller: APIClient, collection: Collection, image: Any, status: int, code: str) -> None:
        answer = call(enroller, FACES, {"image": image}, status, collection)
        assert answer["code"] == code
        assert isinstance(answer["error"], str)

    @pytest.mark.parametrize("bound", [-0.1, 1.1, "nan", "near", None, []])
    def test_bounds(self, enroller: APIClient, collection: Collection, bound: Any) -> None:
        body = {"image": data_uri(plain_jpeg()), "min_distance": bound}
        answer = call(enroller, FACES, body, 400, collection)
        assert (answer["code"], answer["field"]) == ("invalid", "min_distance")

    def test_not_json(self, enroller: APIClient) -> None:
        answer = enroller.post(FACES, b"{broken", content_type="application/json")
        assert (answer.status_code, answer.json()["code"]) == (400, "parse_error")
        assert enroller.post(FACES, b"x", content_type="text/plain").status_code == 415

    def test_the_networks_do_not_answer(
        self, enroller: APIClient, collection: Collection, pictures: Pictures, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def down(*args: Any, **options: Any) -> Any:
            raise ServerUnavailableError("nothing answers")

        monkeypatch.setattr("portrait.compat.smartav.services.recognition.analyse", down)
        answer = call(enroller, FACES, {"image": data_uri(pictures["collins"])}, 503, collection)
        assert answer == {"error": SERVER_AWAY, "code": "inference_unavailable"}

    def test_clearing_that_fails_says_so(
        self, admin: APIClient, enrolled: Any, collection: Collection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from portrait.core.errors import ConflictError

        def busy(**values: Any) -> None:
            raise ConflictError("It is being added to.")

        monkeypatch.setattr("portrait.compat.smartav.services.samples.delete_identity", busy)
        answer = call(admin, CLEAR, {}, 409, collection)
        assert (answer["success"], answer["code"]) == (False, "conflict")

    def test_a_collection_that_is_none(self, admin: APIClient) -> None:
        for name in ("none", "%00", "x" * 61):
            assert admin.post(f"{FACES}?collection={name}", {"image": data_uri(plain_jpeg())}).status_code in (400, 404)
            assert admin.get(f"{CLEAR}?collection={name}").json()["success"] is False


def test_clearing_takes_the_sightings_along(admin: APIClient, collection: Collection) -> None:
    person = seen.enrol(collection, "Eileen", "collins")
    seen.seen_once(seen.make_camera(collection), "collins", person)
    assert Sighting.objects.filter(collection=collection).exists()
    call(admin, CLEAR, {}, collection=collection)
    assert not Sighting.objects.filter(collection=collection).exists()


def test_nothing_of_the_first_generation_is_copied_into_files() -> None:
    """Pictures lie where all pictures lie: no folder of the old server's comes up."""
    assert not (Path(default_storage.location) / "dataset").exists()
