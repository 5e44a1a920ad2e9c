"""How a scene model is written into the repository: whole or not at all, and noticed when it is changed."""

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from inference.config import CaptionerSpec, SegmenterSpec, spec_from_json, spec_to_json
from inference.errors import WeightsError, WeightsNotFoundError
from inference.weights.imported import (
    Origin,
    Served,
    Wire,
    config_text,
    imported_names,
    read_record,
    verify_imported,
    write_imported,
)

SPEC = CaptionerSpec(name="blip-test", size_px=96, max_tokens=20, domain='shapes, "drawn" ones')
SERVED = Served("python", 4, (Wire("image", "TYPE_UINT8", (96, 96, 3)),), (Wire("text", "TYPE_STRING", (1,)),))
ORIGIN = Origin("blip", "CC0-1.0", "", {"weights.bin": "0" * 64}, {"largest_difference": 1e-6})


def write(folder: Path, **files: bytes) -> Path:
    return write_imported(folder, SPEC, SERVED, ORIGIN, files or {"encoder.onnx": b"weights"})


def test_what_was_written_is_told(tmp_path: Path) -> None:
    folder = write(tmp_path)
    assert folder == tmp_path / "blip-test"
    assert (folder / "1" / "encoder.onnx").read_bytes() == b"weights"
    assert imported_names(tmp_path) == ["blip-test"]
    record = read_record(tmp_path, "blip-test")
    assert record["origin"]["parity"] == {"largest_difference": 1e-6}
    assert spec_from_json(record["parameters"]["portrait.spec"]) == SPEC
    assert verify_imported(tmp_path, "blip-test") is None
    assert [path.name for path in tmp_path.iterdir()] == ["blip-test"]


def test_a_model_is_replaced_as_a_whole(tmp_path: Path) -> None:
    write(tmp_path, **{"old.onnx": b"old"})
    write(tmp_path, **{"new.onnx": b"new"})
    assert [path.name for path in (tmp_path / "blip-test" / "1").iterdir()] == ["new.onnx"]
    assert [path.name for path in tmp_path.iterdir()] == ["blip-test"]


def test_where_writing_fails_the_old_model_stays(tmp_path: Path) -> None:
    write(tmp_path, **{"old.onnx": b"old"})
    with pytest.raises(FileNotFoundError):
        write_imported(tmp_path, SPEC, SERVED, ORIGIN, {"new.onnx": tmp_path / "nowhere"})
    assert verify_imported(tmp_path, "blip-test") is None
    assert (tmp_path / "blip-test" / "1" / "old.onnx").is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["blip-test"]


def test_a_changed_or_missing_file_is_noticed(tmp_path: Path) -> None:
    folder = write(tmp_path, a=b"1", b=b"2")
    (folder / "1" / "a").write_bytes(b"3")
    assert "a: missing, or not what was written" in str(verify_imported(tmp_path, "blip-test"))
    (folder / "1" / "b").unlink()
    assert "a, b" in str(verify_imported(tmp_path, "blip-test"))
    with pytest.raises(WeightsNotFoundError):
        verify_imported(tmp_path, "blip-other")
    (folder / "portrait.json").write_text("{")
    with pytest.raises(WeightsError, match=r"portrait\.json"):
        verify_imported(tmp_path, "blip-test")


def test_texts_in_the_configuration_are_quoted() -> None:
    text = config_text("blip-test", SERVED, {"portrait.spec": spec_to_json(SPEC)})
    assert '{ string_value: "{\\"deadline_s\\"' in text
    assert text.count("\n\n") >= 1
    assert 'name: "image", data_type: TYPE_UINT8, dims: [96, 96, 3]' in text


def test_a_specification_survives_its_journey() -> None:
    segmenter = SegmenterSpec("yolact-x", 550, ("a", "b"), (69, 35), (24.0, 48.0))
    assert spec_from_json(spec_to_json(segmenter)) == segmenter
    assert spec_from_json(spec_to_json(SPEC)) == SPEC


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"name": "yolact-x"}', '{"name": "blip-x", "size": 3}', "null"])
def test_what_is_no_specification_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not the specification"):
        spec_from_json(text)


def test_a_replacement_that_fails_at_the_last_moment_leaves_the_old_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, **{"old.onnx": b"old"})
    rename, calls = Path.rename, []

    def failing(self: Path, target: Path) -> Path:
        calls.append(self.name)
        if len(calls) == 2:
            raise OSError("the disk is gone")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(OSError, match="the disk is gone"):
        write(tmp_path, **{"new.onnx": b"new"})
    assert [path.name for path in tmp_path.iterdir()] == ["blip-test"]
    assert (tmp_path / "blip-test" / "1" / "old.onnx").is_file()


def test_an_import_that_was_killed_between_two_models_leaves_the_old_one(tmp_path: Path) -> None:
    write(tmp_path, **{"old.onnx": b"old"})
    (tmp_path / "blip-test").rename(tmp_path / ".blip-test.abc123.old")
    (tmp_path / ".blip-test.abc123.tmp").mkdir()

    assert imported_names(tmp_path) == ["blip-test"]
    assert verify_imported(tmp_path, "blip-test") is None


def test_what_an_import_left_long_ago_goes(tmp_path: Path) -> None:
    write(tmp_path)
    for name, age_s in ((".blip-other.abc.tmp", 100_000), (".blip-new.abc.tmp", 0), (".blip-test.abc.old", 0)):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (time.time() - age_s,) * 2)

    write(tmp_path)

    assert sorted(path.name for path in tmp_path.iterdir()) == [".blip-new.abc.tmp", "blip-test"]


@pytest.mark.parametrize(("backend", "kind"), [("python", "KIND_CPU"), ("onnxruntime", "KIND_AUTO")])
def test_one_captioner_is_enough_however_many_gpus(backend: str, kind: str) -> None:
    assert f"kind: {kind}, count: 1" in config_text("blip-test", replace(SERVED, backend=backend), {})
