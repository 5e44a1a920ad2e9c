"""Installing from a folder, a file and an address, with a server on the loopback; and what a licence demands."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from inference.errors import ChecksumMismatchError, LicenceNotAcceptedError, WeightsError, WeightsNotFoundError
from inference.weights import sources
from inference.weights.build import build, install, verify
from inference.weights.manifest import Manifest, ModelEntry
from inference.weights.store import State, state_of
from tests.inference.weights.conftest import FileServer, source_of

NON_COMMERCIAL = "LicenseRef-NonCommercial-Test"


@pytest.fixture
def restricted(entry: ModelEntry) -> ModelEntry:
    return replace(entry, licence=NON_COMMERCIAL, commercial_use=False)


@pytest.mark.parametrize("name", ["yunet", "ultraface"])
def test_install_from_a_folder_finds_the_file_by_its_content(
    manifest: Manifest, tmp_path: Path, shared_models: Path, name: str
) -> None:
    install(manifest[name], models_dir=tmp_path, origin=str(shared_models))

    assert verify(manifest[name], models_dir=tmp_path).ok


def test_install_from_a_file(entry: ModelEntry, tmp_path: Path) -> None:
    install(entry, models_dir=tmp_path, origin=str(source_of(entry.name)))

    assert state_of(tmp_path, entry) is State.CURRENT


def test_install_from_an_address(entry: ModelEntry, tmp_path: Path, file_server: FileServer) -> None:
    file_server.body = source_of(entry.name).read_bytes()

    install(entry, models_dir=tmp_path, origin=file_server.url)

    assert file_server.requests == ["/weights.onnx"]
    assert verify(entry, models_dir=tmp_path).ok


def test_a_folder_without_the_file_is_refused(entry: ModelEntry, tmp_path: Path) -> None:
    (tmp_path / "origin").mkdir()

    with pytest.raises(WeightsNotFoundError, match=r"has no centerface\.onnx"):
        install(entry, models_dir=tmp_path / "models", origin=str(tmp_path / "origin"))
    with pytest.raises(WeightsNotFoundError, match="there is no folder"):
        install(entry, models_dir=tmp_path / "models", origin=str(tmp_path / "nowhere"))


def flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def halved(content: bytes) -> bytes:
    return content[: len(content) // 2]


@pytest.mark.parametrize("spoil", [flipped, halved])
def test_another_file_in_the_folder_is_refused_with_both_checksums_and_kept(
    entry: ModelEntry, tmp_path: Path, spoil: Callable[[bytes], bytes]
) -> None:
    given = tmp_path / "origin" / entry.source.filename
    given.parent.mkdir()
    given.write_bytes(spoil(source_of(entry.name).read_bytes()))

    with pytest.raises(ChecksumMismatchError) as refusal:
        install(entry, models_dir=tmp_path / "models", origin=str(given.parent))

    assert entry.sha256 in str(refusal.value)
    assert sources.sha256_of(given) in str(refusal.value)
    assert given.is_file(), "the user's own file is not ours to delete"
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize("spoil", [flipped, halved])
def test_a_download_that_is_another_file_is_refused_and_deleted(
    entry: ModelEntry, tmp_path: Path, file_server: FileServer, spoil: Callable[[bytes], bytes]
) -> None:
    file_server.body = spoil(source_of(entry.name).read_bytes())

    with pytest.raises(ChecksumMismatchError, match=entry.sha256):
        sources.download(file_server.url, entry, tmp_path)

    assert list(tmp_path.iterdir()) == []


def test_a_download_that_is_too_long_is_cut_off_and_deleted(
    entry: ModelEntry, tmp_path: Path, file_server: FileServer
) -> None:
    file_server.body = source_of(entry.name).read_bytes() + b"more"

    with pytest.raises(ChecksumMismatchError, match="longer than the published"):
        sources.download(file_server.url, entry, tmp_path)

    assert list(tmp_path.iterdir()) == []


def test_a_download_that_breaks_off_is_refused_and_deleted(
    entry: ModelEntry, tmp_path: Path, file_server: FileServer
) -> None:
    file_server.body = halved(source_of(entry.name).read_bytes())
    file_server.declared_bytes = entry.size_bytes

    with pytest.raises(WeightsError):
        sources.download(file_server.url, entry, tmp_path)

    assert list(tmp_path.iterdir()) == []


def test_a_download_that_takes_too_long_is_refused_and_deleted(
    entry: ModelEntry, tmp_path: Path, file_server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    file_server.body = source_of(entry.name).read_bytes()
    monkeypatch.setattr(sources, "DOWNLOAD_DEADLINE_S", -1.0)

    with pytest.raises(WeightsNotFoundError, match="not complete"):
        sources.download(file_server.url, entry, tmp_path)

    assert list(tmp_path.iterdir()) == []


def test_an_address_that_does_not_answer_is_named(entry: ModelEntry, tmp_path: Path, file_server: FileServer) -> None:
    with pytest.raises(WeightsNotFoundError, match="cannot be fetched"):
        install(entry, models_dir=tmp_path, origin="http://127.0.0.1:9/weights.onnx")


@pytest.mark.parametrize("address", ["file:///etc/passwd", "ftp://127.0.0.1/weights"])
def test_only_http_is_fetched(entry: ModelEntry, tmp_path: Path, address: str) -> None:
    with pytest.raises(WeightsError, match="not an http"):
        sources.download(address, entry, tmp_path)


# --- licences ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("accepted", [(), ("MIT",), ("yes",), (NON_COMMERCIAL.lower(),)])
def test_non_commercial_weights_need_their_licence_by_name(
    restricted: ModelEntry, tmp_path: Path, accepted: tuple[str, ...]
) -> None:
    for action in (build, install):
        with pytest.raises(LicenceNotAcceptedError, match=f"--accept-licence {NON_COMMERCIAL}"):
            action(restricted, models_dir=tmp_path, accepted=accepted)

    assert list(tmp_path.iterdir()) == []


def test_the_refusal_comes_before_any_download(restricted: ModelEntry, tmp_path: Path, file_server: FileServer) -> None:
    with pytest.raises(LicenceNotAcceptedError):
        install(restricted, models_dir=tmp_path, origin=file_server.url)

    assert file_server.requests == []


def test_non_commercial_weights_are_built_once_the_licence_is_accepted(restricted: ModelEntry, tmp_path: Path) -> None:
    assert build(restricted, models_dir=tmp_path, accepted=[NON_COMMERCIAL])
