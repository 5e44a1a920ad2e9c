"""Limits: bodies, rates, fields that try to break the database."""

import asyncio
import json
from collections.abc import Callable, Iterator
from io import StringIO
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from django.conf import settings
from django.contrib.auth.models import User
from django.core.cache import cache
from django.core.management import CommandError, call_command
from django.test import Client
from redis.exceptions import ConnectionError as RedisConnectionError
from rest_framework.test import APIClient

from portrait.asgi import application
from portrait.core import throttling
from portrait.core.body_limit import UNCHECKED_MAX_BYTES, BodyLimit
from portrait.core.models import KEY_PREFIX_CHARS, ApiKey, Scope
from portrait.core.services import create_api_key
from portrait.gallery.models import Collection

pytestmark = pytest.mark.django_db


KEY = (b"authorization", b"Api-Key x")


@pytest.fixture(autouse=True)
def _nothing_remembered() -> Iterator[None]:
    cache.clear()
    yield
    cache.clear()


def _ask(headers: list[tuple[bytes, bytes]], chunks: list[bytes]) -> tuple[int, Any]:
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
    asyncio.run(BodyLimit(echo, 10, session_cookie="sessionid", anonymous_max_bytes=3)(scope, receive, send))
    return sent[0]["status"], json.loads(sent[1]["body"])


def test_a_body_within_the_limit_passes() -> None:
    assert _ask([KEY, (b"content-length", b"10")], [b"12345", b"67890"]) == (200, 10)


@pytest.mark.parametrize("headers", [[(b"content-length", b"11")], [], [(b"content-length", b"1")]])
def test_a_body_above_it_is_refused_announced_or_not(headers: list[tuple[bytes, bytes]]) -> None:
    status, body = _ask([KEY, *headers], [b"12345", b"67890", b"1"])
    assert (status, body["error"]["code"]) == (413, "request_too_large")


def test_a_body_in_chunks_is_not_taken_for_an_empty_one() -> None:
    status, body = _ask([KEY, (b"transfer-encoding", b"chunked")], [b"123"])
    assert (status, body["error"]["code"]) == (411, "length_required")
    assert "Content-Length" in body["error"]["message"]


@pytest.mark.parametrize(
    "named", [KEY, (b"cookie", b"sessionid=abc"), (b"cookie", b"csrftoken=x; sessionid=abc; other=y")]
)
def test_a_large_body_needs_a_key_or_a_session(named: tuple[bytes, bytes]) -> None:
    assert _ask([named], [b"1234"]) == (200, 4)


@pytest.mark.parametrize("announced", [[], [(b"content-length", b"4")]])
@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"authorization", b" ")],
        [(b"cookie", b"csrftoken=sessionid")],
        [(b"cookie", b"sessionid=")],
        [(b"cookie", b"\xff\xfe;=;")],
    ],
)
def test_an_anonymous_body_may_only_be_small(
    headers: list[tuple[bytes, bytes]], announced: list[tuple[bytes, bytes]]
) -> None:
    assert _ask([*headers, *announced], [b"123"])[0] == (413 if announced else 200)
    status, body = _ask([*headers, *announced], [b"12", b"34"])
    assert (status, body["error"]["code"]) == (413, "request_too_large")
    assert "key" in body["error"]["message"]


def _upload(path: str, chunks: int, headers: list[tuple[bytes, bytes]]) -> tuple[int, Any, int]:
    """Ask the whole application with a body of so many MB, without telling its length; how many MB it took of it."""
    sent: list[Any] = []
    waiting = [b"x" * 2**20] * chunks

    async def receive() -> Any:
        if not waiting:
            await asyncio.Event().wait()  # nobody hangs up
        return {"type": "http.request", "body": waiting.pop(), "more_body": bool(waiting)}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "scheme": "http",
        "client": ("192.0.2.1", 1),
        "server": ("localhost", 80),
        "headers": [(b"host", b"localhost"), (b"content-type", b"application/json"), *headers],
    }
    asyncio.run(application(scope, receive, send))
    (start,) = [message for message in sent if message["type"] == "http.response.start"]
    body = b"".join(message.get("body", b"") for message in sent if message["type"] == "http.response.body")
    return start["status"], json.loads(body), chunks - len(waiting)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("name", "value"), [(b"authorization", b"Api-Key guess"), (b"authorization", b"x"), (b"cookie", b"sessionid=guess")]
)
@pytest.mark.parametrize("path", ["/api/v1/detect", "/api/v1/imports"])
def test_nobody_fills_the_disk_with_a_key_that_is_none(path: str, name: bytes, value: bytes) -> None:
    status, body, taken = _upload(path, 40, [(name, value)])
    assert (status, body["error"]["code"]) in [(401, "authentication_failed"), (401, "not_authenticated")]
    assert taken == UNCHECKED_MAX_BYTES // 2**20 + 1


