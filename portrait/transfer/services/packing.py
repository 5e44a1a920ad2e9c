"""A folder of this machine as zips of bounded size, one after the other: workers may run elsewhere, and reach files
through the storage only."""

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from django.conf import settings

from inference.config import CODEC_LIMITS
from portrait.core.spool import temporary_file
from portrait.transfer import names, tables
from portrait.transfer.zip_writer import ZipWriter

PART_FILES = 2000
PART_BYTES = 2**30


@dataclass(slots=True)
class Unpacked:
    """Files that were not handed over: (path, reason). The other results come from the workers."""

    files: list[tuple[str, str]] = field(default_factory=list)


def pack(folder: Path, unpacked: Unpacked) -> Iterator[IO[bytes]]:
    """Zips of the folder's files, in temporary files that are gone when the next one is asked for.

    people.csv travels with the first, and with each one its lines of portraits.csv. Links are followed nowhere.
    """
    with closing(_Claims(folder / names.PORTRAITS)) as claims:
        files = _files(folder)
        people = folder / names.PEOPLE
        packed = 1
        while packed:
            with temporary_file() as part:
                with ZipWriter(part, folder=str(settings.FILE_UPLOAD_TEMP_DIR)) as zipped:
                    _add_table(zipped, people)
                    _add_files(zipped, folder, files, claims, unpacked)
                    packed = zipped.count
                if packed:
                    part.seek(0)
                    yield part
            people = folder / ""  # it was in the first


def _add_table(zipped: ZipWriter, path: Path) -> None:
    if path.is_file():
        with path.open("rb") as table:
            zipped.add_file(path.name, table)


def _add_files(zipped: ZipWriter, folder: Path, files: Iterator[str], claims: "_Claims", unpacked: Unpacked) -> None:
    wanted: list[str] = []
    for name in files:
        if _add(zipped, folder, name, unpacked):
            wanted.append(name)
        if zipped.count >= PART_FILES or zipped.size >= PART_BYTES:
            break
    if zipped.count and claims.known:
        with temporary_file() as table:
            claims.write(wanted, table)
            zipped.add_file(names.PORTRAITS, table)


def _add(zipped: ZipWriter, folder: Path, name: str, unpacked: Unpacked) -> bool:
    path = folder / name
    try:
        if path.is_symlink():
            raise ValueError("symlink: it is a link to another file")
        if not path.is_file():
            raise ValueError("not_a_file: it is a device or a pipe")
        if path.stat().st_size > CODEC_LIMITS.max_bytes:
            raise ValueError(f"image_too_large: it has more than {CODEC_LIMITS.max_bytes / 2**20:g} MB")
        zipped.add(name, path.read_bytes())
    except (OSError, ValueError) as error:
        unpacked.files.append((name, str(getattr(error, "strerror", None) or error)))
        return False
    return True


def _files(folder: Path) -> Iterator[str]:
    """All files below, as paths relative to it with `/`, but for its own tables; folders in order, each in order."""
    for root, folders, found in os.walk(folder):
        folders.sort()
        for file in sorted(found):
            name = (Path(root) / file).relative_to(folder).as_posix()
            if name not in names.TABLES:
                yield name


class _Claims:
    """portraits.csv by file, in a small database beside the memory: it may have a line for each of a million files."""

    def __init__(self, table: Path) -> None:
        self.known = table.is_file()
        with tempfile.TemporaryDirectory(dir=settings.FILE_UPLOAD_TEMP_DIR) as without_name:
            self._rows = sqlite3.connect(Path(without_name) / "claims")
            self._rows.execute("pragma journal_mode = off")  # a journal would be a file beside it, by its name
            self._rows.execute("create table claims (file text primary key, line text) without rowid")
        self._header = ""
        if self.known:
            self._read(table)

    def _read(self, table: Path) -> None:
        """Lines as they are; the worker that reads them decides whether they are good."""
        with table.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            self._header = file.readline()
            columns = [each.strip().casefold() for each in self._header.split(",")]
            column = columns.index("file") if "file" in columns else 0
            lines = ((_cell(line, column), line) for line in file)
            self._rows.executemany("insert or ignore into claims values (?, ?)", lines)
        self._rows.commit()

    def write(self, files: list[str], table: IO[bytes]) -> None:
        """The header, and the lines of these files."""
        table.write(self._header.encode())
        for file in files:
            found = self._rows.execute("select line from claims where file = ?", (file,)).fetchone()
            if found:
                table.write(found[0].encode())

    def close(self) -> None:
        self._rows.close()


def _cell(line: str, column: int) -> str:
    import csv

    try:
        return tables.unguarded(next(csv.reader([line]))[column].strip())
    except (csv.Error, IndexError, StopIteration):
        return ""
