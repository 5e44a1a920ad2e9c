"""Calls of the first-generation API that went wrong in silence, or that came at the wrong moment."""

from typing import Any
from urllib.parse import quote

import pytest
from rest_framework.test import APIClient

from portrait.compat.smartav import shapes
from portrait.compat.smartav.selectors import find_sample
from portrait.compat.smartav.services import recognition, samples
from portrait.compat.smartav.urls import ADDRESSES
from portrait.gallery.models import DEFAULT_COLLECTION, Collection, Identity
from portrait.gallery.services.journal import Actor
from tests.api_clients import plain_jpeg
from tests.portrait.compat.old_client import CLEAR, FACES, RENAME, UPDATE, call, data_uri, recognise, sample
from tests.portrait.compat.test_smartav_security import ALL_CALLS

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.urls("tests.portrait.compat.urls")]

UNKNOWN = Identity.Kind.UNKNOWN


@pytest.fixture
def in_default(collection: Collection) -> Identity:
    """Somebody whom a call that means another collection must leave alone."""
    default = Collection.objects.get(name=DEFAULT_COLLECTION)
    return Identity.objects.create(collection=default, name="Stays", external_id="p1")


class TestQuery:
    @pytest.mark.parametrize("query", ["colection=X", "Collection=X", "collection=", "collection=X&collection=default"])
    @pytest.mark.parametrize(("method", "path"), ALL_CALLS)
    def test_a_query_that_nobody_reads_is_refused(
        self, method: str, path: str, query: str, admin: APIClient, in_default: Identity
    ) -> None:
        for slash in ("", "/"):
            answer = getattr(admin, method)(f"{path}{slash}?{query}")
            assert answer.status_code == 400, answer.content
            assert answer.json()["code"] == "invalid"
            assert answer.json()["field"].lower().startswith("col")
        assert Identity.objects.filter(pk=in_default.pk).exists()

    def test_who_may_not_call_learns_nothing_of_the_query(self, collection: Collection) -> None:
        assert APIClient().get(f"{CLEAR}?colection=X").status_code == 401

    def test_the_format_may_be_named(self, admin: APIClient, collection: Collection) -> None:
        assert admin.get(f"{CLEAR}?collection={collection.name}&format=json").status_code == 200

    @pytest.mark.parametrize("method", ["get", "post"])
    def test_a_collection_in_the_body_clears_nobody(self, method: str, admin: APIClient, in_default: Identity) -> None:
        body = '{"collection": "X"}'
        answer = admin.generic(method.upper(), CLEAR, body, content_type="application/json")
        assert (answer.status_code, answer.json()["success"]) == (400, False)
        assert Identity.objects.filter(pk=in_default.pk).exists()


