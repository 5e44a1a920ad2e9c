"""What `manage.py models` does: build, install, verify. `models_dir` is Triton's model repository."""

import tempfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from inference.errors import LicenceNotAcceptedError, WeightsError, WeightsNotFoundError
from inference.weights.convert import convert, converter_of, load_onnx
from inference.weights.manifest import Manifest, ModelEntry, PackageSource, UrlSource
from inference.weights.published import PublishedModel
from inference.weights.sources import check_sha256, download, find_in_folder, package_file
from inference.weights.store import State, model_path, state_of, write_model


@dataclass(frozen=True, slots=True)
class Verdict:
    """`ok`, and in words what was found or compared."""

    name: str
    ok: bool
    message: str


def buildable(manifest: Manifest) -> list[ModelEntry]:
    """The models that come out of installed packages, with no download: the default ones."""
    return [entry for entry in manifest if isinstance(entry.source, PackageSource)]


def require_licence(entry: ModelEntry | PublishedModel, accepted: Collection[str]) -> None:
    """Raises LicenceNotAcceptedError for non-commercial weights unless their licence was accepted by name."""
    if not entry.commercial_use and entry.licence not in accepted:
        raise LicenceNotAcceptedError(
            f"{entry.name} is under {entry.licence}, which forbids commercial use ({entry.homepage}); "
            f"if you accept that: --accept-licence {entry.licence}"
        )


def build(entry: ModelEntry, *, models_dir: Path, force: bool = False, accepted: Collection[str] = ()) -> bool:
    """Convert a model out of its installed package, unless the repository holds it already.

    Returns: whether it was written.

    Raises:
        LicenceNotAcceptedError, WeightsNotFoundError, ChecksumMismatchError, ConversionMismatchError: nothing is
            written then.
    """
    require_licence(entry, accepted)
    if not force and state_of(models_dir, entry) is State.CURRENT:
        return False
    if not isinstance(entry.source, PackageSource):
        raise WeightsNotFoundError(f"{entry.name} is in no package; run: manage.py models install {entry.name}")
    write_model(models_dir, entry.name, convert(entry, package_file(entry.source)))
    return True


def install(entry: ModelEntry, *, models_dir: Path, origin: str | None = None, accepted: Collection[str] = ()) -> Path:
    """Fetch, check and convert a model; `origin` is a folder, a file or an address instead of the manifest's source.

    The published file is not kept.

    Returns: the path of the model.

    Raises:
        LicenceNotAcceptedError, WeightsNotFoundError, ChecksumMismatchError, ConversionMismatchError: nothing is
            written then.
    """
    require_licence(entry, accepted)
    with tempfile.TemporaryDirectory(prefix="portrait-weights-") as folder:
        return write_model(models_dir, entry.name, convert(entry, _fetch(entry, origin, Path(folder))))


def _fetch(entry: ModelEntry, origin: str | None, folder: Path) -> Path:
    if origin is not None:
        is_address = origin.startswith(("http://", "https://"))
        return download(origin, entry, folder) if is_address else find_in_folder(Path(origin), entry)
    if isinstance(entry.source, UrlSource):
        return download(entry.source.url, entry, folder)
    return package_file(entry.source)


def verify(entry: ModelEntry, *, models_dir: Path) -> Verdict:
    """Look at an installed model again: its file, its origin, and its results where there is something to compare."""
    state = state_of(models_dir, entry)
    if state is not State.CURRENT:
        return Verdict(entry.name, ok=False, message=_STATES[state].format(path=model_path(models_dir, entry.name)))
    source = _source_at_hand(entry)
    try:
        if source is not None:
            check_sha256(source, entry)
        model = load_onnx(model_path(models_dir, entry.name))
        compared = converter_of(entry).parity(model, entry, source)
    except WeightsError as error:
        return Verdict(entry.name, ok=False, message=str(error))
    results = "its results are the original's" if compared else "its results were compared when it was installed"
    origin = "the original's sha256 is right" if source else "the original is not at hand"
    return Verdict(entry.name, ok=True, message=f"the file is as it was written; {origin}; {results}")


_STATES = {
    State.MISSING: "not installed: there is no {path}",
    State.STALE: "{path} was made from other weights or by another version of the converter; build it again",
    State.DAMAGED: "{path} is not what was written: its checksum differs or it is no ONNX file; build it again",
}


def _source_at_hand(entry: ModelEntry) -> Path | None:
    if not isinstance(entry.source, PackageSource):
        return None
    try:
        return package_file(entry.source)
    except WeightsNotFoundError:
        return None
