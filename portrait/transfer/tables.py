"""`people.csv` and `portraits.csv`: what is known of people and portraits beside their pictures. Pure.

UTF-8, comma, a header line; columns in any order, all optional but `name` (of people) and `file` (of portraits).
What stands in them is a stranger's word: everything is checked.
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
MAX_METADATA_CHARS = 20_000
MAX_CONSENT_CHARS = 10_000
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


def _rows(file: IO[bytes], known: Sequence[str], *, needed: Iterable[str]) -> Iterator[tuple[int, dict[str, str]]]:
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
    try:
        reader = csv.reader(text, strict=True)
        header = [column.strip().casefold() for column in next(reader, [])]
        _check_header(header, known, needed)
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield reader.line_num, dict(zip(header, (cell.strip() for cell in cells), strict=False))
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
        "keep_until": date.fromisoformat(keep_until).isoformat() if keep_until else None,
    }


def _flag(column: str, text: str) -> bool:
    if text.casefold() in _TRUE:
        return True
    if text.casefold() in _FALSE:
        return False
    raise ValueError(f"{column!r} is 'true' or 'false'.")


def _metadata(text: str) -> dict[str, Any]:
    if not text:
        return {}
    if len(text) > MAX_METADATA_CHARS or "\\u0000" in text:
        raise ValueError(f"'metadata' has more than {MAX_METADATA_CHARS} characters, or a NUL.")
    try:
        found = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise ValueError('\'metadata\' is not JSON, like {"department": "R&D"}.') from None
    if not isinstance(found, dict):
        raise ValueError('\'metadata\' is a JSON object, like {"department": "R&D"}.')  # noqa: TRY004  (a cell of a table, not a type)
    return found


def _no_constant(text: str) -> float:
    raise ValueError(text)  # NaN is no JSON, and PostgreSQL takes none


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
    return PortraitRow(path, *digests, (x, y, width, height), pairs)


def _numbers(text: str, count: int) -> list[float]:
    numbers = [float(part) for part in text.split()]
    if len(numbers) != count or not all(math.isfinite(number) and abs(number) < 1e6 for number in numbers):
        raise ValueError("not the numbers that are expected")
    return numbers


def write_numbers(numbers: Iterable[float]) -> str:
    """As `read_portraits` reads them."""
    return " ".join(f"{number:g}" if float(number).is_integer() else f"{number:.2f}" for number in numbers)