@pytest.mark.django_db(transaction=True)
def test_a_large_body_of_somebody_known_is_read_to_its_end() -> None:
    _, key = create_api_key(name="test", scope=Scope.READ)
    status, _, taken = _upload("/api/v1/detect", 12, [(b"authorization", f"Api-Key {key}".encode())])
    assert (status, taken) == (400, 12), "no JSON, as the view finds"


@pytest.mark.django_db(transaction=True)
def test_a_large_body_of_somebody_signed_in_is_read_to_its_end(client: Client, admin_user: User) -> None:
    client.force_login(admin_user)
    cookie = client.cookies[settings.SESSION_COOKIE_NAME].value
    *_, taken = _upload("/api/v1/detect", 12, [(b"cookie", f"{settings.SESSION_COOKIE_NAME}={cookie}".encode())])
    assert taken == 12


def test_the_application_has_these_limits() -> None:
    """Asked as the web server asks it: nothing is read of a body that is announced too large."""
    sent: list[Any] = []

    async def no_body() -> Any:
        raise AssertionError("the body was asked for")

    async def send(message: Any) -> None:
        sent.append(message)

    for size, headers in [(2**20 + 1, []), (settings.MAX_BODY_BYTES + 1, [KEY])]:
        announced = (b"content-length", str(size).encode())
        scope = {"type": "http", "method": "POST", "path": "/api/v1/detect", "headers": [announced, *headers]}
        asyncio.run(application(scope, no_body, send))
    assert [message["status"] for message in sent if message["type"] == "http.response.start"] == [413, 413]


def test_callers_are_slowed_down_each_for_itself(
    reader: APIClient, make_client: Callable[..., APIClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throttling.PrincipalThrottle, "get_rate", lambda self: "2/min")
    codes = [reader.get("/api/v1/collections").status_code for _ in range(3)]
    assert codes == [200, 200, 429]
    answer = reader.get("/api/v1/collections")
    assert answer.json()["error"]["code"] == "throttled"
    assert 0 < int(answer["Retry-After"]) <= 61
    assert make_client().get("/api/v1/collections").status_code == 200


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """The time of the counters; it stands still until it is set."""
    now = [1_800_000_000.0]
    monkeypatch.setattr(throttling, "time", SimpleNamespace(time=lambda: now[0]))

    def pass_by(seconds: float) -> None:
        now[0] += seconds

    return pass_by


def _guess(address: str = "192.0.2.1", **headers: str) -> Any:
    client = APIClient(HTTP_AUTHORIZATION="Api-Key guess", REMOTE_ADDR=address, **headers)
    return client.get("/api/v1/collections")


def test_keys_cannot_be_guessed_fast(
    reader: APIClient, clock: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throttling, "UNKNOWN_KEYS_A_MINUTE", 3)
    clock(15)
    assert [_guess(HTTP_X_FORWARDED_FOR=f"198.51.100.{n}").status_code for n in range(5)] == [401] * 3 + [429] * 2
    refused = _guess()
    assert refused.json()["error"]["code"] == "throttled"
    assert int(refused["Retry-After"]) == 46
    assert _guess("192.0.2.2").status_code == 401
    assert reader.get("/api/v1/collections", REMOTE_ADDR="192.0.2.1").status_code == 200, "a good key is let in"
    clock(46)
    assert _guess().status_code == 401


def test_sixty_unknown_keys_a_minute(clock: Callable[[float], None]) -> None:
    assert [_guess().status_code for _ in range(61)] == [401] * 60 + [429]


def test_without_redis_guesses_are_answered_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def down(*args: object, **kwargs: object) -> None:
        raise RedisConnectionError("down")

    monkeypatch.setattr(throttling, "UNKNOWN_KEYS_A_MINUTE", 0)
    assert _guess().status_code == 429
    monkeypatch.setattr(throttling.cache, "incr", down)
    assert _guess().status_code == 401


def test_anonymous_readers_of_the_document_count_by_their_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttling.PrincipalThrottle, "get_rate", lambda self: "2/min")
    document = "/api/schema/?format=json"
    codes = [APIClient().get(document, HTTP_X_FORWARDED_FOR=f"198.51.100.{n}").status_code for n in range(3)]
    assert codes == [200, 200, 429]
    assert APIClient(REMOTE_ADDR="192.0.2.9").get(document).status_code == 200


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
        call_command("apikey", "revoke", key[:KEY_PREFIX_CHARS], stdout=StringIO())
        assert APIClient(HTTP_AUTHORIZATION=f"Api-Key {key}").get("/api/v1/jobs").status_code == 401
        with pytest.raises(CommandError, match="0 open keys"):
            call_command("apikey", "revoke", key[:KEY_PREFIX_CHARS])
