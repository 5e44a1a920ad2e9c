"""Limits: bodies, rates, fields that try to break the database; and health."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from typing import Any

import pytest
import redis
from django.conf import settings
from django.core.cache import cache
from django.core.management import CommandError, call_command
from redis.exceptions import ConnectionError as RedisConnectionError
from rest_framework.test import APIClient

from portrait.core import health, throttling
from portrait.core.body_limit import BodyLimit
from portrait.core.models import ApiKey
from portrait.gallery.models import Collection

pytestmark = pytest.mark.django_db


def _ask(headers: list[tuple[bytes, bytes]], chunks: list[bytes], limit: int = 10) -> tuple[int, Any]:
    async def echo(scope: Any, receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message["body"], message["more_body"]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": json.dumps(len(body)).encode()})

    sent: list[Any] = []
    waiting = list(chunks)

    async def receive() -> Any:
        return {"type": "http.request", "body": waiting.pop(0), "more_body": bool(waiting)}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "headers": headers}
    asyncio.run(BodyLimit(echo, limit)(scope, receive, send))
    return sent[0]["status"], json.loads(sent[1]["body"])


def test_a_body_within_the_limit_passes() -> None:
    assert _ask([(b"content-length", b"10")], [b"12345", b"67890"]) == (200, 10)


@pytest.mark.parametrize("headers", [[(b"content-length", b"11")], [], [(b"content-length", b"1")]])
def test_a_body_above_it_is_refused_announced_or_not(headers: list[tuple[bytes, bytes]]) -> None:
    status, body = _ask(headers, [b"12345", b"67890", b"1"])
    assert (status, body["error"]["code"]) == (413, "request_too_large")


def test_callers_are_slowed_down_each_for_itself(
    reader: APIClient, make_client: Callable[..., APIClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throttling.PrincipalThrottle, "get_rate", lambda self: "2/min")
    cache.clear()
    codes = [reader.get("/api/v1/collections").status_code for _ in range(3)]
    assert codes == [200, 200, 429]
    answer = reader.get("/api/v1/collections")
    assert answer.json()["error"]["code"] == "throttled"
    assert 0 < int(answer["Retry-After"]) <= 61
    assert make_client().get("/api/v1/collections").status_code == 200
    cache.clear()


def test_without_redis_callers_are_let_through(reader: APIClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def down(*args: object, **kwargs: object) -> None:
        raise RedisConnectionError("down")

    monkeypatch.setattr(throttling.PrincipalThrottle.cache, "get", down)
    assert reader.get("/api/v1/collections").status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        {"name": ""},
        {"name": "x" * 201},
        {"name": "a\x00b"},
        {"name": "x", "external_id": "\x00"},
        {"name": "x", "external_id": "y" * 201},
        {"name": "x", "metadata": []},
        {"name": "x", "metadata": "text"},
        {"name": "x", "metadata": {"a": "\x00"}},
        {"name": "x", "metadata": {"a": "y" * 70_000}},
        {"name": "x", "collection": "\x00"},
        {"name": {"$ne": 1}},
        {},
    ],
)
def test_fields_are_checked_before_the_database_sees_them(enroller: APIClient, body: dict[str, Any]) -> None:
    answer = enroller.post("/api/v1/identities", body, format="json")
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "invalid"
    assert answer.json()["error"]["field"] in {"name", "external_id", "metadata", "collection"}


@pytest.mark.parametrize("query", ["external_id=%00", "name=%00", "kind=robot", "hidden=perhaps", "collection=%00"])
def test_so_are_filters(reader: APIClient, query: str) -> None:
    assert reader.get(f"/api/v1/identities?{query}").status_code == 400


def test_a_name_is_never_taken_for_sql_or_markup(enroller: APIClient, collection: Collection) -> None:
    name = "Robert'); DROP TABLE gallery_identity;-- <script>alert(1)</script> %s {0}"
    body = {"name": name, "collection": collection.name, "metadata": {"note": name}}
    identity = enroller.post("/api/v1/identities", body, format="json").json()["id"]
    found = enroller.get(f"/api/v1/identities/{identity}").json()
    assert (found["name"], found["metadata"]) == (name, {"note": name})


def test_pages_of_a_list(enroller: APIClient, collection: Collection) -> None:
    names = [f"person {number}" for number in range(7)]
    for name in names:
        enroller.post("/api/v1/identities", {"name": name, "collection": collection.name}, format="json")
    url: str | None = f"/api/v1/identities?collection={collection.name}&page_size=3"
    seen = []
    while url:
        page = enroller.get(url).json()
        assert len(page["results"]) <= 3
        seen += [row["name"] for row in page["results"]]
        url = page["next"]
    assert seen == names[::-1]


def test_health() -> None:
    assert APIClient().get("/healthz").json() == {"status": "ok"}
    ready = APIClient().get("/readyz")
    assert (ready.status_code, ready.json()["checks"]) == (200, {"database": "ok", "redis": "ok", "triton": "ok"})


def test_readiness_names_what_is_down_but_no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = replace(settings.PORTRAIT, redis_url="redis://:secret-password@127.0.0.1:1/0")
    monkeypatch.setattr(settings, "PORTRAIT", wrong)
    monkeypatch.setattr(health, "required_models", lambda: ("dlib_resnet", "no_such_model"))
    ready = APIClient().get("/readyz")
    assert ready.status_code == 503
    assert ready.json()["checks"]["database"] == "ok"
    assert ready.json()["checks"]["redis"] == "does not answer"
    assert ready.json()["checks"]["triton"] == "models not ready: no_such_model"
    assert b"secret-password" not in ready.content


def test_throttle_counters_are_in_redis(reader: APIClient) -> None:
    reader.get("/api/v1/collections")
    with redis.Redis.from_url(settings.PORTRAIT.redis_url) as client:
        assert any(b"throttle" in key for key in client.keys("portrait:*"))


class TestApiKeyCommand:
    def test_create_prints_only_the_key(self, collection: Collection) -> None:
        out = StringIO()
        call_command("apikey", "create", "camera", "--scope", "enrol", "--collection", collection.name, stdout=out)
        key = out.getvalue().strip()
        assert len(key.split()) == 1
        row = ApiKey.objects.get(name="camera")
        assert (row.scope, row.collection_ids) == ("enrol", [collection.id])
        client = APIClient(HTTP_AUTHORIZATION=f"Api-Key {key}")
        assert client.get("/api/v1/collections").json()["results"][0]["name"] == collection.name

    def test_unknown_collection_and_scope(self) -> None:
        with pytest.raises(CommandError, match="no collection nowhere"):
            call_command("apikey", "create", "x", "--collection", "nowhere")
        with pytest.raises(CommandError, match="invalid choice"):
            call_command("apikey", "create", "x", "--scope", "god")

    def test_list_and_revoke(self) -> None:
        out = StringIO()
        call_command("apikey", "create", "old", stdout=out)
        key = out.getvalue().strip()
        listing = StringIO()
        call_command("apikey", "list", stdout=listing)
        assert "old" in listing.getvalue()
        assert key not in listing.getvalue()
        call_command("apikey", "revoke", key[:8], stdout=StringIO())
        assert APIClient(HTTP_AUTHORIZATION=f"Api-Key {key}").get("/api/v1/jobs").status_code == 401
        with pytest.raises(CommandError, match="0 open keys"):
            call_command("apikey", "revoke", key[:8])
