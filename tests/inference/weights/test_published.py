"""Published weights of scene models, fetched from a server on the loopback: checked, imported, and held to."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from inference.config import scene_task
from inference.errors import ChecksumMismatchError, UnknownModelError, WeightsError, WeightsNotFoundError
from inference.weights.imported import imported_names, read_record, verify_imported
from inference.weights.manifest import ManifestError
from inference.weights.published import (
    CHECKSUMS,
    PublishedFile,
    PublishedModel,
    install_published,
    published,
    read_published,
)
from inference.weights.sources import fetch, sha256_of

pytest.importorskip("transformers", reason="the small models of these tests are made by transformers")

from tests.inference.tiny_blip import make_reference, save

FILES = ("config.json", "preprocessor_config.json", "vocab.txt", "model.safetensors")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(make_reference(), tmp_path_factory.mktemp("published"))


@pytest.fixture
def address(folder: Path) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def tiny() -> PublishedModel:
    files = tuple(PublishedFile(name, f"https://example.org/{name}", most_mb=10) for name in FILES)
    return PublishedModel("blip-tiny", "blip", "a tiny one", "CC0-1.0", True, "https://example.org", files)


@pytest.fixture
def reachable(tiny: PublishedModel, address: str, monkeypatch: pytest.MonkeyPatch) -> PublishedModel:
    """The same, its addresses leading to the loopback: a published one must be https, and no such server is here."""

    def led(url: str, target: Path, **limits: float) -> None:
        fetch(url.replace("https://example.org", address), target, **limits)  # type: ignore[arg-type]

    monkeypatch.setattr("inference.weights.published.fetch", led)
    return tiny


Change = Callable[[str, bytes], None]


@pytest.fixture
def change(folder: Path) -> Iterator[Change]:
    """Changes a published file until the test ends."""
    before: dict[str, bytes] = {}

    def to(name: str, content: bytes) -> None:
        before[name] = (folder / name).read_bytes()
        (folder / name).write_bytes(content)

    yield to
    for name, content in before.items():
        (folder / name).write_bytes(content)


def test_a_model_comes_from_its_addresses(reachable: PublishedModel, folder: Path, tmp_path: Path) -> None:
    path = install_published(reachable, models_dir=tmp_path)

    assert path == tmp_path / "blip-tiny"
    assert verify_imported(tmp_path, "blip-tiny") is None
    origin = read_record(tmp_path, "blip-tiny")["origin"]
    assert origin["licence"] == "CC0-1.0"
    assert origin["files"]["model.safetensors"] == sha256_of(folder / "model.safetensors")
    recorded = json.loads((tmp_path / CHECKSUMS).read_text())
    assert recorded == {file.url: sha256_of(folder / file.name) for file in reachable.files}


@pytest.mark.parametrize("kind", ["folder", "address"])
def test_a_model_comes_from_elsewhere_and_that_says_nothing_of_the_published_one(
    tiny: PublishedModel, folder: Path, address: str, tmp_path: Path, kind: str
) -> None:
    install_published(tiny, models_dir=tmp_path, origin=str(folder) if kind == "folder" else address)
    assert imported_names(tmp_path) == ["blip-tiny"]
    assert not (tmp_path / CHECKSUMS).exists()


def test_what_came_first_is_held_to(reachable: PublishedModel, tmp_path: Path, change: Change) -> None:
    install_published(reachable, models_dir=tmp_path)
    before = (tmp_path / CHECKSUMS).read_text()
    change("vocab.txt", b"something\nelse\n")

    with pytest.raises(
        ChecksumMismatchError, match=r"vocab\.txt is not the file that was installed first(.|\n)*remove"
    ):
        install_published(reachable, models_dir=tmp_path)
    assert verify_imported(tmp_path, "blip-tiny") is None, "the first one stays"
    assert (tmp_path / CHECKSUMS).read_text() == before


def test_a_published_checksum_is_held_to_from_the_first_time(
    tiny: PublishedModel, address: str, folder: Path, tmp_path: Path
) -> None:
    wrong = replace(tiny, files=(replace(tiny.files[0], sha256="0" * 64), *tiny.files[1:]))
    with pytest.raises(ChecksumMismatchError, match="is not the file published"):
        install_published(wrong, models_dir=tmp_path, origin=address)
    right = replace(tiny, files=tuple(replace(file, sha256=sha256_of(folder / file.name)) for file in tiny.files))
    install_published(right, models_dir=tmp_path, origin=address)
    assert imported_names(tmp_path) == ["blip-tiny"]


def test_what_cannot_be_imported_is_not_recorded(reachable: PublishedModel, tmp_path: Path, change: Change) -> None:
    change("model.safetensors", b"not weights")
    with pytest.raises(WeightsError):
        install_published(reachable, models_dir=tmp_path)
    assert not (tmp_path / CHECKSUMS).exists()
    assert imported_names(tmp_path) == []


def test_what_is_not_there_is_said(tiny: PublishedModel, address: str, tmp_path: Path) -> None:
    absent = replace(tiny, files=(PublishedFile("absent.bin", "https://example.org/absent.bin", 1), *tiny.files))
    with pytest.raises(WeightsNotFoundError, match=r"absent\.bin cannot be fetched: HTTP Error 404"):
        install_published(absent, models_dir=tmp_path, origin=address)
    with pytest.raises(WeightsNotFoundError, match=r"has no absent\.bin"):
        install_published(absent, models_dir=tmp_path, origin=str(tmp_path))
    with pytest.raises(WeightsNotFoundError, match="cannot be fetched"):
        install_published(tiny, models_dir=tmp_path, origin="http://127.0.0.1:1")


def test_a_file_that_is_too_long_is_refused_before_it_fills_the_disk(address: str, tmp_path: Path) -> None:
    with pytest.raises(ChecksumMismatchError, match="longer than the published 100 bytes"):
        fetch(f"{address}/config.json", tmp_path / "config.json", most_bytes=100, deadline_s=30)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://example.org/x", "config.json"])
def test_only_addresses_of_the_web_are_fetched(url: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="not an http"):
        fetch(url, tmp_path / "x", most_bytes=100, deadline_s=30)


def test_our_list_is_as_it_should_be() -> None:
    models = read_published()
    assert {"yolact-resnet50", "yolact-base", "yolact-im700", "blip-base", "blip-large"} <= set(models)
    assert all(scene_task(name) for name in models)
    assert all(file.sha256 for file in models["blip-base"].files)
    for name in ("blip-base", "blip-large"):
        assert all("/resolve/main/" not in file.url for file in models[name].files), "pinned by a revision"
    with pytest.raises(UnknownModelError, match="there are: yolact-resnet50"):
        published("yolact-nonesuch")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('kind = "blip"', 'kind = "clip"'),
        ('name = "blip-base"', 'name = "yolact-blip"'),
        ("https://huggingface.co/Salesforce/blip-image-captioning-base/resolve", "http://example.org"),
        ('{ name = "vocab.txt"', '{ name = "../vocab.txt"'),
        ("most_mb = 1 }", 'most_mb = 1, sha256 = "12" }'),
        ("[[model]]", "[[modell]]"),
        ("licence =", "license ="),
    ],
)
def test_a_wrong_list_is_refused(tmp_path: Path, old: str, new: str) -> None:
    text = (Path(read_published.__code__.co_filename).with_name("published.toml")).read_text()
    path = tmp_path / "published.toml"
    path.write_text(text.replace(old, new))
    with pytest.raises(ManifestError):
        read_published(path)
