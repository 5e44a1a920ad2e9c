"""Reads a zip file that a stranger made: its list of contents entry by entry, and one entry at its place. Pure.

`zipfile.ZipFile` holds an object for every entry, which for a million of them is most of a gigabyte, and reads the
whole list anew each time it opens the file. Here the list streams by once; what it takes to read an entry later is
a few numbers. Decompression and checksums are `zipfile`'s. Nothing is ever unpacked to disk.

SOURCE of the layout: PKWARE, APPNOTE.TXT 6.3.10 (4.3.7 local header, 4.3.12 central directory, 4.3.14-16 its end).
"""

import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

import numpy as np

LOCAL = struct.Struct("<4s5H3L2H")
CENTRAL = struct.Struct("<4s4B4H3L5H2L")
END = struct.Struct("<4s4H2LH")
END64_LOCATOR = struct.Struct("<4sLQL")
END64 = struct.Struct("<4sQ2H2L4Q")
LONGEST_COMMENT = 65_535
_FULL16, _FULL32 = 0xFFFF, 0xFFFFFFFF
_ENCRYPTED, _UTF8, _MASKED = 0x1, 0x800, 0x2000
_UNIX, _MAC = 3, 19
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
MAX_RATIO = 200
RATIO_FROM_BYTES = 2**20
"""Smaller entries may shrink as much as they like: one colour compresses to nothing, and does no harm."""


class BrokenZipError(ValueError):
    """The file is no zip, or its list of contents cannot be followed; the message says what is wrong."""


class BadEntryError(ValueError):
    """One entry cannot be read; the others can. `code` is stable."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Place:
    """What it takes to read an entry: where its local header begins, its sizes in bytes, how it is packed."""

    offset: int
    packed: int
    size: int
    method: int
    crc: int


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the list of contents. problem: (code, message) where it must not be read."""

    index: int
    name: str
    place: Place
    is_folder: bool
    problem: tuple[str, str] | None


@dataclass(frozen=True, slots=True)
class Directory:
    """Where the list of contents lies: offset and size in bytes; how many entries it says it has."""

    offset: int
    size: int
    count: int


def find_directory(file: IO[bytes]) -> Directory:
    """Where the list of contents is.

    Raises:
        BrokenZipError: not a zip, or a list that cannot lie where the file says.
    """
    size = file.seek(0, 2)
    tail_at = max(0, size - END.size - LONGEST_COMMENT)
    file.seek(tail_at)
    tail = file.read(END.size + LONGEST_COMMENT)
    found = tail.rfind(b"PK\x05\x06")
    if found < 0 or found + END.size > len(tail):
        raise BrokenZipError("This is not a zip file, or its end is cut off: send the whole file again.")
    _, disk, first_disk, _, count, length, offset, _ = END.unpack_from(tail, found)
    end_at = tail_at + found
    if _FULL16 in (count, disk) or _FULL32 in (length, offset):
        directory, end_at = _find_directory64(file, end_at)
    elif disk or first_disk:
        raise BrokenZipError("The zip is one of several volumes: send it as one file.")
    else:
        directory = Directory(offset, length, count)
    if directory.offset + directory.size > end_at or directory.count * CENTRAL.size > directory.size:
        raise BrokenZipError("The zip's list of contents does not lie where the file says: it is damaged or forged.")
    return directory


def _find_directory64(file: IO[bytes], end_at: int) -> tuple[Directory, int]:
    if end_at < END64_LOCATOR.size:
        raise BrokenZipError("The zip says that it is a zip64 file and is not: it is damaged or forged.")
    file.seek(end_at - END64_LOCATOR.size)
    mark, _, offset, disks = END64_LOCATOR.unpack(file.read(END64_LOCATOR.size))
    if mark != b"PK\x06\x07" or disks > 1 or offset + END64.size > end_at:
        raise BrokenZipError("The zip says that it is a zip64 file and is not: it is damaged or forged.")
    file.seek(offset)
    mark, _, _, _, _, _, _, count, length, start = END64.unpack(file.read(END64.size))
    if mark != b"PK\x06\x06":
        raise BrokenZipError("The zip says that it is a zip64 file and is not: it is damaged or forged.")
    return Directory(start, length, count), offset


