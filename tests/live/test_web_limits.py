"""The limits of the web server as `make up` starts it, over real connections."""

import http.client
import json
import os
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from django.conf import settings
from django.core.cache import cache

from portrait.core.throttling import UNKNOWN_KEYS_A_MINUTE
from portrait.embedded import site
from portrait.env import BASE_DIR
from tests.live.conftest import PATIENCE_S, wait_for

pytestmark = pytest.mark.django_db(transaction=True)


def ask(port: int, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    try:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def healthy(port: int) -> bool:
    try:
        return ask(port, "GET", "/healthz")[0] == 200
    except OSError:
        return False


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """The port of a web server on the tests' database."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        free = int(probe.getsockname()[1])
    (web,) = [program for program in site._programs(replace(settings.PORTRAIT, port=free)) if program.name == "web"]
    server, name = settings.PORTRAIT.database_url.rsplit("/", 1)[0], settings.DATABASES["default"]["NAME"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            web.command, cwd=BASE_DIR, env={**os.environ, "DATABASE_URL": f"{server}/{name}"}, stdout=log, stderr=log
        )
    try:
        wait_for(lambda: process.poll() is not None or healthy(free), "the start")
        assert process.poll() is None, (tmp_path / "log").read_text()
        yield free
    finally:
        process.terminate()
        process.wait(PATIENCE_S)
        cache.clear()  # the tests after these come from the same address


def test_more_connections_than_it_takes_are_answered_at_once_and_later_served(port: int) -> None:
    idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(site.WEB_CONNECTIONS)]
    try:
        wait_for(lambda: ask(port, "GET", "/healthz")[0] == 503, "the refusal")
    finally:
        for connection in idle:
            connection.close()
    wait_for(lambda: healthy(port), "the service")


def test_a_large_body_from_nobody_is_not_read(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as connection:
        connection.sendall(b"POST /api/v1/detect HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000000\r\n\r\nx")
        answer = connection.recv(65536).decode()  # although all but one byte of the body was never sent
    assert answer.startswith("HTTP/1.1 413")
    status, text = ask(port, "POST", "/api/v1/detect", b"x" * 2**21, Authorization="Api-Key guess")
    assert (status, json.loads(text)["error"]["code"]) == (401, "authentication_failed")


def test_a_header_does_not_change_the_address_that_guesses_count_by(port: int) -> None:
    codes = [
        ask(port, "GET", "/api/v1/jobs", Authorization="Api-Key guess", X_Forwarded_For=f"198.51.100.{n}")[0]
        for n in range(2 * UNKNOWN_KEYS_A_MINUTE + 1)  # twice: a minute may end in between
    ]
    assert set(codes) == {401, 429}
