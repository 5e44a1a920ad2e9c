"""Models of scenes in the model repository: `<models_dir>/<name>/` with `config.pbtxt`, what the network needs in `1/`,
and `portrait.json`, which says where it came from and how it compared with the original when it was imported."""

import contextlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from inference.config import SCENE_SPEC, CaptionerSpec, SegmenterSpec, spec_to_json
from inference.errors import WeightsError, WeightsNotFoundError
from inference.weights.sources import sha256_of

CONFIG = "config.pbtxt"
RECORD = "portrait.json"
VERSION_DIR = "1"
_NEW, _OLD = ".tmp", ".old"
_ABANDONED_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Wire:
    """One input or output of a served model. `dims` without the batch's; -1 is any."""

    name: str
    data_type: str
    dims: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Served:
    """How Triton serves a model: one instance that uses all cores (`threads` 0), as its weights are large and several
    instances would each hold them. joins: whether requests that wait run together; on a CPU that pays for captions,
    whose steps then share the reading of the weights, and not for objects, where the first would wait for the last."""

    backend: str
    max_batch: int
    inputs: tuple[Wire, ...]
    outputs: tuple[Wire, ...]
    threads: int = 0
    joins: bool = False


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an imported model comes from. files: name -> sha256 of what was read. parity: what was compared, largest
    difference, and the bound."""

    kind: str
    licence: str
    homepage: str
    files: Mapping[str, str]
    parity: Mapping[str, Any]
    notes: str = ""


def write_imported(
    models_dir: Path,
    spec: SegmenterSpec | CaptionerSpec,
    served: Served,
    origin: Origin,
    files: Mapping[str, bytes | Path],
) -> Path:
    """Write a model whole or not at all, in place of one of the same name; answers its folder.

    files: what goes into `1/`, by name.
    """
    models_dir.mkdir(parents=True, exist_ok=True)
    with _new_folder(models_dir, spec.name) as folder:
        version = folder / VERSION_DIR
        version.mkdir()
        for name, content in files.items():
            if isinstance(content, Path):
                shutil.copyfile(content, version / name)
            else:
                (version / name).write_bytes(content)
        parameters = parameters_of(spec, served)
        (folder / CONFIG).write_text(config_text(spec.name, served, parameters), encoding="utf-8")
        record = {
            "name": spec.name,
            "origin": asdict(origin),
            "parameters": parameters,
            "files": {name: sha256_of(version / name) for name in sorted(files)},
            "imported_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        (folder / RECORD).write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return models_dir / spec.name


@contextlib.contextmanager
def _new_folder(models_dir: Path, name: str) -> Iterator[Path]:
    """A folder beside, that takes the name in the end."""
    _recover(models_dir)
    temporary = Path(tempfile.mkdtemp(prefix=f".{name}.", suffix=_NEW, dir=models_dir))
    try:
        yield temporary
        for path in temporary.rglob("*"):
            if path.is_file():
                with path.open("rb") as file:
                    os.fsync(file.fileno())
        temporary.chmod(0o755)
        _take_place(temporary, models_dir / name)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def adopt(folder: Path, models_dir: Path) -> Path:
    """Move an imported model into the repository, in place of one of the same name; answers its folder there. Both
    are on one file system."""
    _recover(models_dir)
    new = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=_NEW, dir=models_dir))
    folder.rename(new)  # over the empty one, whose name is nobody else's
    _take_place(new, models_dir / folder.name)
    return models_dir / folder.name


def remove_imported(models_dir: Path, name: str) -> None:
    """Remove a model from the repository.

    Raises:
        WeightsNotFoundError: it is not there.
    """
    if name not in imported_names(models_dir):
        raise WeightsNotFoundError(f"no imported model {name!r} in {models_dir}")
    shutil.rmtree(models_dir / name)


def _take_place(new: Path, target: Path) -> None:
    """Between two renames there is no model of that name; whoever is killed there leaves the old one to `_recover`."""
    old = new.with_name(new.name.removesuffix(_NEW) + _OLD)
    if not target.exists():
        new.rename(target)
        return
    target.rename(old)
    try:
        new.rename(target)
    except BaseException:
        old.rename(target)
        raise
    shutil.rmtree(old)


def _recover(models_dir: Path) -> None:
    """Finish what a killed import left: an old model whose place is empty takes it again, all else goes."""
    for old in models_dir.glob(f".*{_OLD}"):
        target = models_dir / old.name[1:].rsplit(".", 2)[0]
        if target.exists():
            shutil.rmtree(old, ignore_errors=True)
        else:
            old.rename(target)
    for left in models_dir.glob(f".*{_NEW}"):
        if time.time() - left.stat().st_mtime > _ABANDONED_S:  # a younger one may be somebody's at work
            shutil.rmtree(left, ignore_errors=True)


def parameters_of(spec: SegmenterSpec | CaptionerSpec, served: Served) -> dict[str, str]:
    """Of the model's configuration: what travels with it."""
    return {SCENE_SPEC: spec_to_json(spec), "intra_op_thread_count": str(served.threads)}


