"""What `manifest.toml` says, as frozen values that cannot hold nonsense."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, cast
from urllib.parse import urlsplit

from inference.errors import UnknownModelError, WeightsError

MANIFEST_FILE = Path(__file__).with_name("manifest.toml")
NAME = re.compile(r"[a-z][a-z0-9_]*")
SHA256 = re.compile(r"[0-9a-f]{64}")
COMMIT = re.compile(r"/[0-9a-f]{40}/")

Channels = Literal["RGB", "BGR"]


class ManifestError(WeightsError):
    """The manifest itself is wrong; the message names the model and the field."""

    code = "manifest_error"


class Task(StrEnum):
    """What a network is for."""

    FACE_DETECTION = "face_detection"
    FACE_EMBEDDING = "face_embedding"


def _require(condition: bool, complaint: str) -> None:
    if not condition:
        raise ManifestError(complaint)


@dataclass(frozen=True, slots=True)
class PackageSource:
    """A file inside a package of PyPI. `file` is relative to where packages are installed."""

    package: str
    version: str
    file: str

    def __post_init__(self) -> None:
        parts = Path(self.file).parts
        _require(len(parts) > 1 and ".." not in parts and parts[0].isidentifier(), f"not inside a package: {self.file}")

    @property
    def filename(self) -> str:
        return Path(self.file).name

    def __str__(self) -> str:
        return f"PyPI {self.package} {self.version}"


@dataclass(frozen=True, slots=True)
class UrlSource:
    """A public address whose content cannot change: a commit is part of it."""

    url: str

    def __post_init__(self) -> None:
        _require(urlsplit(self.url).scheme == "https", f"an address must be https: {self.url}")
        _require(bool(COMMIT.search(self.url)), f"an address must be pinned by a commit: {self.url}")

    @property
    def filename(self) -> str:
        return Path(urlsplit(self.url).path).name

    def __str__(self) -> str:
        return self.url


@dataclass(frozen=True, slots=True)
class InputSpec:
    """The input `image`, uint8 RGB (n, height, width, 3), and what the graph makes of it.

    fixed_px: (height, width), or None where both are free. multiple_of_px: what both must be divisible by.
    network_channels, mean, scale: the published network gets `(pixel - mean) * scale` in that channel order;
    `mean` itself is always in RGB order.
    """

    fixed_px: tuple[int, int] | None
    multiple_of_px: int
    network_channels: Channels
    mean: tuple[float, float, float]
    scale: float

    def __post_init__(self) -> None:
        _require(self.fixed_px is None or min(self.fixed_px) > 0, f"fixed_px: {self.fixed_px}")
        _require(self.multiple_of_px > 0, f"multiple_of_px: {self.multiple_of_px}")
        _require(self.network_channels in ("RGB", "BGR"), f"network_channels: {self.network_channels}")
        _require(len(self.mean) == 3 and self.scale > 0, f"mean and scale: {self.mean}, {self.scale}")


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One network. `size_bytes` and `sha256` are those of the published file."""

    name: str
    task: Task
    description: str
    licence: str
    commercial_use: bool
    homepage: str
    sha256: str
    size_bytes: int
    source: PackageSource | UrlSource
    input: InputSpec
    outputs: tuple[str, ...]

    def __post_init__(self) -> None:
        _require(bool(NAME.fullmatch(self.name)), f"name: {self.name}")
        _require(bool(SHA256.fullmatch(self.sha256)), f"{self.name}.sha256 is not 64 small hexadecimal digits")
        _require(self.size_bytes > 0, f"{self.name}.size_bytes: {self.size_bytes}")
        _require(bool(self.licence.strip()), f"{self.name}.licence is empty")
        _require(len(self.outputs) == len(set(self.outputs)) > 0, f"{self.name}.outputs: {self.outputs}")


@dataclass(frozen=True, slots=True)
class Manifest:
    """The models by name, in the order of the file."""

    models: Mapping[str, ModelEntry]

    def __getitem__(self, name: str) -> ModelEntry:
        """The model of that name.

        Raises:
            UnknownModelError: there is none; the message lists those there are.
        """
        try:
            return self.models[name]
        except KeyError:
            raise UnknownModelError(f"no model {name!r}; there are: {', '.join(self.models)}") from None

    def __iter__(self) -> Iterator[ModelEntry]:
        return iter(self.models.values())


def _source(table: Mapping[str, Any]) -> PackageSource | UrlSource:
    fields = dict(table)
    kind = fields.pop("kind")
    if kind == "pypi":
        return PackageSource(**fields)
    _require(kind == "url", f"source.kind: {kind}")
    return UrlSource(**fields)


def _input(table: Mapping[str, Any]) -> InputSpec:
    fixed = table.get("fixed_px")
    return InputSpec(
        fixed_px=None if fixed is None else cast(tuple[int, int], tuple(fixed)),
        multiple_of_px=table.get("multiple_of_px", 1),
        network_channels=table["network_channels"],
        mean=cast(tuple[float, float, float], tuple(map(float, table["mean"]))),
        scale=float(table["scale"]),
    )


def _entry(table: Mapping[str, Any]) -> ModelEntry:
    fields = dict(table)
    try:
        fields["task"] = Task(fields["task"])
        fields["source"] = _source(fields["source"])
        fields["input"] = _input(fields["input"])
        fields["outputs"] = tuple(fields["outputs"])
        return ModelEntry(**fields)
    except (KeyError, TypeError, ValueError) as error:
        raise ManifestError(f"model {table.get('name')!r}: {error}") from error


def parse_manifest(text: str) -> Manifest:
    """Read a manifest.

    Raises:
        ManifestError: it is not TOML, or a field is missing, unknown or wrong.
    """
    try:
        tables = tomllib.loads(text)["model"]
    except (tomllib.TOMLDecodeError, KeyError) as error:
        raise ManifestError(f"the manifest cannot be read: {error}") from error
    entries = [_entry(table) for table in tables]
    names = [entry.name for entry in entries]
    _require(len(names) == len(set(names)), f"a name is used twice: {names}")
    return Manifest(models={entry.name: entry for entry in entries})


def read_manifest(path: Path = MANIFEST_FILE) -> Manifest:
    """Portrait's own manifest, or the one at `path`."""
    return parse_manifest(path.read_text(encoding="utf-8"))
