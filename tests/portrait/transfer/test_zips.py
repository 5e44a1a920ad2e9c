"""The reader of strangers' zips, against zips that Python's own writer makes, and against forged ones."""

import io
import random
import struct
import zipfile
from typing import Any

import pytest

from portrait.transfer import zips
from portrait.transfer.zip_writer import ZipWriter
from tests.portrait.transfer.conftest import make_zip

MAX = 25 * 2**20


def listed(file: io.BytesIO, max_bytes: int = MAX) -> list[zips.Entry]:
    return list(zips.entries(file, zips.find_directory(file), max_bytes=max_bytes))


def problems(file: io.BytesIO) -> dict[str, str | None]:
    return {entry.name: entry.problem and entry.problem[0] for entry in listed(file)}


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_it_reads_what_the_library_writes(method: int) -> None:
    dice = random.Random(1)
    files = {f"f{number}/x.bin": dice.randbytes(dice.randrange(5000)) for number in range(50)} | {"e": b""}
    made = make_zip(files, compression=method)
    assert {entry.name: zips.read_entry(made, entry.place) for entry in listed(made)} == files


def test_it_reads_zip64_and_data_descriptors() -> None:
    class Unseekable(io.RawIOBase):
        def __init__(self) -> None:
            self.parts: list[bytes] = []

        def writable(self) -> bool:
            return True

        def write(self, data: Any) -> int:
            self.parts.append(bytes(data))
            return len(data)

    sink = Unseekable()
    with zipfile.ZipFile(sink, "w") as zipped, zipped.open("a.bin", "w", force_zip64=True) as entry:
        entry.write(b"streamed")
    made = io.BytesIO(b"".join(sink.parts))
    (entry,) = listed(made)
    assert zips.read_entry(made, entry.place) == b"streamed"


def test_more_entries_than_the_old_format_counts() -> None:
    """65,535 is where zip64 begins: written by ours, read by both."""
    made = io.BytesIO()
    with ZipWriter(made) as zipped:
        for number in range(66_000):
            zipped.add(str(number), b"")
    assert zips.find_directory(made).count == 66_000
    assert len(zipfile.ZipFile(made).namelist()) == 66_000
    assert [entry.name for entry in listed(made)] == [str(number) for number in range(66_000)]


def test_the_library_reads_what_ours_writes_and_the_same_is_the_same() -> None:
    files = {"Ä/ö.jpg": b"1", "b/c.jpg": b"22" * 5000}

    def made() -> io.BytesIO:
        sink = io.BytesIO()
        with ZipWriter(sink) as zipped:
            for name, data in files.items():
                zipped.add(name, data)
            zipped.add_file("table.csv", io.BytesIO(b"x" * 3_000_000))
        return sink

    with zipfile.ZipFile(made()) as zipped:
        assert zipped.testzip() is None
        assert {name: zipped.read(name) for name in files} == files
        assert len(zipped.read("table.csv")) == 3_000_000
    assert made().getvalue() == made().getvalue()


def test_a_zip_whose_writer_failed_is_none() -> None:
    sink = io.BytesIO()
    with pytest.raises(RuntimeError), ZipWriter(sink) as zipped:
        zipped.add("a", b"x")
        raise RuntimeError
    with pytest.raises(zips.BrokenZipError):
        zips.find_directory(sink)


def test_names_in_utf8_without_saying_so_and_in_code_page_437() -> None:
    made = make_zip({"x" * 6: b"1", "y" * 3: b"2"})
    mac = made.getvalue().replace(b"xxxxxx", "é/ä.".encode())
    dos = mac.replace(b"yyy", "ü/x".encode("cp437"))
    assert [entry.name for entry in listed(io.BytesIO(dos))] == ["é/ä.", "ü/x"]


def test_a_damaged_entry_is_found_by_its_checksum() -> None:
    made = make_zip({"a": b"0123456789" * 100})
    data = bytearray(made.getvalue())
    data[200] ^= 1
    broken = io.BytesIO(bytes(data))
    (entry,) = listed(broken)
    with pytest.raises(zips.BadEntryError, match="damaged"):
        zips.read_entry(broken, entry.place)