def config_text(name: str, served: Served, parameters: Mapping[str, str]) -> str:
    """Triton's `config.pbtxt`."""

    def wires(kind: str, some: tuple[Wire, ...]) -> str:
        lines = [
            f"  {{ name: {json.dumps(each.name)}, data_type: {each.data_type}, dims: {list(each.dims)} }}"
            for each in some
        ]
        return f"{kind} [\n" + ",\n".join(lines) + "\n]\n"

    settings = "".join(
        f"parameters {{\n  key: {json.dumps(key)}\n  value: {{ string_value: {json.dumps(value)} }}\n}}\n"
        for key, value in parameters.items()
    )
    return (
        f"name: {json.dumps(name)}\nbackend: {json.dumps(served.backend)}\nmax_batch_size: {served.max_batch}\n\n"
        f"{wires('input', served.inputs)}{wires('output', served.outputs)}\n"
        "# One instance, which uses all cores: the weights are large, and each instance would hold them.\n"
        f"instance_group [ {{ kind: {'KIND_CPU' if served.backend == 'python' else 'KIND_AUTO'}, count: 1 }} ]\n"
        f"dynamic_batching {{ {'' if served.joins else 'preferred_batch_size: [ 1 ] '}}}\n{settings}"
    )


def imported_names(models_dir: Path) -> list[str]:
    """Models of scenes that the repository holds."""
    _recover(models_dir)
    return sorted(path.parent.name for path in models_dir.glob(f"[!.]*/{RECORD}"))


def read_record(models_dir: Path, name: str) -> dict[str, Any]:
    """What was noted of a model when it was imported.

    Raises:
        WeightsNotFoundError: it is not installed. WeightsError: the note cannot be read.
    """
    path = models_dir / name / RECORD
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise WeightsNotFoundError(f"there is no {path}") from None
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} cannot be read: {error}") from error
    if not isinstance(record, dict) or not {"origin", "files", "parameters"} <= set(record):
        raise WeightsError(f"{path} is not what an import writes; import the model again")
    return record


def changed_files(models_dir: Path, name: str) -> list[str]:
    """Files of a model that are missing or are not what was written when it was imported."""
    folder, record = models_dir / name / VERSION_DIR, read_record(models_dir, name)
    return [
        file
        for file, sha256 in record["files"].items()
        if not (folder / file).is_file() or sha256_of(folder / file) != sha256
    ]


def verify_imported(models_dir: Path, name: str) -> str | None:
    """What is wrong with an installed scene model, or None. Its comparison with the original was made at its import.

    Raises:
        WeightsNotFoundError: it is not installed. WeightsError: what was noted of it cannot be read.
    """
    if changed := changed_files(models_dir, name):
        return f"{', '.join(changed)}: missing, or not what was written; import it again"
    if not (models_dir / name / CONFIG).is_file():
        return f"{CONFIG} is missing; import it again"
    return None