def entries(file: IO[bytes], directory: Directory, *, max_bytes: int) -> Iterator[Entry]:
    """The list of contents in its order; memory does not grow with it but for 16 bytes an entry.

    max_bytes: larger entries are not to be read.

    Raises:
        BrokenZipError: the list cannot be followed to its end.
    """
    overlapping = _overlapping(file, directory)
    for index, (name, extra, fields) in enumerate(_lines(file, directory)):
        place = _place(fields, extra)
        decoded, unreadable = _decoded(name, fields[5], extra)
        problem = _problem(fields, place, max_bytes)
        if index in overlapping:
            problem = ("overlapping_entry", "Its data lie in those of another entry: the zip was forged.")
        elif place.offset + LOCAL.size + place.packed > directory.offset:
            problem = ("damaged_entry", "Its data do not lie where the zip says.")
        elif unreadable:
            problem = ("unsafe_path", "Its name is not text.")
        yield Entry(index, decoded, place, decoded.endswith(("/", "\\")), problem)


_Fields = tuple[Any, ...]
_Line = tuple[bytes, bytes, _Fields]


def _lines(file: IO[bytes], directory: Directory) -> Iterator[_Line]:
    """Name, extra field and the numbers of each line."""
    at, end = directory.offset, directory.offset + directory.size
    for _ in range(directory.count):
        if at + CENTRAL.size > end:
            raise BrokenZipError("The zip's list of contents is shorter than it says: it is damaged or forged.")
        file.seek(at)
        fields = CENTRAL.unpack(file.read(CENTRAL.size))
        if fields[0] != b"PK\x01\x02":
            raise BrokenZipError("The zip's list of contents is damaged: make the zip anew.")
        name_size, extra_size, comment_size = fields[12:15]
        at += CENTRAL.size + name_size + extra_size + comment_size
        if at > end:
            raise BrokenZipError("The zip's list of contents is shorter than it says: it is damaged or forged.")
        yield file.read(name_size), file.read(extra_size), fields


def _place(fields: _Fields, extra: bytes) -> Place:
    """With the sizes of zip64's extra field where the short ones are full."""
    method, crc, packed, size, offset = fields[6], fields[9], fields[10], fields[11], fields[18]
    wide = _extra_block(extra, 0x0001)
    if wide is not None:
        numbers = list(struct.unpack_from(f"<{len(wide) // 8}Q", wide))
        size = numbers.pop(0) if size == _FULL32 and numbers else size
        packed = numbers.pop(0) if packed == _FULL32 and numbers else packed
        offset = numbers.pop(0) if offset == _FULL32 and numbers else offset
    return Place(min(offset, 2**62), min(packed, 2**62), min(size, 2**62), method, crc)


def _extra_block(extra: bytes, wanted: int) -> bytes | None:
    at = 0
    while at + 4 <= len(extra):
        kind, size = struct.unpack_from("<2H", extra, at)
        if kind == wanted:
            return extra[at + 4 : at + 4 + size]
        at += 4 + size
    return None


def _decoded(name: bytes, flags: int, extra: bytes) -> tuple[str, bool]:
    """A name as text, and whether it is none. Who does not say that it is UTF-8 writes UTF-8 (macOS) or code page
    437, with the name in UTF-8 beside it (Info-ZIP's 0x7075)."""
    beside = _extra_block(extra, 0x7075)
    if beside and len(beside) > 5 and int.from_bytes(beside[1:5], "little") == zlib.crc32(name):
        name, flags = beside[5:], flags | _UTF8
    try:
        return name.decode("utf-8"), False
    except UnicodeDecodeError:
        if flags & _UTF8:
            return name.decode("utf-8", "replace"), True
        return name.decode("cp437"), False


