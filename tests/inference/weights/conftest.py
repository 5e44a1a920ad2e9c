"""The models as converted from the installed packages, once a run, and the files that only some machines have."""

import functools
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from onnx import ModelProto

from inference.weights.convert import convert
from inference.weights.manifest import Manifest, ModelEntry, PackageSource, read_manifest
from inference.weights.sources import find_in_folder, package_file

SHARED_MODELS = Path(__file__).resolve().parents[4] / "shared" / "models"


@pytest.fixture(scope="session")
def manifest() -> Manifest:
    return read_manifest()


@pytest.fixture
def entry(manifest: Manifest) -> ModelEntry:
    return manifest["centerface"]


@pytest.fixture(scope="session")
def shared_models() -> Path:
    if not SHARED_MODELS.is_dir():
        pytest.skip(f"no published detectors at {SHARED_MODELS}")
    return SHARED_MODELS


@functools.cache
def source_of(name: str) -> Path:
    """The published file of a model; the test is skipped where it cannot be had without a download."""
    entry = read_manifest()[name]
    if isinstance(entry.source, PackageSource):
        return package_file(entry.source)
    if not SHARED_MODELS.is_dir():
        pytest.skip(f"no published detectors at {SHARED_MODELS}")
    return find_in_folder(SHARED_MODELS, entry)


@functools.cache
def converted(name: str) -> ModelProto:
    """A model as `convert` makes it; do not change it."""
    return convert(read_manifest()[name], source_of(name))


@dataclass
class FileServer:
    """Answers every path with `body`, on the loopback address."""

    port: int
    body: bytes = b""
    declared_bytes: int | None = None
    requests: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/weights.onnx"


@pytest.fixture
def file_server() -> Iterator[FileServer]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer.requests.append(self.path)
            self.send_response(200)
            size = len(answer.body) if answer.declared_bytes is None else answer.declared_bytes
            self.send_header("Content-Length", str(size))
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    answer = FileServer(port=server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield answer
    server.shutdown()
    server.server_close()
    thread.join()
