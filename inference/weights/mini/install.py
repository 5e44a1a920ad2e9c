"""The small models of our own -> the model repository. What training left is committed beside this file.

A folder a model: `spec.json`, `origin.json` and `served.json` (the fields of `SegmenterSpec` or `CaptionerSpec`, `Origin`
and `Served`, the latter with `files`: what goes into the model's version folder).
"""

import json
from pathlib import Path
from typing import Any

from inference.config import spec_from_json
from inference.errors import UnknownModelError
from inference.weights.imported import Origin, Served, Wire, changed_files, imported_names, read_record, write_imported

FOLDER = Path(__file__).parent


def mini_names() -> list[str]:
    """The small models that are committed."""
    return sorted(path.parent.name for path in FOLDER.glob("*/served.json"))


def install_mini(models_dir: Path, name: str) -> Path:
    """Write a small model into the repository; answers its folder there.

    Raises:
        UnknownModelError: there is none of that name.
    """
    if name not in mini_names():
        raise UnknownModelError(f"no small model {name!r}; there are: {', '.join(mini_names())}")
    folder, served = FOLDER / name, _read(name, "served.json")
    files = {file: folder / file for file in served.pop("files")}
    wires = {end: tuple(Wire(**(wire | {"dims": tuple(wire["dims"])})) for wire in served.pop(end)) for end in _ENDS}
    spec = spec_from_json((folder / "spec.json").read_text(encoding="utf-8"))
    return write_imported(models_dir, spec, Served(**served, **wires), Origin(**_read(name, "origin.json")), files)


_ENDS = ("inputs", "outputs")


def is_current(models_dir: Path, name: str) -> bool:
    """Whether the repository holds the small model as it is committed."""
    if name not in imported_names(models_dir) or changed_files(models_dir, name):
        return False
    record, folder = read_record(models_dir, name), FOLDER / name
    spec = spec_from_json((folder / "spec.json").read_text(encoding="utf-8"))
    return bool(
        record["origin"] == _read(name, "origin.json")
        and spec_from_json(record["parameters"]["portrait.spec"]) == spec
        and all(
            (models_dir / name / "1" / file).read_bytes() == (folder / file).read_bytes()
            for file in _read(name, "served.json")["files"]
        )
    )


def _read(name: str, file: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / name / file).read_text(encoding="utf-8"))
    return found
