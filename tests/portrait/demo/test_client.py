"""The demo's client of the API, against a server that answers what the test says."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from django.core.management.base import CommandError

from portrait.demo import client
from portrait.demo.client import ApiClient, PictureRefusedError

Answer = tuple[int, dict[str, str], bytes]


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        status, headers, body = self.server.answers.pop(0)  # type: ignore[attr-defined]
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def site() -> Iterator[tuple[ApiClient, list[Answer]]]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.answers = []  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield ApiClient(f"http://127.0.0.1:{server.server_port}", "key"), server.answers  # type: ignore[attr-defined]
    server.shutdown()
    server.server_close()


def error(status: int, code: str, message: str) -> Answer:
    return status, {}, json.dumps({"error": {"code": code, "message": message}}).encode()


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    waits: list[float] = []
    monkeypatch.setattr(client.time, "sleep", waits.append)
    return waits


def test_it_waits_as_long_as_it_is_told(site: tuple[ApiClient, list[Answer]], slept: list[float]) -> None:
    api, answers = site
    answers += [(429, {"Retry-After": "17"}, b"{}"), (429, {}, b"{}"), (200, {}, b'{"faces": []}')]
    assert api.recognize("demo", b"picture") == []
    assert slept == [17.0, 1.0]


def test_but_not_for_ever(site: tuple[ApiClient, list[Answer]], slept: list[float]) -> None:
    api, answers = site
    answers += [(429, {"Retry-After": "301"}, b"{}")]
    with pytest.raises(CommandError, match="429"):
        api.recognize("demo", b"picture")
    assert slept == []


@pytest.mark.parametrize("status", [400, 413, 415, 422])
def test_a_refused_picture_is_told_from_a_broken_site(site: tuple[ApiClient, list[Answer]], status: int) -> None:
    api, answers = site
    answers += [error(status, "corrupt_image", "The picture is cut off.")] * 2
    with pytest.raises(PictureRefusedError, match="cut off"):
        api.recognize("demo", b"picture")
    with pytest.raises(PictureRefusedError, match="cut off"):
        api.enrol("id", b"picture")


@pytest.mark.parametrize(
    "answer", [error(503, "inference_unavailable", "down"), (503, {}, b"Service Unavailable"), (413, {}, b"too large")]
)
def test_anything_else_ends_the_demo(site: tuple[ApiClient, list[Answer]], answer: Answer) -> None:
    api, answers = site
    answers += [answer]
    with pytest.raises(CommandError, match=str(answer[0])):
        api.recognize("demo", b"picture")


def test_a_server_that_is_gone_is_said() -> None:
    with pytest.raises(CommandError, match="does not answer"):
        ApiClient("http://127.0.0.1:1", "key").recognize("demo", b"picture")
