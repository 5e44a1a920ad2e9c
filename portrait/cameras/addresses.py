"""Where a camera's frames come from: what a `source` may be, and how it is shown without its secrets.

A source is an address (`rtsp://`, `http://` ...), a device of this machine (`device:0`), or a file or folder in one of
the folders that PORTRAIT_SOURCE_DIRS names: who may set up a camera shall not read the machine's other files with it.
"""

import re
from enum import StrEnum
from pathlib import Path
from typing import ClassVar
from urllib.parse import SplitResult, urlsplit

from django.conf import settings

from portrait.core.errors import PortraitError

SCHEMES = ("rtsp", "rtsps", "http", "https")
_DEVICE = re.compile(r"device:(\d{1,3})")
_SCHEME = re.compile(r"([a-zA-Z][\w+.-]*):")
# Up to the last @ of the host's part; or, where somebody forgot to write %2F in a password, of the whole.
_USER = re.compile(r"(?<=://)(?:[^/?#\s]*@|[^/?#\s@]*:\S*@)")
_SECRET = re.compile(r"(?i)([?&;][\w.-]*(?:pass|pwd|token|key|secret|auth|sign|credential)[\w.-]*=)[^&#\s;]+")
HIDDEN = "***"


class SourceError(PortraitError):
    """No camera can be read there."""

    code: ClassVar[str] = "source_invalid"


class SourceKind(StrEnum):
    """How a source is read."""

    NETWORK = "network"
    DEVICE = "device"
    PATH = "path"
    """A file, or a folder of pictures."""


def kind_of(source: str) -> SourceKind:
    """What a source is, by its form; it may still be wrong."""
    if _DEVICE.fullmatch(source):
        return SourceKind.DEVICE
    return SourceKind.NETWORK if urlsplit_or_none(source) else SourceKind.PATH


def check_source(source: str) -> None:
    """Whether a camera may be read from there; an empty source (its frames are pushed) may be.

    Raises:
        SourceError: the message says what is wrong and what to do.
    """
    if not source:
        return
    if any(not mark.isprintable() for mark in source):
        raise _refused("The source has a line break or another sign that cannot be printed: remove it.")
    if _DEVICE.fullmatch(source):
        return
    found = _SCHEME.match(source)
    if found:
        _check_address(source, found[1].lower())
    else:
        resolve_path(source)


def device_number(source: str) -> int:
    """The number in `device:0`."""
    found = _DEVICE.fullmatch(source)
    if found is None:
        raise _refused(f"{masked(source)!r} is no device: write device:0 for /dev/video0.")
    return int(found[1])


def resolve_path(source: str) -> Path:
    """The file or folder that a source means, all links followed; a relative one is looked for in every folder.

    Raises:
        SourceError: it lies outside of PORTRAIT_SOURCE_DIRS, is not there, or is neither a file nor a folder.
    """
    allowed: list[Path] = settings.PORTRAIT.source_dirs
    folders = ", ".join(str(each) for each in allowed)
    try:
        # A relative path stays one where it is joined, an absolute one replaces the folder.
        candidates = [(folder / source).resolve() for folder in allowed]
    except (OSError, RuntimeError, ValueError):
        raise _refused(f"{source!r} is not a path that can be used.") from None
    inside = [path for path in candidates if any(path.is_relative_to(folder.resolve()) for folder in allowed)]
    if not inside:  # said before it is known whether the file exists: an answer must not tell
        raise _refused(
            f"{source!r} is outside of the folders that cameras may read ({folders}): put the file there, or add its "
            "folder to PORTRAIT_SOURCE_DIRS. An address begins with "
            + ", ".join(f"{name}://" for name in SCHEMES)
            + "."
        )
    for path in inside:
        if path.is_file() or path.is_dir():
            return path
    raise _refused(f"There is no file and no folder {source!r} in {folders}.")


def urlsplit_or_none(source: str) -> SplitResult | None:
    """The parts of an address; None where it is none of an allowed scheme."""
    try:
        parts = urlsplit(source)
        return parts if parts.scheme.lower() in SCHEMES and parts.hostname else None
    except ValueError:
        return None


def masked(text: str) -> str:
    """An address, or a text with addresses in it, that may be shown: without passwords and tokens."""
    return _SECRET.sub(rf"\g<1>{HIDDEN}", _USER.sub(_mask_user, text))


def unmasked(source: str, *, before: str) -> str:
    """A source as it came back from a form that showed `masked(before)`: unchanged means the old one."""
    return before if source == masked(before) else source


def _mask_user(found: re.Match[str]) -> str:
    user, colon, _ = found[0][:-1].partition(":")
    return f"{user}:{HIDDEN}@" if colon else f"{HIDDEN}@"  # a lone name may be a token


def _check_address(source: str, scheme: str) -> None:
    if scheme == "device":
        raise _refused("A device is written as device:0, with the number of /dev/video0.")
    if scheme not in SCHEMES:
        hint = "write the path itself" if scheme == "file" else "use one of " + ", ".join(f"{n}://" for n in SCHEMES)
        raise _refused(f"Sources that begin with {scheme}: cannot be read: {hint}.")
    try:
        parts = urlsplit(source)
        host, _ = parts.hostname, parts.port
    except ValueError:  # its text may have the password in it
        raise _refused(
            f"This is no {scheme}:// address: HOST or HOST:PORT comes behind the user and the password, in which "
            "/ ? # @ are written as %2F %3F %23 %40."
        ) from None
    if not host:
        raise _refused(f"{masked(source)!r} names no host: write {scheme}://HOST/PATH.")
    if "@" not in parts.netloc and ":" in parts.netloc and "@" in source:
        raise _refused("There is an @ behind the host: in a password write / ? # @ as %2F %3F %23 %40, else @ as %40.")
    if " " in source:
        raise _refused("The address has a space in it: write %20.")


def _refused(message: str) -> SourceError:
    return SourceError(message, field="source")
