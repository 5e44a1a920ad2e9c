"""Reads a zip's list of contents into rows: who is in it, and which files are enrolled together.

It can be cut off anywhere and done again: the same zip gives the same rows, and those that are there are left alone.
"""

import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from typing import IO, Any

from django.db import transaction
from django.utils import timezone

from portrait.core.pipelines import codec_limits
from portrait.transfer import names, tables
from portrait.transfer.models import FileStatus, ImportChunk, ImportFile, ImportPart, ImportPerson
from portrait.transfer.services import erasure, imports, people
from portrait.transfer.services.imports import InvalidZipError
from portrait.transfer.services.table_rows import StillMine, batches, read_people, read_portraits
from portrait.transfer.zips import BadEntryError, BrokenZipError, Entry, entries, find_directory

CHUNK_FILES = 16
CHUNK_BYTES = 64 * 2**20
"""A worker's thread holds a chunk's files in memory."""
BATCH = 1000
PEOPLE_BATCH = 50


@dataclass(slots=True)
class _Chunking:
    """Where the next file goes: files in their order, until a chunk is full."""

    number: int = -1
    files: int = CHUNK_FILES
    size: int = 0

    def next(self, size: int) -> int:
        if self.files >= CHUNK_FILES or self.size + size > CHUNK_BYTES:
            self.number, self.files, self.size = self.number + 1, 0, 0
        self.files, self.size = self.files + 1, self.size + size
        return self.number


