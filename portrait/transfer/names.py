"""Which person a file in a zip belongs to, by its name alone. Pure.

`<person>/<photo>`, below `root` where one is given: exactly so deep, as nobody can tell from names whether `a/b/c.jpg`
is a photo of `a` or of `b`. Names are compared in Unicode's form NFC: macOS writes another one.
"""

import re
import unicodedata
from dataclasses import dataclass

PEOPLE, PORTRAITS = "people.csv", "portraits.csv"
TABLES = (PEOPLE, PORTRAITS)
MAX_NAME_BYTES = 1000
MAX_PERSON_CHARS = 200
_DRIVE = re.compile(r"[A-Za-z]:")
_JUNK_FILES = frozenset({"thumbs.db", "desktop.ini", "ehthumbs.db", "picasa.ini"})
_JUNK_FOLDERS = frozenset({"__macosx", "@eadir", "$recycle.bin"})


@dataclass(frozen=True, slots=True)
class FileName:
    """What a name says: a photo of `person`, one of `TABLES`, or neither, for `problem` (status, code, message)."""

    path: str
    person: str | None = None
    table: str | None = None
    problem: tuple[str, str, str] | None = None


def parse_name(name: str, *, root: str = "") -> FileName:
    """The meaning of an entry's name. root: the folder in the zip that holds the people's; see `parse_root`."""
    path = unicodedata.normalize("NFC", name.replace("\\", "/"))
    if len(path.encode("utf-8", "replace")) > MAX_NAME_BYTES:
        return _rejected(_told(path[:100]) + "…", "name_too_long", f"Its name has more than {MAX_NAME_BYTES} bytes.")
    parts = path.split("/")
    if path.startswith("/") or _DRIVE.match(path) or ".." in parts or _has_control(path):
        return _rejected(_told(path), "unsafe_path", "Its name leads out of the zip, or holds what no name may hold.")
    parts = [part.strip() for part in parts if part.strip() not in ("", ".")]
    path = "/".join(parts)
    if is_junk(parts):
        return FileName(path, problem=("skipped", "junk", "A file of the operating system, no photo."))
    return _below(path, parts, root)


def _told(path: str) -> str:
    """A bad name as it can be stored and shown."""
    return "".join(char if char.isprintable() else "\ufffd" for char in path)


def _below(path: str, parts: list[str], root: str) -> FileName:
    top = root.split("/") if root else []
    if parts[: len(top)] != top:
        return _rejected(path, "outside_root", f"It does not lie in {root!r}, the folder that 'root' names.")
    match parts[len(top) :]:
        case [file] if file.casefold() in TABLES:
            return FileName(path, table=file.casefold())
        case [_]:
            return _rejected(path, "no_person_folder", "It lies in no person's folder: <person>/<photo> is expected.")
        case [person, _] if len(person) > MAX_PERSON_CHARS:
            return _rejected(path, "name_too_long", f"Its folder's name has more than {MAX_PERSON_CHARS} characters.")
        case [person, _]:
            return FileName(path, person=person)
        case _:
            return _rejected(path, "nested_folder", _deep(parts, len(top)))


def _deep(parts: list[str], depth: int) -> str:
    here, below = "/".join(parts[:depth]), "/".join(parts[: depth + 1])
    where = f"below {here!r}" if here else "in the zip"
    return (
        f"It lies too deep: <person>/<photo> is expected {where}. If {below!r} is no person but holds their folders, "
        f"send 'root' = {below!r}."
    )


def _rejected(path: str, code: str, message: str) -> FileName:
    return FileName(path, problem=("rejected", code, message))


def _has_control(path: str) -> bool:
    return any(unicodedata.category(char) in ("Cc", "Cs") for char in path)


def is_junk(parts: list[str]) -> bool:
    """Whether a path is one of those that operating systems leave everywhere."""
    if not parts:
        return True
    return (
        parts[-1].startswith(".")
        or parts[-1].casefold() in _JUNK_FILES
        or any(part.casefold() in _JUNK_FOLDERS for part in parts[:-1])
    )


def parse_root(text: str) -> str:
    """`root` as `parse_name` wants it: without slashes at its ends, in NFC.

    Raises:
        ValueError: it leads out of the zip.
    """
    path = unicodedata.normalize("NFC", text.replace("\\", "/")).strip("/").strip()
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts or _DRIVE.match(path) or _has_control(path) or len(path) > MAX_NAME_BYTES:
        raise ValueError("'root' is a folder in the zip, like 'photos/people'.")
    return "/".join(parts)