def test_a_bomb_is_refused_and_never_unpacked() -> None:
    made = make_zip({"bomb": bytes(20 * 2**20), "large": bytes(26 * 2**20)}, compression=zipfile.ZIP_DEFLATED)
    assert problems(made) == {"bomb": "zip_bomb", "large": "image_too_large"}


def test_an_entry_that_says_too_little_unpacks_to_no_more_than_it_says() -> None:
    made = make_zip({"a": bytes(10_000_000)}, compression=zipfile.ZIP_DEFLATED)
    (entry,) = listed(made)
    lying = zips.Place(entry.place.offset, entry.place.packed, 1000, entry.place.method, entry.place.crc)
    with pytest.raises(zips.BadEntryError):
        zips.read_entry(made, lying)


def _central(data: bytes, number: int) -> int:
    at = -1
    for _ in range(number + 1):
        at = data.index(b"PK\x01\x02", at + 1)
    return at


def test_overlapping_entries_are_refused_and_the_others_read() -> None:
    """As in Fifield's bomb: many lines of the list, one piece of data."""
    made = make_zip({"a": b"A" * 500, "b": b"B" * 500, "c": b"C" * 500})
    data = bytearray(made.getvalue())
    struct.pack_into("<L", data, _central(data, 1) + 42, 0)  # b lies where a does
    assert problems(io.BytesIO(bytes(data))) == {"a": "overlapping_entry", "b": "overlapping_entry", "c": None}


def test_an_entry_beyond_the_data_is_refused() -> None:
    made = make_zip({"a": b"A" * 500, "b": b"B" * 500})
    data = bytearray(made.getvalue())
    struct.pack_into("<L", data, _central(data, 1) + 42, 1_000_000)
    assert problems(io.BytesIO(bytes(data)))["b"] == "damaged_entry"


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda data: data[:-10], id="end cut off"),
        pytest.param(lambda data: b"plain text", id="no zip"),
        pytest.param(lambda data: b"", id="empty"),
        pytest.param(lambda data: _patched(data, 8, "<HH", 500, 500), id="more entries than there are"),
        pytest.param(lambda data: _patched(data, 12, "<L", 10_000_000), id="a list larger than the file"),
        pytest.param(lambda data: _patched(data, 16, "<L", 10_000_000), id="a list behind the end"),
        pytest.param(lambda data: _patched(data, 8, "<HH", 0xFFFF, 0xFFFF), id="zip64 that is none"),
        pytest.param(lambda data: _patched(data, 4, "<HH", 1, 1), id="one of several volumes"),
        pytest.param(lambda data: data.replace(b"PK\x01\x02", b"PK\x01\x03"), id="a damaged list"),
    ],
)
def test_a_zip_that_lies_about_itself_is_refused_as_a_whole(change: Any) -> None:
    made = io.BytesIO(change(make_zip({"a": b"1", "b": b"2"}).getvalue()))
    with pytest.raises(zips.BrokenZipError, match=r"\w"):
        listed(made)


def _patched(data: bytes, at: int, layout: str, *values: int) -> bytes:
    changed = bytearray(data)
    struct.pack_into(layout, changed, data.rindex(b"PK\x05\x06") + at, *values)
    return bytes(changed)


def test_random_damage_never_ends_in_another_error() -> None:
    dice = random.Random(7)
    whole = make_zip({f"p{n}/x": dice.randbytes(300) for n in range(20)}, compression=zipfile.ZIP_DEFLATED).getvalue()
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(dice.randrange(1, 6)):
            data[dice.randrange(len(data))] = dice.randrange(256)
        file = io.BytesIO(bytes(data))
        try:
            for entry in listed(file):
                if entry.problem is None:
                    zips.read_entry(file, entry.place)
        except (zips.BrokenZipError, zips.BadEntryError):
            continue