def plan(part: ImportPart, *, still_mine: StillMine) -> None:
    """Rows for all that is in a zip. still_mine: called between steps; what it raises ends the work.

    Raises:
        InvalidZipError: it cannot be imported as a whole.
    """
    try:
        with part.file.open("rb") as file:
            _plan(part, file, still_mine)
    except (BrokenZipError, tables.TableError) as error:
        raise InvalidZipError(str(error), field="file") from None
    except (BadEntryError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise InvalidZipError(f"A table of the zip is damaged ({error}): send it again.", field="file") from None


def _plan(part: ImportPart, file: IO[bytes], still_mine: StillMine) -> None:
    found = _tables(part, file)
    if names.PEOPLE in found:
        read_people(part, file, found[names.PEOPLE].place, still_mine)
    chunking = _Chunking()
    for batch in batches(_listed(file), BATCH):
        still_mine()
        with transaction.atomic():
            erasure.hold(part.run)
            _store_files(part, batch, chunking)
    if names.PORTRAITS in found:
        read_portraits(part, file, found[names.PORTRAITS].place, still_mine)
    _make_people(part, still_mine)


def _listed(file: IO[bytes]) -> Iterator[Entry]:
    return entries(file, find_directory(file), max_bytes=codec_limits().max_bytes)


def _tables(part: ImportPart, file: IO[bytes]) -> dict[str, Entry]:
    """The entries that are tables. They may be larger than a picture."""
    found: dict[str, Entry] = {}
    for entry in entries(file, find_directory(file), max_bytes=tables.MAX_TABLE_BYTES):
        table = names.parse_name(entry.name, root=part.run.root).table
        if table is not None and not entry.is_folder:
            if table in found:
                raise InvalidZipError(f"The zip has two files {table}: leave one.", field="file")
            if entry.problem is not None and not _harmless(entry):
                raise InvalidZipError(f"{table} cannot be read: {entry.problem[1]}", field="file")
            found[table] = entry
    return found


def _harmless(entry: Entry) -> bool:
    """A table of a few people who are all alike shrinks like a bomb, and is none."""
    code = entry.problem[0] if entry.problem else ""
    return code == "zip_bomb" and entry.place.size <= tables.TRUSTED_TABLE_BYTES


def _store_files(part: ImportPart, batch: list[Entry], chunking: _Chunking) -> None:
    parsed = [(each, names.parse_name(each.name, root=part.run.root)) for each in batch if not each.is_folder]
    persons = _persons(part, {name.person for _, name in parsed if name.person is not None})
    numbered = [
        (each, name, None if _unwanted(each, name) else chunking.next(each.place.size)) for each, name in parsed
    ]
    chunks = _chunks(part, {number for *_, number in numbered if number is not None})
    rows = [
        _file(part, each, name, persons.get(name.person or ""), None if number is None else chunks[number])
        for each, name, number in numbered
    ]
    ImportFile.objects.bulk_create(rows, ignore_conflicts=True)


def _unwanted(entry: Entry, name: names.FileName) -> bool:
    return bool(name.table or name.problem or entry.problem)


def _persons(part: ImportPart, folders: set[str]) -> dict[str, ImportPerson]:
    """Who the folders are: lines of people.csv by their folder, or else by the name that stands there; or new rows."""
    rows = ImportPerson.objects.filter(run=part.run_id)
    found = {person.folder: person for person in rows.filter(folder__in=folders)}
    by_alias: dict[str, list[ImportPerson]] = {}
    for person in rows.filter(alias__in=folders - found.keys()):
        by_alias.setdefault(person.alias, []).append(person)
    found |= {alias: persons[0] for alias, persons in by_alias.items() if len(persons) == 1}
    missing = folders - found.keys()
    new = [_unlisted(part, folder, alike=folder in by_alias) for folder in missing]
    ImportPerson.objects.bulk_create(new, ignore_conflicts=True)
    return found | {person.folder: person for person in rows.filter(folder__in=missing)}


def _unlisted(part: ImportPart, folder: str, *, alike: bool) -> ImportPerson:
    refusal = people.ambiguous() if alike else None
    return ImportPerson(
        run_id=part.run_id,
        folder=folder,
        name=folder,
        erased=erasure.was_erased(part.run, external_id=None, name=folder, key=""),
        problem_code=refusal.code if refusal else "",
        problem_message=refusal.message if refusal else "",
    )


def _chunks(part: ImportPart, numbers: set[int]) -> dict[int, ImportChunk]:
    made = [ImportChunk(part=part, run_id=part.run_id, number=number) for number in sorted(numbers)]
    ImportChunk.objects.bulk_create(made, ignore_conflicts=True)
    return {chunk.number: chunk for chunk in ImportChunk.objects.filter(part=part, number__in=numbers)}


def _file(
    part: ImportPart, entry: Entry, name: names.FileName, person: ImportPerson | None, chunk: ImportChunk | None
) -> ImportFile:
    status, code, message = _outcome(entry, name)
    erased = person is not None and person.erased
    return ImportFile(
        run_id=part.run_id,
        part=part,
        index=entry.index,
        chunk=chunk,
        person=person,
        path="" if erased else name.path,
        place=asdict(entry.place),
        status=status,
        code=code,
        message=message,
    )


def _outcome(entry: Entry, name: names.FileName) -> tuple[str, str, str]:
    if name.problem is not None:
        return name.problem
    if name.table is not None:
        return FileStatus.SKIPPED, "table", "A table, no photo: it was read."
    if entry.problem is not None:
        return FileStatus.REJECTED, *entry.problem
    return FileStatus.WAITING, "", ""


def _make_people(part: ImportPart, still_mine: StillMine) -> None:
    listed = ImportPerson.objects.filter(run=part.run_id, listed=True, problem_code="", identity=None, erased=False)
    after = 0
    while ids := list(listed.filter(pk__gt=after).order_by("pk").values_list("pk", flat=True)[:PEOPLE_BATCH]):
        still_mine()
        people.make_listed(part.run, ids)
        after = ids[-1]


def store_plan(part: ImportPart) -> dict[str, Any]:
    """The part is read: its chunks may go to the queue. Inside the transaction that ends the item."""
    ImportPart.objects.filter(pk=part.pk).update(planned_at=timezone.now())
    erased = ImportPerson.objects.filter(run=part.run_id, erased=True)
    if erased.exists():
        erasure.forget_people(erased)
        transaction.on_commit(partial(erasure.scrub_parts, part_ids=[part.pk]), robust=True)
    transaction.on_commit(partial(imports.feed, run_id=part.run_id), robust=True)
    files, chunks = (model.objects.filter(part=part).count() for model in (ImportFile, ImportChunk))
    return {"files": files, "chunks": chunks}