class TestStrangers:
    def test_who_is_named_at_this_moment_keeps_the_name(self, collection: Collection) -> None:
        read = Identity.objects.create(collection=collection, name="unknown_person_1", kind=UNKNOWN)
        Identity.objects.filter(pk=read.pk).update(name="Grace", kind=Identity.Kind.KNOWN)
        recognition.give_id(identity=read)
        stored = Identity.objects.get(pk=read.pk)
        assert (stored.name, stored.external_id, stored.kind) == ("Grace", None, Identity.Kind.KNOWN)
        assert (read.name, read.external_id) == ("Grace", None), "and the answer says so"

    def test_who_is_named_while_a_number_is_sought_keeps_the_name(
        self, collection: Collection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        Identity.objects.create(collection=collection, name="Old", external_id="unknown_person_1")
        read = Identity.objects.create(collection=collection, name="unknown_person_1", kind=UNKNOWN)
        next_number = recognition._next_number

        def named_meanwhile(collection: Collection) -> int:
            Identity.objects.filter(pk=read.pk).update(name="Grace", kind=Identity.Kind.KNOWN)
            return next_number(collection)

        monkeypatch.setattr(recognition, "_next_number", named_meanwhile)
        recognition.give_id(identity=read)
        assert Identity.objects.get(pk=read.pk).name == "Grace"

    def test_two_calls_at_once_give_one_id(self, collection: Collection) -> None:
        first = Identity.objects.create(collection=collection, name="unknown_person_1", kind=UNKNOWN)
        second = Identity.objects.get(pk=first.pk)
        recognition.give_id(identity=first)
        recognition.give_id(identity=second)
        assert first.external_id == second.external_id == "unknown_person_1"

    def test_a_strangers_name_that_is_a_samples_id_is_no_conflict(
        self, enroller: APIClient, collection: Collection
    ) -> None:
        """By our own id the stranger is named in spite of it, and gets a free one."""
        sample_of_old = Identity.objects.create(collection=collection, name="Old", external_id="unknown_person_7")
        stranger = Identity.objects.create(collection=collection, name="unknown_person_7", kind=UNKNOWN)
        for name in ("James", "Jim"):
            call(enroller, f"{RENAME}/{stranger.pk}", {"name": name, "metadata": "m"}, collection=collection)
            stored = Identity.objects.get(pk=stranger.pk)
            assert (stored.name, stored.external_id, stored.kind) == (name, "unknown_person_8", Identity.Kind.KNOWN)
        assert find_sample(collection, "unknown_person_7") == sample_of_old
        assert find_sample(collection, "unknown_person_8") == stranger

    def test_a_stranger_who_is_erased_before_the_naming(self, collection: Collection) -> None:
        from portrait.core.errors import NotFoundError

        gone = Identity.objects.create(collection=collection, name="unknown_person_1", kind=UNKNOWN)
        Identity.objects.filter(pk=gone.pk).delete()
        with pytest.raises(NotFoundError):
            samples.update_metadata(identity=gone, actor=Actor("a test"), name="James", metadata="")


class TestIds:
    @pytest.mark.parametrize("wanted", ["a/b", "a/", "/a", "a//b", "a\nb", "a?b#c", "a b", "ä/%2F"])
    def test_every_id_that_is_taken_can_be_reached(
        self, wanted: str, enroller: APIClient, collection: Collection, pictures: dict[str, bytes]
    ) -> None:
        assert call(enroller, UPDATE, [sample(wanted, pictures["collins"])], collection=collection)["success"]
        for slash in ("", "/"):
            name = f"Named{slash}"
            call(enroller, f"{RENAME}/{quote(wanted, safe='')}{slash}", {"name": name, "metadata": ""}, 200, collection)
            assert Identity.objects.get(collection=collection).name == name
        (found,) = recognise(enroller, pictures["flipped"], collection)
        assert found["id"] == wanted


class TestErrors:
    def test_the_roots_are_those_of_the_addresses(self) -> None:
        assert {address.partition("/")[0] for address in ADDRESSES} == set(shapes.ROOTS)

    @pytest.mark.parametrize("path", [f"/{root}/nothing/here" for root in shapes.ROOTS])
    def test_an_address_that_is_none(self, path: str, admin: APIClient) -> None:
        answer = admin.post(path)
        assert answer.status_code == 404
        assert answer.json() == {"error": "There is nothing at this address.", "code": "not_found"}

    def test_elsewhere_nothing_changes(self, admin: APIClient) -> None:
        assert admin.get("/api/v1/nothing").json()["error"]["code"] == "not_found"
        assert admin.get("/nothing")["Content-Type"].startswith("text/html")
        assert admin.get(f"/x{FACES}")["Content-Type"].startswith("text/html")

    def test_what_nobody_foresaw(
        self, enroller: APIClient, collection: Collection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(*args: Any, **options: Any) -> Any:
            raise RuntimeError("secret of the inside")

        monkeypatch.setattr("portrait.compat.smartav.services.recognition.analyse", broken)
        enroller.raise_request_exception = False
        answer = call(enroller, FACES, {"image": data_uri(plain_jpeg())}, 500, collection)
        assert answer["code"] == "internal_error"
        assert "secret" not in answer["error"]
