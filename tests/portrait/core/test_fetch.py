"""The guarded fetch of `image_url`: tried as an attacker would."""

import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from django.db import connection

from inference.errors import ImageTooLargeError
from portrait.core import fetch, pictures
from portrait.core.errors import ImageUrlError
from portrait.core.fetch import FetchLimits, fetch_image, is_public
from portrait.core.models import ApiKey

GUARDED = FetchLimits(max_bytes=1000)
LOCAL = FetchLimits(max_bytes=1000, ports=None, allow_private=True)


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        status, headers, body = self.server.routes[self.path]  # type: ignore[attr-defined]
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if callable(body):
            body(self.wfile)
        else:
            self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def routes() -> Iterator[tuple[dict[str, tuple[int, dict[str, str], bytes | Callable[..., None]]], str]]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.routes = {}  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.routes, f"http://127.0.0.1:{server.server_port}"  # type: ignore[attr-defined]
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",  # cloud metadata
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1%eth0",
        "fd00::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "2001:0:7f00:1::",
    ],
)
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700:4700::1111", "::ffff:8.8.8.8"])
def test_public_addresses(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/x",
        "http://localhost/x",
        "http://[::1]/x",
        "http://[::ffff:127.0.0.1]/x",
        "http://2130706433/x",  # 127.0.0.1 as one number
        "http://0x7f.1/x",
        "http://0177.0.0.1/x",
        "http://169.254.169.254/latest/meta-data/",
        "file:///etc/passwd",
        "ftp://example.org/x",
        "gopher://example.org/x",
        "//example.org/x",
        "http://",
        "http://user:pw@8.8.8.8/x",
        "http://8.8.8.8:22/x",
        "http://8.8.8.8:99999/x",
        "http://[bad/x",
        "not an address",
    ],
)
def test_refused_without_a_connection(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_connection(*args: object, **kwargs: object) -> None:
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(fetch, "_open", no_connection)
    with pytest.raises(ImageUrlError):
        fetch_image(url, limits=GUARDED)


def test_a_name_is_refused_if_any_of_its_addresses_is_private(monkeypatch: pytest.MonkeyPatch) -> None:
    def both(host: str, port: int, **kwargs: object) -> list[object]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in ("8.8.8.8", "127.0.0.1")]

    monkeypatch.setattr(socket, "getaddrinfo", both)
    with pytest.raises(ImageUrlError, match="not public"):
        fetch_image("http://rebind.example/x", limits=GUARDED)


def test_the_connection_goes_to_the_address_that_was_checked(
    routes: tuple[dict[str, object], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second, different DNS answer (rebinding) is never asked for."""
    table, base = routes
    table["/x"] = (200, {}, b"picture")
    port = int(base.rsplit(":", 1)[1])
    asked = []
    real = socket.getaddrinfo

    def once(host: str, *args: object, **kwargs: object) -> object:
        asked.append(host)
        return real("127.0.0.1" if host == "photos.example" else host, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", once)
    assert fetch_image(f"http://photos.example:{port}/x", limits=LOCAL) == b"picture"
    assert asked.count("photos.example") == 1


def test_a_redirect_to_a_private_address_is_refused(
    routes: tuple[dict[str, object], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    table, base = routes
    table["/x"] = (302, {"Location": "http://169.254.169.254/latest/meta-data/"}, b"")
    monkeypatch.setattr(fetch, "is_public", lambda address: address == "127.0.0.1")
    with pytest.raises(ImageUrlError, match="not public"):
        fetch_image(f"{base}/x", limits=replace(LOCAL, allow_private=False))


def test_redirects_are_followed_a_few_times_only(routes: tuple[dict[str, object], str]) -> None:
    table, base = routes
    table["/ok"] = (200, {}, b"picture")
    table["/once"] = (301, {"Location": "/ok"}, b"")
    table["/loop"] = (302, {"Location": "/loop"}, b"")
    assert fetch_image(f"{base}/once", limits=LOCAL) == b"picture"
    with pytest.raises(ImageUrlError, match="redirects"):
        fetch_image(f"{base}/loop", limits=LOCAL)


def test_too_many_bytes_announced_or_sent(routes: tuple[dict[str, object], str]) -> None:
    table, base = routes
    table["/announced"] = (200, {"Content-Length": "5000"}, b"x" * 5000)
    table["/streamed"] = (200, {}, b"x" * 5000)
    for path in ("/announced", "/streamed"):
        with pytest.raises(ImageTooLargeError):
            fetch_image(base + path, limits=LOCAL)


def test_a_compressed_body_is_not_unfolded(routes: tuple[dict[str, object], str]) -> None:
    import gzip

    table, base = routes
    packed = gzip.compress(b"0" * 500_000)
    table["/bomb"] = (200, {"Content-Encoding": "gzip"}, packed)
    assert fetch_image(f"{base}/bomb", limits=LOCAL) == packed


def test_a_host_without_an_address_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*args: object, **kwargs: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(ImageUrlError, match="cannot be found"):
        fetch_image("http://no-such-host.invalid/x", limits=LOCAL)


def test_errors_are_named(routes: tuple[dict[str, object], str]) -> None:
    table, base = routes
    table["/gone"] = (404, {}, b"")
    with pytest.raises(ImageUrlError, match="404"):
        fetch_image(f"{base}/gone", limits=LOCAL)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    with pytest.raises(ImageUrlError, match="cannot be fetched"):
        fetch_image(f"http://127.0.0.1:{port}/x", limits=LOCAL)


def test_a_body_that_ends_early_is_no_picture(routes: tuple[dict[str, object], str]) -> None:
    table, base = routes
    table["/short"] = (200, {"Content-Length": "100"}, b"x" * 50)
    with pytest.raises(ImageUrlError, match="cannot be fetched"):
        fetch_image(f"{base}/short", limits=LOCAL)


def test_addresses_as_people_write_them(routes: tuple[dict[str, object], str]) -> None:
    table, base = routes
    table["/caf%C3%A9%20au%20lait.jpg?a=%20"] = (200, {}, b"picture")
    table["/there"] = (302, {"Location": "/caf\u00c3\u00a9 au lait.jpg?a=%20"}, b"")  # the bytes of UTF-8, as Latin-1
    assert fetch_image(f"{base}/caf\u00e9 au lait.jpg?a=%20", limits=LOCAL) == b"picture"
    assert fetch_image(f"{base}/there", limits=LOCAL) == b"picture"


def test_no_connection_to_the_database_is_held_meanwhile(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    ApiKey.objects.count()
    assert connection.connection is not None
    held = []

    def fetch(url: str, *, limits: FetchLimits) -> bytes:
        held.append(connection.connection)
        return b"picture"

    monkeypatch.setattr(pictures, "fetch_image", fetch)
    assert pictures.picture_from_url("http://photos.example/x") == b"picture"
    assert held == [None]
