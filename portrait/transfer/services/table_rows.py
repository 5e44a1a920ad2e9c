"""The lines of a zip's tables as rows: people out of people.csv, what portraits.csv says of files.

As `planning`, of which it is a part, it can be done again.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from itertools import islice
from typing import IO, Any, TypeVar, cast

from django.conf import settings
from django.db import transaction
from django.db.models import Count

from portrait.transfer import names, tables
from portrait.transfer.models import FileStatus, ImportFile, ImportPart, ImportPerson
from portrait.transfer.services import erasure, people
from portrait.transfer.services.imports import ZIP_LINE, InvalidZipError
from portrait.transfer.zips import Place, open_entry

BATCH = 1000

StillMine = Callable[[], None]
T = TypeVar("T")


def batches(rows: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of so many, the last one of what is left."""
    iterator = iter(rows)
    while batch := list(islice(iterator, size)):
        yield batch


def _stream(file: IO[bytes], place: Place) -> IO[bytes]:
    return cast(IO[bytes], open_entry(file, place))


def read_people(part: ImportPart, file: IO[bytes], place: Place, still_mine: StillMine) -> None:
    """A row a folder; a line that cannot be used has a result of its own.

    Raises:
        InvalidZipError, TableError: the whole table cannot be used.
    """
    seen: set[str] = set()
    for number, batch in enumerate(batches(tables.read_people(_stream(file, place)), BATCH)):
        still_mine()
        _check_count(number * BATCH + len(batch))
        first, again = _first_of_a_folder(batch, seen)
        bad = [_bad_line(part, row.line, row.problem) for row in first if row.problem]
        bad += [_bad_line(part, row.line, _twice(row)) for row in again]
        with transaction.atomic():
            erasure.hold(part.run)
            ImportPerson.objects.bulk_create([_person(part, row) for row in first if row.folder], ignore_conflicts=True)
            ImportFile.objects.bulk_create(bad, ignore_conflicts=True)
    _refuse_alike(part)


def _check_count(lines: int) -> None:
    most = settings.PORTRAIT.import_max_files
    if lines > most:
        raise InvalidZipError(
            f"people.csv has more lines than the {most} allowed (PORTRAIT_IMPORT_MAX_FILES): send several zips.",
            field="file",
        )


def _first_of_a_folder(
    rows: Iterable[tables.PersonRow], seen: set[str]
) -> tuple[list[tables.PersonRow], list[tables.PersonRow]]:
    """The lines that are the first about their folder, and the others."""
    first: list[tables.PersonRow] = []
    again: list[tables.PersonRow] = []
    for row in rows:
        (again if row.folder and row.folder in seen else first).append(row)
        seen.add(row.folder)
    return first, again


def _twice(row: tables.PersonRow) -> str:
    return f"Line {row.line} of people.csv: its folder stands in an earlier line already."


def _person(part: ImportPart, row: tables.PersonRow) -> ImportPerson:
    return ImportPerson(
        run_id=part.run_id,
        folder=row.folder,
        alias=row.alias,
        name=row.name,
        external_id=row.external_id,
        key=row.key,
        values=dict(row.values),
        listed=True,
        erased=erasure.was_erased(part.run, external_id=row.external_id, name=row.name, key=row.key),
        problem_code="invalid_row" if row.problem else "",
        problem_message=row.problem,
    )


def _bad_line(part: ImportPart, line: int, message: str) -> ImportFile:
    """A line that cannot be used has a result of its own."""
    return ImportFile(
        run_id=part.run_id,
        part=part,
        index=ZIP_LINE + line,
        path=f"{names.PEOPLE}, line {line}",
        status=FileStatus.REJECTED,
        code="invalid_row",
        message=message,
    )


def _refuse_alike(part: ImportPart) -> None:
    """Two lines of one name, and nothing that tells them apart."""
    nameless = ImportPerson.objects.filter(run=part.run_id, external_id=None, key="", problem_code="", listed=True)
    shared = nameless.order_by().values("name").annotate(count=Count("pk")).filter(count__gt=1)
    for name in list(shared.values_list("name", flat=True)):
        refusal = people.ambiguous()
        nameless.filter(name=name).update(problem_code=refusal.code, problem_message=refusal.message)


def read_portraits(part: ImportPart, file: IO[bytes], place: Place, still_mine: StillMine) -> None:
    """What portraits.csv says of files; it counts only where the file is that very one."""
    top = f"{part.run.root}/" if part.run.root else ""
    for batch in batches(tables.read_portraits(_stream(file, place)), BATCH):
        still_mine()
        claims: dict[str, dict[str, Any]] = {f"{top}{row.file}": asdict(row) for row in batch}
        files = list(ImportFile.objects.filter(part=part, path__in=claims, status=FileStatus.WAITING))
        for each in files:
            claim = claims[each.path]
            each.claim = {key: claim[key] for key in ("file_sha256", "sha256", "box", "landmarks")}
        ImportFile.objects.bulk_update(files, ["claim"], batch_size=BATCH)
