"""The first-generation API's doors, tried from outside."""

import logging
import uuid
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.urls import Resolver404, get_resolver, resolve
from rest_framework.test import APIClient

from portrait.compat.smartav.urls import ADDRESSES, urlpatterns
from portrait.core import throttling
from portrait.core.models import Scope
from portrait.core.services import create_api_key
from portrait.gallery.models import Collection, Identity
from tests.api_clients import MakeClient, plain_jpeg
from tests.portrait.compat.old_client import CLEAR, CONFIG, FACES, RENAME, UPDATE, call, data_uri, sample

pytestmark = pytest.mark.django_db

READ_CALLS = [
    ("post", CONFIG),
    ("get", CONFIG),
    ("post", "/image-captioning"),
    ("get", "/instance-segmentation/init-engine"),
    ("post", "/instance-segmentation/init-engine"),
    ("post", "/instance-segmentation/load-model"),
    ("post", "/instance-segmentation/detect-objects"),
]
ENROL_CALLS = [("post", FACES), ("post", UPDATE), ("post", f"{RENAME}/p1")]
ADMIN_CALLS = [("post", CLEAR), ("get", CLEAR)]
ALL_CALLS = [*READ_CALLS, *ENROL_CALLS, *ADMIN_CALLS]
on = pytest.mark.urls("tests.portrait.compat.urls")


@on
def test_the_lists_above_cover_every_address() -> None:
    covered = {resolve(path + slash).route for _, path in ALL_CALLS for slash in ("", "/")}
    assert covered == {str(pattern.pattern) for pattern in urlpatterns}


@pytest.mark.parametrize(("method", "path"), ALL_CALLS)
def test_off_unless_enabled(method: str, path: str, admin: APIClient) -> None:
    assert getattr(admin, method)(path).status_code == 404
    with pytest.raises(Resolver404):
        get_resolver().resolve(path)


@on
@pytest.mark.parametrize(("method", "path"), ALL_CALLS)
def test_no_key_no_answer(method: str, path: str) -> None:
    answer = getattr(APIClient(), method)(path)
    assert (answer.status_code, answer.json()["code"]) == (401, "not_authenticated")
    assert answer["WWW-Authenticate"] == "Api-Key"


@on
@pytest.mark.parametrize(("method", "path"), ALL_CALLS)
def test_a_session_opens_nothing(method: str, path: str, collection: Collection) -> None:
    """A foreign page can make a signed-in browser call by GET."""
    User.objects.create_superuser("root", password="pw")
    client = APIClient()
    assert client.login(username="root", password="pw")
    assert getattr(client, method)(path).status_code == 401


@on
@pytest.mark.parametrize(("method", "path"), ENROL_CALLS + ADMIN_CALLS)
def test_a_reading_key_changes_nothing(method: str, path: str, reader: APIClient) -> None:
    answer = getattr(reader, method)(path)
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


@on
@pytest.mark.parametrize(("method", "path"), ADMIN_CALLS)
def test_an_enrolling_key_does_not_clear(method: str, path: str, enroller: APIClient) -> None:
    assert getattr(enroller, method)(path).status_code == 403


@on
@pytest.mark.parametrize(("method", "path"), ALL_CALLS)
def test_a_cameras_key_opens_nothing(method: str, path: str, collection: Collection) -> None:
    _, key = create_api_key(name="c", scope=Scope.ADMIN, collection_ids=[collection.id], camera_ids=[uuid.uuid4()])
    assert getattr(APIClient(HTTP_AUTHORIZATION=f"Api-Key {key}"), method)(path).status_code == 403


@on
@pytest.mark.parametrize("path", sorted({path for _, path in ALL_CALLS}))
def test_head_is_not_taken_for_get(path: str, admin: APIClient, collection: Collection) -> None:
    Identity.objects.create(collection=collection, name="Stays")
    assert admin.head(f"{path}?collection={collection.name}").status_code == 405
    assert Identity.objects.filter(collection=collection).exists()


@on
def test_a_key_clears_only_what_it_reaches(
    make_client: MakeClient, admin: APIClient, collection: Collection, other_collection: Collection
) -> None:
    for each in (collection, other_collection):
        Identity.objects.create(collection=each, name="Somebody", external_id="p1")
    bound = make_client(Scope.ADMIN, [collection])
    assert bound.get(f"{CLEAR}?collection={other_collection.name}").status_code == 404
    assert bound.get(CLEAR).status_code == 200, "its only collection needs no name"
    assert [each.collection for each in Identity.objects.all()] == [other_collection]
    assert call(make_client(Scope.ADMIN, [collection, other_collection]), CLEAR, {}, 400)["code"] == (
        "collection_required"
    )
    assert admin.get(CLEAR).status_code == 200, "a key for all means the default collection"
    assert Identity.objects.filter(collection=other_collection).exists()


@on
def test_another_collection_is_as_if_it_did_not_exist(
    make_client: MakeClient, collection: Collection, other_collection: Collection
) -> None:
    foreign = Identity.objects.create(collection=other_collection, name="Foreign", external_id="p1")
    client = make_client(Scope.ADMIN, [collection])
    change = {"name": "Mine", "metadata": ""}
    for wanted in ("p1", foreign.id):
        call(client, f"{RENAME}/{wanted}", change, 404)
    for path, body in (
        (f"{RENAME}/p1", change),
        (FACES, {"image": data_uri(plain_jpeg())}),
        (UPDATE, [sample("p1", plain_jpeg())]),
    ):
        call(client, path, body, 404, other_collection)
    foreign.refresh_from_db()
    assert foreign.name == "Foreign"


CREDENTIALS = {"host": "db.internal", "port": 5432, "db_name": "f", "username": "u-secret", "password": "p-secret"}


@on
@pytest.mark.parametrize("content_type", ["application/json", "application/x-www-form-urlencoded", "text/plain"])
def test_credentials_are_not_taken(
    content_type: str, reader: APIClient, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    import json

    def read(self: Any) -> Any:
        raise AssertionError("the body was read")

    monkeypatch.setattr("rest_framework.request.Request._load_data_and_files", read)
    with caplog.at_level(logging.DEBUG):
        for method in ("post", "get"):
            answer = reader.generic(method.upper(), CONFIG, json.dumps(CREDENTIALS), content_type=content_type)
            assert answer.status_code == 200
            assert b"configured by its operator" in answer.content
            assert b"secret" not in answer.content
    assert "secret" not in caplog.text


@on
def test_the_document_names_the_addresses_only_where_they_exist(client: APIClient) -> None:
    paths = client.get("/api/schema/", HTTP_ACCEPT="application/json").json()["paths"]
    told = {path for path in paths if not path.startswith("/api/")}
    assert told == {f"/{route}".replace("<sample_id:sample_id>", "{sample_id}") for route in ADDRESSES}
    assert not any(path.endswith("/") for path in told)
    for path in told:
        for operation in paths[path].values():
            assert operation["summary"]


@on
def test_answers_are_never_kept_on_the_way(admin: APIClient, collection: Collection) -> None:
    for path in (f"{CLEAR}?collection={collection.name}", CONFIG):
        assert admin.get(path)["Cache-Control"] == "no-store"
    assert APIClient().get(CLEAR)["Cache-Control"] == "no-store"


@on
def test_rates_are_limited(reader: APIClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttling.PrincipalThrottle, "get_rate", lambda self: "2/min")
    answers = [reader.get(CONFIG) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[2].json()["code"] == "throttled"
    assert int(answers[2]["Retry-After"]) > 0
