"""The guarded fetch, from servers that take their time, and over TLS."""

import contextlib
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from portrait.core.errors import ImageUrlError
from portrait.core.fetch import FetchLimits, fetch_image

LOCAL = FetchLimits(max_bytes=1000, ports=None, allow_private=True)


class Dripper:
    """A server that answers byte by byte for as long as somebody listens. `left` is set once nobody does."""

    def __init__(self, beginning: bytes, drip: bytes, wrap: Callable[[socket.socket], socket.socket]) -> None:
        self._beginning, self._drip, self._wrap = beginning, drip, wrap
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.left, self._given_up = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        plain, _ = self._listener.accept()
        with contextlib.suppress(OSError), plain, self._wrap(plain) as connection:
            connection.sendall(self._beginning)
            while not self._given_up.wait(0.05):
                connection.sendall(self._drip)
        if not self._given_up.is_set():
            self.left.set()

    def close(self) -> None:
        self._given_up.set()
        self._thread.join()
        self._listener.close()


@pytest.fixture
def drip() -> Iterator[Callable[..., Dripper]]:
    made = []

    def make(
        beginning: bytes, drip: bytes = b"x", wrap: Callable[[socket.socket], socket.socket] = lambda plain: plain
    ) -> Dripper:
        made.append(Dripper(beginning, drip, wrap))
        return made[-1]

    yield make
    for dripper in made:
        dripper.close()


PATIENCE_S = 30


def _fetch_in_time(url: str) -> None:
    """The fetch ends by its own deadline: the server would go on for as long as anybody listens."""
    outcome: list[object] = []

    def fetch_it() -> None:
        try:
            outcome.append(fetch_image(url, limits=replace(LOCAL, max_bytes=10**6, total_s=0.4)))
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=fetch_it, daemon=True)
    thread.start()
    thread.join(PATIENCE_S)
    assert not thread.is_alive(), "the fetch does not end"
    (error,) = outcome
    assert isinstance(error, ImageUrlError)
    assert "within 0.4 s" in str(error)


@pytest.mark.parametrize(
    ("beginning", "each"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\n", b"x"),
        (b"HTTP/1.1 200 OK\r\n\r\n", b"x"),  # until the connection is closed
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        (b"HTTP/1.1 200 OK\r\nX-Long: ", b"x"),
        (b"HTTP/1.1 200 OK\r\n", b"X-Header: x\r\n"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"", b"H"),
    ],
)
def test_a_server_that_drips_is_left_at_the_deadline(
    drip: Callable[..., Dripper], beginning: bytes, each: bytes
) -> None:
    server = drip(beginning, each)
    _fetch_in_time(f"http://127.0.0.1:{server.port}/x")
    assert server.left.wait(PATIENCE_S), "the server still talks to somebody"


def test_a_server_that_drips_its_handshake_is_left(drip: Callable[..., Dripper]) -> None:
    server = drip(b"\x16\x03\x03\x3f\xff", b"\x02")  # a record of TLS, 16 KB long
    _fetch_in_time(f"https://127.0.0.1:{server.port}/x")
    assert server.left.wait(PATIENCE_S)


def test_a_silent_name_server_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    answers_at_last = threading.Event()

    def silent(*args: object, **kwargs: object) -> list[object]:
        answers_at_last.wait(PATIENCE_S * 2)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", silent)
    try:
        _fetch_in_time("http://photos.example/x")
    finally:
        answers_at_last.set()


def test_redirects_share_the_deadline(drip: Callable[..., Dripper]) -> None:
    last = drip(b"HTTP/1.1 200 OK\r\n\r\n")
    location = f"http://127.0.0.1:{last.port}/x".encode()
    first = drip(b"HTTP/1.1 302 Found\r\nLocation: " + location + b"\r\n\r\n")
    _fetch_in_time(f"http://127.0.0.1:{first.port}/x")
    assert first.left.wait(PATIENCE_S)
    assert last.left.wait(PATIENCE_S)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A key and a certificate for 127.0.0.1 that nobody trusts yet."""
    if not shutil.which("openssl"):
        pytest.skip("there is no openssl to make a certificate with")
    path = tmp_path / "certificate.pem"
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
    )
    subprocess.run([*command.split(), "-keyout", path, "-out", tmp_path / "public"], check=True, capture_output=True)
    with path.open("ab") as file:
        file.write((tmp_path / "public").read_bytes())
    return path


def test_https_only_with_a_trusted_certificate_of_that_host(
    drip: Callable[..., Dripper], certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(certificate)

    def secure() -> Dripper:
        def wrap(plain: socket.socket) -> socket.socket:
            return server_side.wrap_socket(plain, server_side=True)

        return drip(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\npicture", wrap=wrap)

    with pytest.raises(ImageUrlError, match="cannot be fetched"):
        fetch_image(f"https://127.0.0.1:{secure().port}/x", limits=LOCAL)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert fetch_image(f"https://127.0.0.1:{secure().port}/x", limits=LOCAL) == b"picture"
    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *rest, **more: real("127.0.0.1", *rest, **more))
    with pytest.raises(ImageUrlError, match="cannot be fetched"):
        fetch_image(f"https://photos.example:{secure().port}/x", limits=LOCAL)
