"""Put the small models of our own, which are part of this repository, among the models that are served.

A folder beside this file holds each: `spec.json` (its specification), `origin.json`, `served.json` (how Triton serves
it) and `files.json`, which lists what goes into the model's `1/` and lies in the folder too.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from inference.config import CaptionerSpec, SegmenterSpec, spec_from_json
from inference.errors import UnknownModelError, WeightsError
from inference.weights.imported import (
    CONFIG,
    Origin,
    Served,
    Wire,
    config_text,
    imported_names,
    parameters_of,
    read_record,
    verify_imported,
    write_imported,
)
from inference.weights.sources import sha256_of

MINIS = Path(__file__).parent


def mini_names(source: Path = MINIS) -> list[str]:
    """The small models there are."""
    return sorted(path.parent.name for path in source.glob("*/served.json"))


def install_mini(models_dir: Path, name: str, *, source: Path = MINIS) -> Path:
    """Write the small model `name` into the repository `models_dir`; answers its folder there.

    Raises:
        UnknownModelError: there is no small model of that name. WeightsError: its folder is not whole.
    """
    known = mini_names(source)
    if name not in known:
        raise UnknownModelError(f"there is no small model {name!r}; there are: {', '.join(known)}")
    return write_imported(models_dir, *_read(source / name))


def is_current(models_dir: Path, name: str, *, source: Path = MINIS) -> bool:
    """Whether the repository `models_dir` holds the small model as it lies here, and is served as it should be."""
    if name not in imported_names(models_dir) or verify_imported(models_dir, name):
        return False
    spec, served, origin, files = _read(source / name)
    record, config = read_record(models_dir, name), (models_dir / name / CONFIG).read_text(encoding="utf-8")
    return (
        record["origin"] == asdict(origin)
        and config == config_text(name, served, parameters_of(spec, served))
        and record["files"] == {file: sha256_of(path) for file, path in files.items()}
    )


def _read(folder: Path) -> tuple[SegmenterSpec | CaptionerSpec, Served, Origin, dict[str, Path]]:
    try:
        spec = spec_from_json((folder / "spec.json").read_text(encoding="utf-8"))
        served, origin = _json(folder / "served.json"), _json(folder / "origin.json")
        inputs, outputs = (tuple(_wire(fields) for fields in served.pop(kind)) for kind in ("inputs", "outputs"))
        files = {file: (folder / file).resolve(strict=True) for file in _json(folder / "files.json")}
        return spec, Served(**served, inputs=inputs, outputs=outputs), Origin(**origin), files
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise WeightsError(f"{folder} is not whole: {error}; get the repository's own files again") from error


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _wire(fields: dict[str, Any]) -> Wire:
    return Wire(fields["name"], fields["data_type"], tuple(fields["dims"]))