def _problem(fields: _Fields, place: Place, max_bytes: int) -> tuple[str, str] | None:
    """What is wrong with an entry, as far as the list tells."""
    flags, mode = fields[5], fields[17] >> 16
    kind = stat.S_IFMT(mode) if fields[2] in (_UNIX, _MAC) else 0
    size_mb, limit_mb = place.size / 2**20, max_bytes / 2**20
    wrong = {
        ("symlink", "It is a link to another file: send the file itself."): kind == stat.S_IFLNK,
        ("not_a_file", "It is a device or a pipe, not a file."): kind not in (0, stat.S_IFREG, stat.S_IFDIR),
        ("encrypted", "It is encrypted: make the zip without a password."): flags & (_ENCRYPTED | _MASKED),
        ("unsupported_compression", "It is packed in a way that is not read here: use 'deflate' or 'store'."): (
            place.method not in METHODS
        ),
        ("image_too_large", f"It has {size_mb:.1f} MB, more than the {limit_mb:g} MB allowed."): place.size > max_bytes,
        ("zip_bomb", f"It unpacks to more than {MAX_RATIO} times its size."): (
            place.size > max(RATIO_FROM_BYTES, MAX_RATIO * place.packed)
        ),
    }
    return next((problem for problem, is_so in wrong.items() if is_so), None)


def _overlapping(file: IO[bytes], directory: Directory) -> frozenset[int]:
    """Entries whose data lie in those of others (David Fifield, "A better zip bomb", 2019)."""
    spans = np.zeros((directory.count, 2), dtype=np.int64)
    for index, (name, extra, fields) in enumerate(_lines(file, directory)):
        place = _place(fields, extra)
        spans[index] = place.offset, min(place.offset + LOCAL.size + len(name) + place.packed, 2**62)
    order = np.argsort(spans[:, 0], kind="stable")
    starts, ends = spans[order, 0], spans[order, 1]
    reached = np.maximum.accumulate(ends)
    inside = starts[1:] < reached[:-1]  # begins before one that comes earlier ends
    into = ends[:-1] > starts[1:]  # ends after the next begins
    return frozenset(order[1:][inside].tolist()) | frozenset(order[:-1][into].tolist())


def data_at(file: IO[bytes], offset: int) -> int:
    """Where the data of an entry begin, whose local header is at `offset`.

    Raises:
        BadEntryError: there is none.
    """
    file.seek(offset)
    header = file.read(LOCAL.size)
    if len(header) < LOCAL.size or header[:4] != b"PK\x03\x04":
        raise BadEntryError("damaged_entry", "Its data do not lie where the zip says.")
    fields = LOCAL.unpack(header)
    return offset + LOCAL.size + int(fields[9]) + int(fields[10])


def open_entry(file: IO[bytes], place: Place) -> zipfile.ZipExtFile:
    """An entry's unpacked bytes as a stream; it raises `zipfile.BadZipFile` or `zlib.error` where it is damaged.

    Raises:
        BadEntryError: its data are not there.
    """
    file.seek(data_at(file, place.offset))
    info = zipfile.ZipInfo("entry")
    info.compress_type, info.CRC = place.method, place.crc
    info.compress_size, info.file_size = place.packed, place.size
    return zipfile.ZipExtFile(file, "r", info)


def read_entry(file: IO[bytes], place: Place) -> bytes:
    """All of an entry: as many bytes as it says, whatever it unpacks to.

    Raises:
        BadEntryError: damaged.
    """
    try:
        with open_entry(file, place) as stream:
            data = stream.read(place.size)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise BadEntryError("damaged_entry", f"It is damaged ({error}): send it again.") from error
    if len(data) != place.size:
        raise BadEntryError("damaged_entry", "It is shorter than the zip says: send it again.")
    return data
