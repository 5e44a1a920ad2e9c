"""`people.csv` and `portraits.csv`: what is known of people and portraits beside their pictures. Pure.

UTF-8, comma, a header line; columns in any order, all optional but `name` (of people) and `file` (of portraits).
What stands in them is a stranger's word: everything is checked, and a row without an end takes no memory.

A cell that a spreadsheet would take for a formula has a quote before it (`guarded`), which is taken off again here.
"""

import csv
import io
import json
import math
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import IO, Any

from portrait.gallery.metadata import MAX_CONSENT_CHARS, check_metadata
from portrait.transfer.names import MAX_PERSON_CHARS

PEOPLE_COLUMNS = (
    "folder",
    "id",
    "external_id",
    "name",
    "metadata",
    "kind",
    "hidden",
    "action",
    "consent",
    "keep_until",
)
PORTRAIT_COLUMNS = ("file", "file_sha256", "sha256", "box", "landmarks")
MAX_TABLE_BYTES = 256 * 2**20
TRUSTED_TABLE_BYTES = 16 * 2**20
"""Up to here a table may shrink as much as it likes; above, the rule against zip bombs holds for it too."""
MAX_ROW_CHARS = 2**20
MAX_LINES = 20_000_000
"""Empty ones too: a line that cannot be used is a result, and results have numbers."""
FORMULA = ("=", "+", "-", "@", "\t", "\r")
_GUARDED = re.compile(r"'+[=+\-@\t\r]")
csv.field_size_limit(MAX_ROW_CHARS)  # of the whole process: a row has its own limit here
_SHA256 = re.compile(r"[0-9a-f]{64}")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TRUE, _FALSE = ("true", "yes", "1"), ("", "false", "no", "0")


