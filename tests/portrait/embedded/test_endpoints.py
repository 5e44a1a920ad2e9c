import dataclasses
import json
import socket
import stat
from pathlib import Path

import dj_database_url
import pytest

from portrait.embedded import endpoints
from portrait.embedded.errors import EmbeddedError
from portrait.env import Environment, read_environment


@pytest.fixture
def environment(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Environment:
    for name in ("DATABASE_URL", "REDIS_URL", "TRITON_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PORTRAIT_VAR", str(tmp_path_factory.mktemp("e")))  # short
    return read_environment()


def _ports(chosen: endpoints.Endpoints) -> list[int]:
    return [chosen.redis_port, chosen.triton_grpc_port, chosen.triton_http_port, chosen.triton_metrics_port]


def test_addresses_stay_at_the_next_start_but_for_a_port_that_was_taken(environment: Environment) -> None:
    first = endpoints.choose(environment)
    assert len(set(_ports(first))) == 4
    endpoints.publish(environment, first)
    assert endpoints.last(environment) == first
    assert endpoints.choose(environment) == first
    with socket.create_server(("127.0.0.1", first.triton_http_port)):
        second = endpoints.choose(environment)
    assert second.triton_http_port != first.triton_http_port
    assert dataclasses.replace(second, triton_http_port=first.triton_http_port) == first


def test_settings_read_what_was_published_and_nothing_after_the_stop(environment: Environment) -> None:
    chosen = endpoints.choose(environment)
    endpoints.publish(environment, chosen)
    assert stat.S_IMODE(environment.endpoints_file.stat().st_mode) == 0o600  # it holds Redis' password
    read = read_environment()
    assert (read.database_url, read.redis_url, read.triton_urls) == (
        chosen.database_url,
        chosen.redis_url,
        [chosen.triton_url],
    )
    assert dj_database_url.parse(read.database_url)["HOST"] == str(chosen.postgres_dir)
    endpoints.withdraw(environment)
    assert chosen.redis_password not in read_environment().redis_url


def test_an_external_server_is_not_published(environment: Environment) -> None:
    external = dataclasses.replace(environment, external=frozenset({"redis_url"}))
    endpoints.publish(external, endpoints.choose(external))
    assert set(json.loads(external.endpoints_file.read_text())) == {"database_url", "triton_url"}


def test_paths_that_sockets_cannot_have_are_replaced(tmp_path: Path, environment: Environment) -> None:
    assert endpoints.choose_sockets(environment) == environment.var / "run"
    for name in ("x" * 120, "with space"):
        odd = dataclasses.replace(environment, var=tmp_path / name)
        (odd.var / "run").mkdir(parents=True)
        sockets = endpoints.choose_sockets(odd)
        assert not sockets.is_relative_to(tmp_path)
        assert len(str(sockets)) < 60
        assert endpoints.choose_sockets(odd) == sockets  # the same at the next start
        sockets.rmdir()
        assert endpoints.choose_sockets(odd) != sockets
        endpoints.choose_sockets(odd).rmdir()


def test_an_occupied_web_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(EmbeddedError, match=f"127.0.0.1:{port} .*PORTRAIT_PORT"):
            endpoints.check_port_free("127.0.0.1", port)
    endpoints.check_port_free("127.0.0.1", port)
