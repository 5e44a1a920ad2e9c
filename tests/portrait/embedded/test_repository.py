from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from inference.weights.imported import Served, config_text
from portrait.embedded import repository, triton
from portrait.env import read_environment

CONFIG = 'name: "a"\nbackend: "onnxruntime"\n# The launcher adds an instance_group.\n'


def _model(models: Path, name: str, version: str | None = "1", config: str = CONFIG) -> None:
    (models / name).mkdir(parents=True)
    (models / name / "config.pbtxt").write_text(config)
    if version:
        (models / name / version).mkdir()
        (models / name / version / "model.onnx").write_bytes(name.encode())


def test_only_built_models_are_served_with_instances_that_fit_the_cores(tmp_path: Path) -> None:
    _model(tmp_path / "models", "built")
    _model(tmp_path / "models", "without_weights", version=None)
    assert repository.sync(tmp_path / "models", tmp_path / "served", 3) == ["built"]
    served = tmp_path / "served" / "built"
    assert (served / "1" / "model.onnx").read_bytes() == b"built"
    assert (served / "config.pbtxt").read_text().endswith("instance_group [ { kind: KIND_CPU count: 3 } ]\n")
    assert [path.name for path in (tmp_path / "served").iterdir()] == ["built"]


def test_a_model_that_chose_its_instances_keeps_them() -> None:
    chosen = CONFIG + "instance_group [ { kind: KIND_CPU count: 1 } ]\n"
    assert repository.render_config(chosen, 4) == chosen
    assert "count: 8" in repository.render_config(CONFIG, 64)  # more do not help one another


def test_sync_follows_changes_and_can_be_repeated(tmp_path: Path) -> None:
    models, served = tmp_path / "models", tmp_path / "served"
    _model(models, "stays")
    _model(models, "goes")
    repository.sync(models, served, 2)
    before = (served / "stays" / "config.pbtxt").stat().st_mtime_ns
    (models / "goes" / "1" / "model.onnx").unlink()
    _model(models, "comes", version="2")
    (models / "stays" / "3").mkdir()
    (models / "stays" / "3" / "model.onnx").write_bytes(b"newer")
    (models / "stays" / "1" / "model.onnx").unlink()

    for _ in range(2):
        assert repository.sync(models, served, 2) == ["comes", "stays"]
        assert sorted(path.name for path in served.iterdir()) == ["comes", "stays"]
        assert sorted(path.name for path in (served / "stays").iterdir()) == ["3", "config.pbtxt"]
        assert (served / "comes" / "2" / "model.onnx").read_bytes() == b"comes"
    assert (served / "stays" / "config.pbtxt").stat().st_mtime_ns == before  # not rewritten


def test_links_follow_a_models_directory_that_moved(tmp_path: Path) -> None:
    _model(tmp_path / "old", "a")
    repository.sync(tmp_path / "old", tmp_path / "served", 1)
    (tmp_path / "old").rename(tmp_path / "new")
    repository.sync(tmp_path / "new", tmp_path / "served", 1)
    assert (tmp_path / "served" / "a" / "1" / "model.onnx").read_bytes() == b"a"


def test_a_version_that_holds_a_program_is_built(tmp_path: Path) -> None:
    """Captioning models own several networks and the loop over them."""
    _model(tmp_path / "models", "blip-x", version=None)
    version = tmp_path / "models" / "blip-x" / "1"
    version.mkdir()
    (version / "encoder.onnx").write_bytes(b"half")
    assert repository.sync(tmp_path / "models", tmp_path / "served", 1) == []
    (version / "model.py").write_text("")
    assert repository.sync(tmp_path / "models", tmp_path / "served", 1) == ["blip-x"]
    assert (tmp_path / "served" / "blip-x" / "1" / "encoder.onnx").read_bytes() == b"half"


def test_all_threads_become_those_of_this_installation() -> None:
    text = config_text("blip-x", Served("python", 1, (), ()), {"intra_op_thread_count": "0", "other": "0"})
    rendered = repository.render_config(text, cores=3)
    assert 'key: "intra_op_thread_count"\n  value: { string_value: "3" }' in rendered
    assert 'key: "other"\n  value: { string_value: "0" }' in rendered
    assert rendered.count("instance_group") == 1


def test_what_is_being_written_is_no_model(tmp_path: Path) -> None:
    for name in (".blip-x.abc.tmp", ".blip-x.abc.old", "blip-x"):
        (tmp_path / name / "1").mkdir(parents=True)
        (tmp_path / name / "1" / "model.py").write_text("")
        (tmp_path / name / "config.pbtxt").write_text("")
    assert repository.built_models(tmp_path) == ["blip-x"]


def test_several_may_bring_it_up_to_date_at_once(tmp_path: Path) -> None:
    models = tmp_path / "models"
    for name in ("yolact-a", "yolact-b"):
        (models / name / "1").mkdir(parents=True)
        (models / name / "1" / "model.onnx").write_text("")
        (models / name / "config.pbtxt").write_text(name)
    environment = replace(read_environment(), var=tmp_path / "var", models_dir=models)

    def again(turn: int) -> list[str]:
        (models / "yolact-a" / "config.pbtxt").write_text(f"yolact-a {turn}")  # so that there is something to do
        return triton.sync_models(environment)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(again, range(80))) == [["yolact-a", "yolact-b"]] * 80