class TableError(ValueError):
    """The whole table cannot be used; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class PersonRow:
    """A line of `people.csv`. alias: another name that its folder may have. key: the `id` column, which tells people
    of one name apart. values: what a new identity gets beside name and external_id. problem: why the line cannot be
    used."""

    line: int
    folder: str
    alias: str = ""
    name: str = ""
    external_id: str | None = None
    key: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""


@dataclass(frozen=True, slots=True)
class PortraitRow:
    """A line of `portraits.csv`: of the file whose bytes have `file_sha256`, which face is meant, and the fingerprint
    of the picture that was sent at first. `box` and `landmarks` are pixels of the file."""

    file: str
    file_sha256: str
    sha256: str
    box: tuple[float, float, float, float]
    landmarks: tuple[tuple[float, float], ...] | None


def read_people(file: IO[bytes]) -> Iterator[PersonRow]:
    """The lines of `people.csv`, one at a time.

    Raises:
        TableError: no table, or with columns that nobody knows.
    """
    for line, row in _rows(file, PEOPLE_COLUMNS, needed=("name",)):
        folder, alias = _folders(row)
        try:
            yield _person(line, folder, alias, row)
        except ValueError as error:
            yield PersonRow(line, folder, problem=f"Line {line} of people.csv: {error}")


class _Lines:
    """The lines of a table, as long as a row of them is not too long; who has read a row sets `room` anew."""

    def __init__(self, text: IO[str]) -> None:
        self._text, self.room = text, MAX_ROW_CHARS

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._text.readline(self.room + 1)
        self.room -= len(line)
        if self.room < 0:
            raise TableError(f"The table has a row of more than {MAX_ROW_CHARS} characters: is a quote not closed?")
        if not line:
            raise StopIteration
        return line


def _rows(file: IO[bytes], known: Sequence[str], *, needed: Iterable[str]) -> Iterator[tuple[int, dict[str, str]]]:
    lines = _Lines(io.TextIOWrapper(file, encoding="utf-8-sig", newline=""))
    try:
        reader = csv.reader(lines, strict=True)
        header = [column.strip().casefold() for column in next(reader, [])]
        _check_header(header, known, needed)
        for cells in reader:
            lines.room = MAX_ROW_CHARS
            if reader.line_num > MAX_LINES:
                raise TableError(f"The table has more than {MAX_LINES} lines.")
            if any(cell.strip() for cell in cells):
                yield reader.line_num, dict(zip(header, (unguarded(cell.strip()) for cell in cells), strict=False))
    except UnicodeDecodeError:
        raise TableError("The table is not text in UTF-8: save it as 'CSV UTF-8'.") from None
    except csv.Error as error:
        raise TableError(f"The table cannot be read: {error}.") from None


def _check_header(header: list[str], known: Sequence[str], needed: Iterable[str]) -> None:
    told = f"Known columns are {', '.join(known)}, separated by commas, named in the first line."
    if missing := [column for column in needed if column not in header]:
        raise TableError(f"The table lacks the column {missing[0]!r}. {told}")
    if strange := [column for column in header if column not in known]:
        raise TableError(f"The table has a column {strange[0][:60]!r} that nobody reads. {told}")
    if len(set(header)) < len(header):
        raise TableError(f"The table names a column twice. {told}")


def _folders(row: Mapping[str, str]) -> tuple[str, str]:
    """Whose photos the line is about: those in `folder`; without it, those in `external_id` or else `name`."""
    name = row.get("name", "")
    named = row.get("folder") or row.get("external_id") or name
    alias = name if not row.get("folder") and row.get("external_id") else ""
    folder, alias = (unicodedata.normalize("NFC", each)[:MAX_PERSON_CHARS].replace("\0", "") for each in (named, alias))
    return folder, alias


def _person(line: int, folder: str, alias: str, row: Mapping[str, str]) -> PersonRow:
    name = unicodedata.normalize("NFC", row.get("name", ""))
    external_id = row.get("external_id", "")
    if not name:
        raise ValueError("'name' is empty.")
    for column, value in (("name", name), ("external_id", external_id), ("folder", row.get("folder", ""))):
        if len(value) > MAX_PERSON_CHARS or "\0" in value:
            raise ValueError(f"{column!r} has more than {MAX_PERSON_CHARS} characters, or a NUL.")
    key = row.get("id", "").lower()
    if key and not _UUID.fullmatch(key):
        raise ValueError("'id' is a UUID, as an export writes it, or empty.")
    return PersonRow(line, folder, alias, name, external_id or None, key, _values(row))


def _values(row: Mapping[str, str]) -> dict[str, Any]:
    kind = row.get("kind", "") or "known"
    if kind not in ("known", "unknown"):
        raise ValueError("'kind' is 'known' or 'unknown'.")
    for column, most in (("action", 200), ("consent", MAX_CONSENT_CHARS)):
        if len(row.get(column, "")) > most or "\0" in row.get(column, ""):
            raise ValueError(f"{column!r} has more than {most} characters, or a NUL.")
    keep_until = row.get("keep_until", "")
    return {
        "metadata": _metadata(row.get("metadata", "")),
        "kind": kind,
        "hidden": _flag("hidden", row.get("hidden", "")),
        "action": row.get("action", ""),
        "consent": row.get("consent", ""),
        "keep_until": _date("keep_until", keep_until).isoformat() if keep_until else None,
    }


def _date(column: str, text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{column!r} is a date, like 2030-01-31.") from None


def _flag(column: str, text: str) -> bool:
    if text.casefold() in _TRUE:
        return True
    if text.casefold() in _FALSE:
        return False
    raise ValueError(f"{column!r} is 'true' or 'false'.")


def _metadata(text: str) -> dict[str, Any]:
    if not text:
        return {}
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError('\'metadata\' is not JSON, like {"department": "R&D"}.') from None
    if not isinstance(found, dict):
        raise ValueError('\'metadata\' is a JSON object, like {"department": "R&D"}.')  # noqa: TRY004  (a cell of a table, not a type)
    check_metadata(found)
    return found


def read_portraits(file: IO[bytes]) -> Iterator[PortraitRow]:
    """The lines of `portraits.csv` that can be used; a line that cannot leaves its photo an ordinary one.

    Raises:
        TableError: as `read_people`.
    """
    for _, row in _rows(file, PORTRAIT_COLUMNS, needed=("file", "file_sha256", "sha256", "box")):
        try:
            yield _portrait(row)
        except ValueError:
            continue


def _portrait(row: Mapping[str, str]) -> PortraitRow:
    digests = row.get("file_sha256", "").lower(), row.get("sha256", "").lower()
    if not all(_SHA256.fullmatch(digest) for digest in digests):
        raise ValueError("no SHA-256")
    x, y, width, height = _numbers(row.get("box", ""), 4)
    if width <= 0 or height <= 0:
        raise ValueError("no box")
    points = _numbers(row["landmarks"], 10) if row.get("landmarks") else None
    pairs = tuple(zip(points[::2], points[1::2], strict=True)) if points else None
    path = unicodedata.normalize("NFC", row.get("file", "").replace("\\", "/"))
    if "\0" in path:
        raise ValueError("no name of a file")
    return PortraitRow(path, *digests, (x, y, width, height), pairs)


def _numbers(text: str, count: int) -> list[float]:
    numbers = [float(part) for part in text.split()]
    if len(numbers) != count or not all(math.isfinite(number) and abs(number) < 1e6 for number in numbers):
        raise ValueError("not the numbers that are expected")
    return numbers


def guarded(text: str) -> str:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(FORMULA) or _GUARDED.match(text) else text


def unguarded(text: str) -> str:
    """What `guarded` was given."""
    return text[1:] if _GUARDED.match(text) else text


def write_numbers(numbers: Iterable[float]) -> str:
    """As `read_portraits` reads them."""
    return " ".join(f"{number:g}" if float(number).is_integer() else f"{number:.2f}" for number in numbers)
