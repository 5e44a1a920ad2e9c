"""Published weights of scene models: fetched by their addresses, checked, and handed to the importer of their kind.

For most of them no checksum was ever published. What was fetched first is then recorded in `checksums.json` of the
models' folder once its import has succeeded, and every later download has to be the same.
"""

import fcntl
import json
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from inference.config import SceneTask, scene_task
from inference.errors import ChecksumMismatchError, UnknownModelError, WeightsError, WeightsNotFoundError
from inference.weights.manifest import SHA256, ManifestError
from inference.weights.sources import fetch, sha256_of

PUBLISHED_FILE = Path(__file__).with_name("published.toml")
CHECKSUMS = "checksums.json"
DEADLINE_S = 3600.0
"""For one file: some have a gigabyte."""


@dataclass(frozen=True, slots=True)
class PublishedFile:
    """sha256: as published, or empty where none is known."""

    name: str
    url: str
    most_mb: int
    sha256: str = ""

    def __post_init__(self) -> None:
        if urlsplit(self.url).scheme != "https" or Path(self.name).name != self.name or self.most_mb <= 0:
            raise ManifestError(f"file {self.name!r}: needs an https address, a plain name and a size")
        if self.sha256 and not SHA256.fullmatch(self.sha256):
            raise ManifestError(f"file {self.name!r}: sha256 is not 64 small hexadecimal digits")


@dataclass(frozen=True, slots=True)
class PublishedModel:
    """A scene model. kind: whose importer reads its files. variant: of YOLACT's."""

    name: str
    kind: str
    description: str
    licence: str
    commercial_use: bool
    homepage: str
    files: tuple[PublishedFile, ...]
    variant: str | None = None

    def __post_init__(self) -> None:
        tasks = {"yolact": SceneTask.SEGMENTATION, "blip": SceneTask.CAPTIONING}
        if self.kind not in tasks or scene_task(self.name) is not tasks[self.kind] or not self.files:
            raise ManifestError(f"model {self.name!r}: kind {self.kind!r} does not fit, or it has no files")


def read_published(path: Path = PUBLISHED_FILE) -> dict[str, PublishedModel]:
    """The published scene models by name.

    Raises:
        ManifestError: the file is not as it should be; the message names the model.
    """
    try:
        tables: list[dict[str, Any]] = tomllib.loads(path.read_text(encoding="utf-8"))["model"]
        models = [
            PublishedModel(**{**table, "files": tuple(PublishedFile(**file) for file in table["files"])})
            for table in tables
        ]
    except (tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise ManifestError(f"{path.name} cannot be read: {error}") from error
    return {model.name: model for model in models}


def published(name: str) -> PublishedModel:
    """Raises UnknownModelError if there is none of that name."""
    models = read_published()
    if name not in models:
        raise UnknownModelError(f"no published scene model {name!r}; there are: {', '.join(models)}")
    return models[name]


def install_published(model: PublishedModel, *, models_dir: Path, origin: str | None = None) -> Path:
    """Fetch a model's files, check and import them; answers the model's folder.

    origin: a folder that holds the files, or the address of one, instead of the published addresses. Then only
    checksums that were published are held to, and none is recorded.

    Raises:
        WeightsNotFoundError: a file cannot be had. ChecksumMismatchError: it is not the published one, or not the
            one that was installed before. WeightsError: it cannot be imported. Nothing is written then.
    """
    known = _read_checksums(models_dir) if origin is None else {}
    with tempfile.TemporaryDirectory(prefix="portrait-weights-") as temporary:
        folder = Path(temporary)
        found = dict(_fetched(model, origin, folder, known))
        path = _import(model, folder, models_dir)
    if origin is None:  # what came from elsewhere says nothing of the published address
        _note_checksums(models_dir, found)
    return path


def _fetched(
    model: PublishedModel, origin: str | None, folder: Path, known: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """Bring the files into `folder`; answers (address, sha256) of each."""
    for file in model.files:
        target = folder / file.name
        if origin is None:
            fetch(file.url, target, most_bytes=file.most_mb << 20, deadline_s=DEADLINE_S)
        elif origin.startswith(("http://", "https://")):
            fetch(f"{origin.rstrip('/')}/{file.name}", target, most_bytes=file.most_mb << 20, deadline_s=DEADLINE_S)
        elif (Path(origin) / file.name).is_file():
            target.symlink_to((Path(origin) / file.name).resolve())
        else:
            raise WeightsNotFoundError(f"{origin} has no {file.name}")
        found = sha256_of(target)
        _check(file, found, known)
        yield file.url, found


def _check(file: PublishedFile, found: str, known: Mapping[str, str]) -> None:
    expected = file.sha256 or known.get(file.url, "")
    if expected and found != expected:
        whose = "published" if file.sha256 else "that was installed first"
        raise ChecksumMismatchError(
            f"{file.name} is not the file {whose}\n  expected sha256 {expected}\n  found    sha256 {found}\n"
            + (
                ""
                if file.sha256
                else f"  if the new one is right, remove its line from {CHECKSUMS} in the models' folder"
            )
        )


def _import(model: PublishedModel, folder: Path, models_dir: Path) -> Path:
    """By the importer of its kind; they need PyTorch, so that they are loaded only here."""
    terms = {"licence": model.licence, "homepage": model.homepage}
    if model.kind == "yolact":
        from inference.weights.yolact.importer import import_yolact

        (file,) = model.files
        return import_yolact(
            weights=folder / file.name,
            variant=model.variant,
            labels=None,
            name=model.name,
            models_dir=models_dir,
            **terms,
        )
    from inference.weights.blip.importer import import_blip

    return import_blip(weights=folder, name=model.name, models_dir=models_dir, **terms)


def _read_checksums(models_dir: Path) -> dict[str, str]:
    try:
        found: dict[str, str] = json.loads((models_dir / CHECKSUMS).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise WeightsError(f"{models_dir / CHECKSUMS} cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise WeightsError(f"{models_dir / CHECKSUMS} is not what was written there: remove it")
    return found


def _note_checksums(models_dir: Path, found: Mapping[str, str]) -> None:
    with (models_dir / f".{CHECKSUMS}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two installations at once must not lose each other's
        known = _read_checksums(models_dir) | dict(found)
        temporary = models_dir / f".{CHECKSUMS}.new"
        temporary.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        temporary.replace(models_dir / CHECKSUMS)
