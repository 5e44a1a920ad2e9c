"""What was found of a chunk's files becomes portraits and results, in one short transaction."""

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any

from django.db import transaction

from portrait.audit.services import asked_by
from portrait.core.errors import NotFoundError
from portrait.gallery.reports import log_resemblances
from portrait.gallery.services.enrolment import PhotoReport, store_photo
from portrait.gallery.services.photos import PreparedPhoto
from portrait.gallery.tasks import WARNINGS
from portrait.transfer.models import UNDONE, FileStatus, Import, ImportChunk, ImportFile, ImportPerson
from portrait.transfer.services import imports, people
from portrait.transfer.services.enrolling import Outcome, duplicate
from portrait.transfer.services.people import ERASED, Refusal


def store_chunk(chunk: ImportChunk, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Store photos and results, inside the transaction that ends the item; answers the counts by status.

    Folders before files: whoever locks several of them does it in this order, as `erasure` does, and the import before
    all of them or not at all.
    """
    persons = people.lock({each.file.person_id for each in outcomes if each.file.person_id})
    undone = ImportFile.objects.filter(pk__in=[each.file.pk for each in outcomes], status__in=UNDONE)
    rows = {row.pk: row for row in undone.select_for_update(of=("self",)).order_by("pk")}
    for outcome in outcomes:
        if outcome.file.pk in rows:
            _store(chunk, rows, rows[outcome.file.pk], persons, outcome)
    for person in persons.values():
        people.note(chunk.run, person)
    fields = ["status", "code", "message", "identity_id", "portrait_id", "sha256", "claim", "suspicions"]
    ImportFile.objects.bulk_update(rows.values(), fields)
    transaction.on_commit(partial(imports.feed, run_id=chunk.run_id), robust=True)
    return dict(Counter(str(row.status) for row in rows.values()))


def _store(
    chunk: ImportChunk,
    rows: dict[int, ImportFile],
    row: ImportFile,
    persons: dict[int, ImportPerson],
    outcome: Outcome,
) -> None:
    row.sha256, row.claim, row.suspicions = outcome.sha256, None, 0
    if outcome.like is not None:
        _like(row, rows.get(outcome.like))
    elif outcome.photo is not None and row.person_id is not None:
        _enrol(chunk, row, persons[row.person_id], outcome.photo)
    else:
        row.status, row.code, row.message = outcome.status, outcome.code, outcome.message
        if outcome.portrait is not None:
            row.identity_id, row.portrait_id = outcome.portrait.identity_id, outcome.portrait.pk


def _like(row: ImportFile, first: ImportFile | None) -> None:
    """The same picture stands earlier in the chunk."""
    if first is None:
        return  # erased meanwhile, and so is this
    accepted = first.status in (FileStatus.ACCEPTED, FileStatus.DUPLICATE)
    row.status = FileStatus.DUPLICATE if accepted else FileStatus.REJECTED
    row.code, row.message = ("", "") if accepted else (first.code, first.message)
    row.identity_id, row.portrait_id = first.identity_id, first.portrait_id


def _enrol(chunk: ImportChunk, row: ImportFile, person: ImportPerson, photo: PreparedPhoto) -> None:
    try:
        with transaction.atomic():
            identity = people.resolve(chunk.run, person)
            report = identity if isinstance(identity, Refusal) else store_photo(identity=identity, photo=photo)
    except NotFoundError:
        report = ERASED
    if isinstance(report, Refusal):
        row.status, row.code, row.message = FileStatus.REJECTED, report.code, report.message
        return
    if report.warnings:
        _log(chunk.run, report)
    _report(row, report)


def _log(run: Import, report: PhotoReport) -> None:
    key = run.job.api_key_id if run.job else None
    told: dict[str, Any] = {"import": str(run.pk)}
    log_resemblances(principal=asked_by(key, "import"), collection_id=run.collection_id, reports=[report], **told)


def _report(row: ImportFile, report: PhotoReport) -> None:
    portrait = report.portrait
    assert portrait is not None  # noqa: S101  (only a refused photo has none)
    if portrait.deleted_at is not None:
        outcome = duplicate(row, portrait)
        row.status, row.code, row.message = outcome.status, outcome.code, outcome.message
        return
    row.status, row.code, row.message = report.status, "", ""
    row.identity_id, row.portrait_id = portrait.identity_id, portrait.pk
    if report.warnings:
        row.code = report.warnings[0].code
        row.message = f"{WARNINGS[row.code]} ({report.warnings[0].candidate.identity.pk})"
