"""Where the embedded servers listen: chosen at a start, kept at the next, told to other processes by a file."""

import contextlib
import json
import os
import random
import re
import secrets
import socket
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import quote

from portrait.embedded.errors import EmbeddedError
from portrait.env import Environment

_PORTS = range(15000, 32000)  # below the range from which the kernel takes the ports of outgoing connections
_LONGEST_SOCKET_PATH = 107  # sockaddr_un.sun_path, less its closing zero
_ROOM_FOR_NAMES = len("/services.sock.1234567")  # supervisor first binds a name with its process id


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Addresses of one installation's embedded servers. All are loopback ports or sockets in private directories."""

    redis_port: int
    triton_grpc_port: int
    triton_http_port: int
    triton_metrics_port: int
    sockets: Path
    redis_password: str

    @property
    def postgres_dir(self) -> Path:
        return self.sockets / "pg"

    @property
    def database_url(self) -> str:
        return f"postgresql://portrait@{quote(str(self.postgres_dir), safe='')}/portrait"

    @property
    def redis_url(self) -> str:
        return f"redis://:{self.redis_password}@127.0.0.1:{self.redis_port}/0"

    @property
    def triton_url(self) -> str:
        return f"127.0.0.1:{self.triton_grpc_port}"

    def urls(self) -> dict[str, str]:
        """The keys are `portrait.env.ENDPOINT_KEYS`."""
        return {"database_url": self.database_url, "redis_url": self.redis_url, "triton_url": self.triton_url}


def choose(environment: Environment) -> Endpoints:
    """Addresses for a start: those of the last one where they are still free."""
    run = environment.var / "run"
    run.mkdir(parents=True, exist_ok=True)
    before = _read(run / "addresses.json")
    taken: list[socket.socket] = []
    try:
        ports = {
            name: _free_port(int(str(before.get(name, 0))), taken)
            for name in ("redis_port", "triton_grpc_port", "triton_http_port", "triton_metrics_port")
        }
    finally:
        for reserved in taken:
            reserved.close()
    return Endpoints(
        **ports,
        sockets=choose_sockets(environment),
        redis_password=str(before.get("redis_password") or secrets.token_urlsafe(32)),
    )


def choose_sockets(environment: Environment) -> Path:
    """The directory of the sockets: `<var>/run`, or one in /tmp where that path is too long or not plain enough."""
    run = environment.var / "run"
    if _fits(run):
        return run
    remembered = run / "sockets"
    with contextlib.suppress(OSError):
        before = Path(remembered.read_text())
        if before.is_dir() and before.stat().st_uid == os.geteuid():
            return before
    short = Path(tempfile.mkdtemp(prefix="portrait-", dir="/tmp"))
    short.chmod(0o711)  # an unprivileged PostgreSQL must pass through to its own directory
    write_private(remembered, str(short))
    return short


def last(environment: Environment) -> Endpoints | None:
    """The addresses of the last start."""
    values = _read(environment.var / "run" / "addresses.json")
    if not values:
        return None
    return Endpoints(**{**values, "sockets": Path(str(values["sockets"]))})  # type: ignore[arg-type]


def publish(environment: Environment, endpoints: Endpoints) -> None:
    """Tell other processes (`portrait.env`), and the next start, where the embedded servers listen."""
    urls = {key: url for key, url in endpoints.urls().items() if key not in environment.external}
    write_private(environment.var / "run" / "addresses.json", json.dumps(asdict(endpoints), default=str))
    write_private(environment.endpoints_file, json.dumps(urls))


def withdraw(environment: Environment) -> None:
    """The servers stop: nobody shall hand their password to whatever listens at these ports later."""
    environment.endpoints_file.unlink(missing_ok=True)


def write_private(path: Path, text: str) -> None:
    """Write a file as a whole or not at all, readable to its owner only."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    Path(temporary).replace(path)


def check_port_free(host: str, port: int) -> None:
    """Raise `EmbeddedError` if the web server cannot have its port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that linger do not count
        try:
            probe.bind((host, port))
        except OSError as error:
            raise EmbeddedError(
                f"The web server cannot listen at {host}:{port} ({error.strerror}): "
                "set PORTRAIT_PORT to a free port, PORTRAIT_PORT=8001 for example."
            ) from error


def _fits(directory: Path) -> bool:
    """Whether the kernel takes paths of sockets in `directory`, and Triton's shell commands its name."""
    short = len(os.fsencode(directory)) + _ROOM_FOR_NAMES <= _LONGEST_SOCKET_PATH
    return short and re.fullmatch(r"[\w./+@:,-]+", str(directory), re.ASCII) is not None


def _read(path: Path) -> dict[str, object]:
    try:
        return dict(json.loads(path.read_text()))
    except (FileNotFoundError, ValueError):
        return {}


def _free_port(wanted: int, taken: list[socket.socket]) -> int:
    """A free loopback port, `wanted` if it is one; it stays reserved as long as the socket added to `taken` is open."""
    candidates = [wanted] if wanted else []
    candidates += random.sample(_PORTS, 200)
    for port in candidates:
        probe = socket.socket()
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            probe.close()
            continue
        taken.append(probe)
        return port
    raise EmbeddedError("No free port was found on 127.0.0.1 for the embedded servers.")
