"""Writes a zip file as a stream, unpacked (photos do not shrink), in bounded memory. Pure.

`zipfile.ZipFile` keeps an object for every entry until the end. Here the list of contents waits in a temporary file.
The same contents give the same bytes: every entry has the same date. SOURCE: as `zips.py`.
"""

import shutil
import struct
import tempfile
import zlib
from types import TracebackType
from typing import IO, Protocol

from portrait.transfer.zips import CENTRAL, END, END64, END64_LOCATOR, LOCAL

_VERSION, _UTF8, _STORED = 45, 0x800, 0
_TIME, _DATE = 0, 0x21  # 1 January 1980
_REGULAR_FILE = 0o100600 << 16
_MANY, _LARGE = 0xFFFF, 0xFFFFFFFF
_SPOOL_BYTES = 2**20


class Sink(Protocol):
    def write(self, data: bytes, /) -> object: ...


class ZipWriter:
    """A context manager; nothing may be added once it was left. Left by an error, the file has no list of contents."""

    def __init__(self, sink: Sink, *, folder: str | None = None) -> None:
        """folder: where the list of contents waits; it holds the names."""
        self._sink = sink
        self._directory: IO[bytes] = tempfile.SpooledTemporaryFile(_SPOOL_BYTES, dir=folder)  # noqa: SIM115  (closed in __exit__)
        self._at = 0
        self.count = 0

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self._at

    def add(self, name: str, data: bytes) -> None:
        """Add a file."""
        self._header(name, len(data), zlib.crc32(data))
        self._write(data)

    def add_file(self, name: str, file: IO[bytes]) -> None:
        """Add a file too large for the memory; read twice, from its beginning."""
        file.seek(0)
        size = crc = 0
        while part := file.read(_SPOOL_BYTES):
            size, crc = size + len(part), zlib.crc32(part, crc)
        self._header(name, size, crc)
        file.seek(0)
        while part := file.read(_SPOOL_BYTES):
            self._write(part)

    def _write(self, data: bytes) -> None:
        self._sink.write(data)
        self._at += len(data)

    def _header(self, name: str, size: int, crc: int) -> None:
        """The local header, and the line of the list that belongs to it."""
        if size >= _LARGE:
            raise ValueError(f"{name}: a file of 4 GB or more does not belong here")
        encoded, offset = name.encode(), self._at
        common = (_UTF8, _STORED, _TIME, _DATE, crc, size, size, len(encoded))
        self._write(LOCAL.pack(b"PK\x03\x04", _VERSION, *common, 0) + encoded)
        extra = struct.pack("<2HQ", 0x0001, 8, offset) if offset >= _LARGE else b""
        line = (0, 0, 0, _REGULAR_FILE, min(offset, _LARGE))
        made_by = (_VERSION, 3, _VERSION, 0)
        self._directory.write(CENTRAL.pack(b"PK\x01\x02", *made_by, *common, len(extra), *line) + encoded + extra)
        self.count += 1

    def _finish(self) -> None:
        start, size = self._at, self._directory.tell()
        self._directory.seek(0)
        shutil.copyfileobj(self._directory, self._sink)
        self._at += size
        if self.count >= _MANY or start + size >= _LARGE:
            wide = (44, _VERSION, _VERSION, 0, 0, self.count, self.count, size, start)
            self._write(END64.pack(b"PK\x06\x06", *wide) + END64_LOCATOR.pack(b"PK\x06\x07", 0, start + size, 1))
        count = min(self.count, _MANY)
        self._write(END.pack(b"PK\x05\x06", 0, 0, count, count, min(size, _LARGE), min(start, _LARGE), 0))

    def __enter__(self) -> "ZipWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._directory:
            if kind is None:
                self._finish()
