"""A folder of pictures as a source. A journal beside the database makes an ordered list of it that only grows."""

import json
import os
import re
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from portrait.cameras import addresses
from portrait.cameras.addresses import SourceError
from portrait.cameras.capture.sources import Look

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif"})
_SETTLED_S = 2.0
"""A picture that was changed within this time may still be written."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A picture of the folder. Written anew under the same name it is another picture."""

    name: str
    mtime_ns: int
    size: int


class Journal:
    """The pictures of a folder in the order in which they are taken, decided before they are: whatever dies in
    between, and whatever comes into the folder meanwhile, the same number means the same picture."""

    def __init__(self, path: Path, folder: Path) -> None:
        self._path = path
        self.entries: list[Entry] = []
        self.identity = ""
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self._load(str(folder)):
            self.identity, self.entries = uuid.uuid4().hex, []
            self._write("w", [json.dumps({"folder": str(folder), "id": self.identity})])

    def append(self, entries: list[Entry]) -> None:
        """Add pictures; they are on the disk when this returns."""
        self._write("a", [json.dumps([entry.name, entry.mtime_ns, entry.size]) for entry in entries])
        self.entries += entries

    def _load(self, folder: str) -> bool:
        if not self._path.exists():
            return False
        lines = self._path.read_bytes().split(b"\n")
        whole = b"\n".join(lines[:-1]) + b"\n"
        try:
            header = json.loads(lines[0])
            if header["folder"] != folder:
                return False
            self.entries = [Entry(*json.loads(line)) for line in lines[1:-1]]
            self.identity = str(header["id"])
        except (ValueError, KeyError, TypeError):
            return False
        if lines[-1]:  # a crash cut the last line: nothing was taken by it yet
            os.truncate(self._path, len(whole))
        return True

    def _write(self, mode: str, lines: list[str]) -> None:
        with self._path.open(mode) as file:
            file.writelines(f"{line}\n" for line in lines)
            file.flush()
            os.fsync(file.fileno())


class PictureFolder:
    """The pictures of a folder, by natural order of their names; those that come later follow."""

    def __init__(self, folder: Path, journal: Journal, *, once: bool) -> None:
        self._folder, self._journal, self._once = folder, journal, once
        self._known = set(journal.entries)
        self._unsettled: set[Entry] = set()

    @property
    def fingerprint(self) -> str:
        return f"folder:{self._journal.identity}"

    def looks(self, start: int) -> Iterator[Look]:
        """The pictures from number `start` on that are known, then what a look into the folder finds newly.

        It ends when there is nothing more now; call again with the next number.
        """
        self._discover()
        for index in range(start, len(self._journal.entries)):
            entry = self._journal.entries[index]
            taken_s = min(entry.mtime_ns / 1e9, time.time())
            yield Look(index, taken_s, lambda entry=entry: self._read(entry), {"file": entry.name})  # type: ignore[misc]

    def _discover(self) -> None:
        found = {entry for entry in self._scan() if entry not in self._known}
        now_ns = time.time_ns()
        settled = [
            entry
            for entry in found
            if self._once or entry in self._unsettled or now_ns - entry.mtime_ns > _SETTLED_S * 1e9
        ]
        self._unsettled = found
        if settled:
            settled.sort(key=lambda entry: natural_key(entry.name))
            self._journal.append(settled)
            self._known.update(settled)

    def _scan(self) -> Iterator[Entry]:
        with os.scandir(self._folder) as found:
            for each in found:
                if each.name.startswith(".") or Path(each.name).suffix.lower() not in SUFFIXES:
                    continue
                try:
                    path = addresses.resolve_path(each.path)  # a link may lead out of what cameras may read
                    status = path.stat()
                except (SourceError, OSError):
                    continue
                if path.is_file() and status.st_size:
                    yield Entry(each.name, status.st_mtime_ns, status.st_size)

    def _read(self, entry: Entry) -> bytes | None:
        try:
            path = addresses.resolve_path(str(self._folder / entry.name))
            if not path.is_file():
                return None
            data, status = path.read_bytes(), path.stat()
        except (SourceError, OSError):
            return None
        return data if (status.st_mtime_ns, len(data)) == (entry.mtime_ns, entry.size) else None


def natural_key(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """For sorting: frame2 comes before frame10."""
    parts = [part for part in re.split(r"(\d+)", name) if part]
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part.casefold()) for part in parts], name


def journal_path(var: Path, camera_id: object) -> Path:
    """Where a camera's journal lies."""
    return var / "capture" / f"{camera_id}.journal"
