"""The embedded Triton: the server binary of the wheel nvidia-pytriton, in a Python environment of its own.

Its Python backend runs `backend/onnxruntime/model.py` as the backend `onnxruntime`, in processes of that
environment (NumPy < 2: with NumPy 2 the wheel's stub answers tensors of zero bytes without any error).
"""

import contextlib
import fcntl
import hashlib
import json
import re
import shutil
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from portrait.embedded import machine, repository
from portrait.embedded.endpoints import Endpoints
from portrait.embedded.errors import EmbeddedError
from portrait.embedded.supervision import Program
from portrait.env import BASE_DIR, Environment

_BACKEND_SOURCE = Path(__file__).parent / "backend" / "onnxruntime" / "model.py"
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  (Triton's own choice)
_REMEDY = "run `make .venv-triton`, or set PORTRAIT_TRITON_ENV to where it is"
# Removing first what a killed server left in shared memory; `$0` is the files' common beginning.
_CLEAN_AND_RUN = 'rm -f -- "$0"*; exec "$@"'


@dataclass(frozen=True, slots=True)
class TritonWheel:
    """Where the parts of the server's environment lie."""

    root: Path
    site_packages: Path
    python: str

    @property
    def server(self) -> Path:
        return self.site_packages / "pytriton" / "tritonserver"

    @property
    def libraries(self) -> str:
        """The value of LD_LIBRARY_PATH: the wheel's own, and wherever Python lies as a shared library, where the
        system's linker does not know: make unpacks Debian's package into the environment, pyenv has its own."""
        config = (self.root / "pyvenv.cfg").read_text()
        home = re.search(r"^home\s*=\s*(.+)$", config, re.M)
        unpacked = self.root / "libpython" / "usr" / "lib" / "x86_64-linux-gnu"
        places = [unpacked, *([Path(home[1]).parent / "lib"] if home else [])]
        found = [place for place in places if (place / f"libpython{self.python}.so.1.0").is_file()]
        return ":".join(str(place) for place in [self.site_packages / "nvidia_pytriton.libs", *found])

    @property
    def stub(self) -> Path:
        return self.server / "python_backend_stubs" / self.python / "triton_python_backend_stub"


def program(environment: Environment, endpoints: Endpoints) -> Program:
    """The server's process, with its backends and its model repository made anew.

    Raises:
        EmbeddedError: the environment is missing or unfit, or no model is built.
    """
    wheel = find_wheel(environment.triton_env)
    work = _plain_path(environment.var / "triton", endpoints)
    models = sync_models(environment)
    if not models:
        raise EmbeddedError(f"No model is built in {environment.models_dir}: run `python manage.py models build`.")
    _assemble_backends(wheel, work / "backends")
    prefix = shared_memory_prefix(environment.var)
    return Program(
        name="triton",
        command=[
            # Of the caller's own Python nothing, or its packages (NumPy 2) would be found before the environment's.
            # Not in the checkout: a Python started there would import what lies beside `inference`, too.
            *("env", f"--chdir={work}", "-u", "PYTHONHOME", f"PYTHONPATH={_our_modules(work / 'python')}"),
            f"LD_LIBRARY_PATH={wheel.libraries}",
            # The backend's embedded Python finds its environment through the first python3 in PATH.
            *(f"PATH={wheel.root / 'bin'}:/usr/local/bin:/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE=1"),
            *("sh", "-c", _CLEAN_AND_RUN, str(_SHARED_MEMORY / prefix)),
            str(machine.binary(wheel.server / "bin" / "tritonserver", _REMEDY)),
            *_options(work, endpoints, prefix),
            *(f"--load-model={model}" for model in models),
        ],
        start_s=5,
        stop_wait_s=25,
    )


def sync_models(environment: Environment) -> list[str]:
    """Bring the embedded repository up to date with `models_dir`; a running server loads new models when asked."""
    folder = environment.var / "triton"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "models.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the web server's threads and processes may do it at once
        return repository.sync(environment.models_dir, folder / "models", environment.cores)


def shared_memory_prefix(var: Path) -> str:
    """The names of this installation's regions in /dev/shm begin so; no other installation's do."""
    return f"portrait-{hashlib.sha256(str(var).encode()).hexdigest()[:12]}-"


def remove_shared_memory(var: Path) -> None:
    """What a killed server left in /dev/shm. The server must not run."""
    for region in _SHARED_MEMORY.glob(f"{shared_memory_prefix(var)}*"):
        region.unlink(missing_ok=True)


def problem(endpoints: Endpoints, wanted: Sequence[str]) -> str | None:
    """Why the server does not serve the wanted models yet, or None.

    Raises:
        EmbeddedError: the server is up and could not load one of them; waiting is of no use.
    """
    try:
        _get(endpoints, "/v2/health/live")
        states = {model["name"]: model for model in _get(endpoints, "/v2/repository/index", method="POST")}
    except (OSError, ValueError) as error:
        return f"the server does not answer ({error})"
    for name in wanted:
        state = states.get(name, {})
        if state.get("state") == "UNAVAILABLE":
            raise EmbeddedError(f"Triton cannot load the model {name}: {state.get('reason', 'no reason given')}")
        if state.get("state") != "READY":
            return f"the model {name} is not loaded yet"
    return None


def failed_models(endpoints: Endpoints) -> dict[str, str]:
    """Models of the repository that the running server could not load, with the reason."""
    states = _get(endpoints, "/v2/repository/index", method="POST")
    return {model["name"]: model.get("reason", "") for model in states if model.get("state") == "UNAVAILABLE"}


def check_external(urls: Sequence[str]) -> None:
    """Something listens at one of the external server's addresses, or `EmbeddedError`."""
    reasons = []
    for url in urls:
        host, _, port = url.rpartition("://")[2].rpartition(":")
        try:
            with socket.create_connection((host.strip("[]"), int(port)), timeout=5):
                return
        except (OSError, ValueError) as error:
            reasons.append(f"{url}: {error}")
    raise EmbeddedError(f"The server of TRITON_URL (host:port of its gRPC service) does not answer: {reasons}")


def find_wheel(root: Path) -> TritonWheel:
    """The parts of the environment at `root`.

    Raises:
        EmbeddedError: they are missing, or its Python cannot run the server's backend.
    """
    config = root / "pyvenv.cfg"
    if not config.is_file():
        raise EmbeddedError(f"The model server's environment {root} is missing: {_REMEDY}.")
    version = re.search(r"^version\s*=\s*(\d+\.\d+)", config.read_text(), re.M)
    python = version[1] if version else ""
    wheel = TritonWheel(root, root / "lib" / f"python{python}" / "site-packages", python)
    if not (wheel.server / "bin" / "tritonserver").is_file() or not (wheel.site_packages / "onnxruntime").is_dir():
        raise EmbeddedError(f"The model server's environment {root} is not complete: {_REMEDY}.")
    if not wheel.stub.is_file():
        raise EmbeddedError(f"The model server has no part for Python {python}: make {root} with Python 3.11.")
    _check_libraries(wheel)
    return wheel


def _check_libraries(wheel: TritonWheel) -> None:
    """The backend's process needs Python as a shared library, which some Python installations lack."""
    trace = subprocess.run(  # noqa: S603  (a program of the wheel)
        [str(wheel.stub)],
        env={"LD_TRACE_LOADED_OBJECTS": "1", "LD_LIBRARY_PATH": wheel.libraries},
        capture_output=True,
        text=True,
        check=False,
    )
    missing = re.findall(r"(\S+) => not found", trace.stdout)
    if missing:
        raise EmbeddedError(
            f"The model server needs the shared libraries {', '.join(missing)}, which this machine lacks: "
            f"install them (on Debian and Ubuntu: apt-get install libpython{wheel.python})."
        )


def _assemble_backends(wheel: TritonWheel, target: Path) -> None:
    """Triton's backend directory: its Python backend with the fitting stub, and ours on top of it."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(
        wheel.server / "backends" / "python", target / "python", ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copy2(wheel.stub, target / "python" / wheel.stub.name)
    (target / "onnxruntime").mkdir()
    shutil.copy2(_BACKEND_SOURCE, target / "onnxruntime" / "model.py")


def _our_modules(target: Path) -> Path:
    """A folder for PYTHONPATH with `inference` alone, which captioning models import: nothing else that lies beside
    it may come before the environment's packages."""
    target.mkdir(parents=True, exist_ok=True)
    link, source = target / "inference", BASE_DIR / "inference"
    if not link.is_symlink() or link.readlink() != source:
        link.unlink(missing_ok=True)
        link.symlink_to(source, target_is_directory=True)
    return target


def _plain_path(work: Path, endpoints: Endpoints) -> Path:
    """`work`, or a link to it: Triton starts its backend by a shell command in which it quotes no path."""
    work.mkdir(parents=True, exist_ok=True)
    if endpoints.sockets == work.parent / "run":
        return work
    link = endpoints.sockets / "triton"
    link.unlink(missing_ok=True)
    link.symlink_to(work, target_is_directory=True)
    return link


def _options(work: Path, endpoints: Endpoints, prefix: str) -> list[str]:
    shared_memory = {
        "shm-region-prefix-name": prefix,
        # One region an instance, for requests and answers; it grows when a batch is larger.
        "shm-default-byte-size": str(4 << 20),
        "shm-growth-byte-size": str(4 << 20),
    }
    return [
        f"--model-repository={work / 'models'}",
        f"--backend-directory={work / 'backends'}",
        "--model-control-mode=explicit",
        "--disable-auto-complete-config",
        "--exit-on-error=false",
        "--strict-readiness=false",  # one broken optional model must not make the others look absent
        "--exit-timeout-secs=10",
        "--grpc-address=127.0.0.1",
        f"--grpc-port={endpoints.triton_grpc_port}",
        "--http-address=127.0.0.1",
        f"--http-port={endpoints.triton_http_port}",
        "--metrics-address=127.0.0.1",
        f"--metrics-port={endpoints.triton_metrics_port}",
        # A python-based backend reads the settings of its own name.
        *(
            f"--backend-config={name},{key}={value}"
            for name in ("python", "onnxruntime")
            for key, value in shared_memory.items()
        ),
    ]


def _get(endpoints: Endpoints, path: str, method: str = "GET") -> Any:
    url = f"http://127.0.0.1:{endpoints.triton_http_port}{path}"
    request = urllib.request.Request(url, method=method, data=b"{}" if method == "POST" else None)
    with contextlib.closing(urllib.request.urlopen(request, timeout=5)) as answer:  # noqa: S310
        text = answer.read()
    return json.loads(text) if text else None
