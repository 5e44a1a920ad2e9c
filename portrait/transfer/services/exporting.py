"""A collection as a zip that can be imported elsewhere: `<folder>/<portrait>.jpg`, people.csv and portraits.csv.

Whoever is there: neither merged into somebody else nor deleted, hidden and unknown people too. The same contents give
the same bytes. Memory stays bounded: portraits are read one by one, the tables grow in temporary files.
"""

import csv
import io
import json
import logging
import re
import tempfile
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import IO, Any
from uuid import UUID

from django.conf import settings

from portrait.core.database import release_connection
from portrait.gallery.models import Collection, Identity, Portrait
from portrait.transfer import names, tables
from portrait.transfer.zip_writer import ZipWriter

logger = logging.getLogger(__name__)

BATCH = 200
LONGEST_FOLDER_NAME = 80
_SPOOL_BYTES = 2**20
_UNFIT = re.compile(r'[/\\:*?"<>|]')
_POINTS = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")


@dataclass(slots=True)
class ExportReport:
    """How much was exported by now; missing: portraits whose picture is gone from the storage."""

    people: int = 0
    portraits: int = 0
    missing: int = 0


class _Pipe:
    """What was written since it was last emptied."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> None:
        self._parts.append(data)

    def take(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)


class _Table:
    """A CSV that grows in a temporary file."""

    def __init__(self, columns: Sequence[str]) -> None:
        self.file: IO[bytes] = tempfile.SpooledTemporaryFile(  # noqa: SIM115  (closed with the zip)
            _SPOOL_BYTES, dir=str(settings.FILE_UPLOAD_TEMP_DIR)
        )
        self.add(columns)

    def add(self, cells: Sequence[Any]) -> None:
        line = io.StringIO()
        csv.writer(line).writerow([tables.guarded(str(cell)) for cell in cells])  # \r\n: so that both are quoted
        self.file.write(line.getvalue().encode())


def export_collection(*, collection: Collection, report: ExportReport | None = None) -> Iterator[bytes]:
    """The bytes of the zip, part by part. Cut off, it has no list of contents: nobody takes it for the whole.

    report: is kept up to date meanwhile.
    """
    told = report or ExportReport()
    pipe = _Pipe()
    people, portraits = _Table(tables.PEOPLE_COLUMNS), _Table(tables.PORTRAIT_COLUMNS)
    folder = str(settings.FILE_UPLOAD_TEMP_DIR)
    with people.file, portraits.file, ZipWriter(pipe, folder=folder) as zipped:
        for batch in _people(collection):
            pictures = _portraits([identity.pk for identity in batch])
            release_connection()  # whoever reads slowly holds none
            for identity in batch:
                people.add(_person_cells(identity))
                told.people += 1
                for portrait in pictures.get(identity.pk, ()):
                    _add(zipped, identity, portrait, portraits, told)
                    yield pipe.take()
        zipped.add_file(names.PEOPLE, people.file)
        zipped.add_file(names.PORTRAITS, portraits.file)
        yield pipe.take()
    yield pipe.take()


def _people(collection: Collection) -> Iterator[list[Identity]]:
    rows = Identity.objects.filter(collection=collection, merged_into=None, deleted_at=None).order_by("id")
    batch = list(rows[:BATCH])
    while batch:
        yield batch
        batch = list(rows.filter(id__gt=batch[-1].pk)[:BATCH])


def _portraits(identity_ids: Iterable[UUID]) -> dict[UUID, list[Portrait]]:
    rows = Portrait.objects.filter(identity__in=list(identity_ids), deleted_at=None).order_by("identity_id", "id")
    found: dict[UUID, list[Portrait]] = {}
    for row in rows:
        found.setdefault(row.identity_id, []).append(row)
    return found


def folder_of(identity: Identity) -> str:
    """A folder name that says who it is to people, and is like no other."""
    clean = "".join(
        "_" if _UNFIT.match(char) or unicodedata.category(char).startswith("C") else char for char in identity.name
    )
    clean = unicodedata.normalize("NFC", clean)[:LONGEST_FOLDER_NAME].strip(" ._")
    return f"{clean} ({identity.pk})".strip()


def _person_cells(identity: Identity) -> list[Any]:
    metadata = json.dumps(identity.metadata, ensure_ascii=False, sort_keys=True) if identity.metadata else ""
    return [
        folder_of(identity),
        identity.pk,
        identity.external_id or "",
        identity.name,
        metadata,
        identity.kind,
        "true" if identity.hidden else "false",
        identity.action,
        identity.consent,
        identity.keep_until.isoformat() if identity.keep_until else "",
    ]


def _add(zipped: ZipWriter, identity: Identity, portrait: Portrait, table: _Table, told: ExportReport) -> None:
    name = f"{folder_of(identity)}/{portrait.pk}.jpg"
    try:
        with portrait.image.open("rb") as file:
            data = file.read()
    except FileNotFoundError:  # deleted at this moment, or lost: `upkeep` tells about those
        logger.warning("the picture of portrait %s is missing and was not exported", portrait.pk)
        told.missing += 1
        return
    zipped.add(name, data)
    told.portraits += 1
    points = portrait.landmarks or {}
    landmarks = [number for point in _POINTS for number in points[point]] if points else []
    cells = [name, sha256(data).hexdigest(), portrait.sha256]
    table.add([*cells, tables.write_numbers(portrait.box), tables.write_numbers(landmarks)])
