"""The model repository on disk: `<models_dir>/<name>/config.pbtxt` and `<name>/1/model.onnx`."""

import os
import shutil
import tempfile
from enum import StrEnum
from pathlib import Path

from onnx import ModelProto

from inference.errors import WeightsError, WeightsNotFoundError
from inference.weights import graph as g
from inference.weights.convert import expected_properties, load_onnx
from inference.weights.manifest import ModelEntry

CONFIG = "config.pbtxt"


class State(StrEnum):
    """What is in the repository under a model's name."""

    MISSING = "missing"
    CURRENT = "installed"
    STALE = "outdated"
    DAMAGED = "damaged"


def model_path(models_dir: Path, name: str) -> Path:
    return models_dir / name / "1" / "model.onnx"


def state_of(models_dir: Path, entry: ModelEntry) -> State:
    """Missing, made of other weights or by another converter, not what was written, or current."""
    path = model_path(models_dir, entry.name)
    if not path.is_file():
        return State.MISSING
    try:
        model = load_onnx(path)
    except WeightsError:
        return State.DAMAGED
    properties = g.properties_of(model)
    if properties.pop("portrait.graph_sha256", None) != g.graph_sha256(model):
        return State.DAMAGED
    return State.CURRENT if properties == expected_properties(entry) else State.STALE


def write_model(models_dir: Path, name: str, model: ModelProto) -> Path:
    """Write it whole or not at all: a server that polls the repository never sees half a file."""
    path = model_path(models_dir, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=".model.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(model.SerializeToString())
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)  # mkstemp's 0600 would hide it from a server that runs as another user
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path


def ensure_config(models_dir: Path, name: str, configs_dir: Path) -> None:
    """Where the repository is elsewhere than in the checkout, bring the model's `config.pbtxt` there.

    Raises:
        WeightsNotFoundError: neither has one; a server could not serve the model.
    """
    target, original = models_dir / name / CONFIG, configs_dir / name / CONFIG
    if target.is_file():
        return
    if not original.is_file():
        raise WeightsNotFoundError(f"there is no {original}")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(original, target)
