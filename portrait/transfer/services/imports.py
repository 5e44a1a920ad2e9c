"""An import's life: zips come in, chunks of them go to the queue as it drains, and when all is done the zips go."""

import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import IO, ClassVar

from django.conf import settings
from django.core.files.base import File
from django.db import transaction
from django.utils import timezone

from portrait.audit.models import Action
from portrait.audit.services import record
from portrait.core.errors import ConflictError, PortraitError
from portrait.core.files import delete_on_commit, stored, written_first
from portrait.core.principal import Principal
from portrait.gallery.models import Collection
from portrait.jobs import selectors as jobs
from portrait.jobs.growing import add_items
from portrait.jobs.models import ItemState, JobItem
from portrait.jobs.services import MAX_OPEN_ITEMS, QueueFullError, create_job
from portrait.jobs.tasks import enqueue
from portrait.transfer import selectors
from portrait.transfer.models import (
    UNDONE,
    FileStatus,
    Import,
    ImportChunk,
    ImportFile,
    ImportPart,
    ImportPerson,
)
from portrait.transfer.services.room import require_room
from portrait.transfer.zips import BrokenZipError, find_directory

KIND, QUEUE = "import", "ingest"
LOW_WATER, WAVE = 100, 400
"""Items of an import in the queue: below the first, more are added, up to the second. Others want room there too."""
ZIP_LINE = 2_000_000_000
"""Results of lines of tables, and of the zip itself, have indexes from here on."""
MAX_WAITING_ZIPS = 1000
WAITING_TIMES = 3
"""All zips of a collection that are not done have so many times the size of the largest that is taken."""
CANCELLED = "The import was cancelled before this file was looked at."


class InvalidZipError(PortraitError):
    """What was sent cannot be imported as a whole."""

    code: ClassVar[str] = "invalid_zip"


class TooManyFilesError(PortraitError):
    code: ClassVar[str] = "too_many_files"
    status: ClassVar[int] = 413


def create_import(*, collection: Collection, principal: Principal, face: str, force: bool, root: str = "") -> Import:
    """An import without parts, and its entry in the audit log: both or neither.

    Raises:
        QueueFullError: the collection has too much work waiting already.
        AuditUnavailableError: it cannot be logged.
    """
    key = principal.api_key_id
    with transaction.atomic():
        job = create_job(kind=KIND, queue=QUEUE, collection_id=collection.pk, parameters={}, items=0, api_key_id=key)
        run = Import.objects.create(collection=collection, job=job, face=face, force=force, root=root)
        record(principal=principal, action=Action.IMPORT, collection_id=collection.pk, details={"import": str(run.pk)})
    return run


def check_zip(file: IO[bytes]) -> int:
    """How many entries a zip has, as far as its end tells.

    Raises:
        InvalidZipError, TooManyFilesError: it cannot be imported.
    """
    try:
        count = find_directory(file).count
    except BrokenZipError as error:
        raise InvalidZipError(str(error), field="file") from None
    most = settings.PORTRAIT.import_max_files
    if count > most:
        raise TooManyFilesError(
            f"The zip has {count} entries, more than the {most} allowed (PORTRAIT_IMPORT_MAX_FILES): send several.",
            field="file",
        )
    return count


def add_part(*, run: Import, file: IO[bytes]) -> ImportPart:
    """Store a zip, and let its list of contents be read by the queue.

    Raises:
        InvalidZipError, TooManyFilesError: it cannot be imported.
        NoRoomError: the disk is full.
        ConflictError: the import was cancelled, or closed because nothing came for long.
    """
    with _stored(file) as part, transaction.atomic():
        _add(run, part)
    return part


@contextmanager
def _stored(file: IO[bytes]) -> Iterator[ImportPart]:
    """A part with its zip, which goes again where the rest fails. The zip comes first: to copy it may take minutes, and
    nothing is locked meanwhile. Nothing that is called inside may fail once its transaction is committed."""
    part = ImportPart(entries=check_zip(file))
    require_room(file.seek(0, 2))
    with written_first(part.file, f"{uuid.uuid4()}.zip", File(file)):
        yield part


def _add(run: Import, part: ImportPart) -> None:
    locked = Import.objects.select_for_update(of=("self",)).filter(pk=run.pk, sealed=False, finished_at=None)
    if run.job is None or not locked.exists():
        raise ConflictError("The import is closed: begin another one, it takes only what is new.")
    (item,) = add_items(job=run.job, count=1)
    part.run, part.item = run, item.index
    part.save()
    transaction.on_commit(partial(enqueue, queue=QUEUE, item_ids=[item.id]), robust=True)


def seal(*, run: Import) -> None:
    """No further part comes: the import may end."""
    Import.objects.filter(id=run.id).update(sealed=True)
    run.sealed = True
    settle(run_id=run.id)


def start_import(
    *,
    collection: Collection,
    file: IO[bytes],
    principal: Principal,
    face: str,
    force: bool,
    root: str = "",
) -> Import:
    """Accept one zip for import through the queue.

    Raises:
        InvalidZipError, TooManyFilesError: it cannot be imported.
        NoRoomError: the disk is full.
        QueueFullError: the collection has too much work waiting already, or zips of too many bytes.
        AuditUnavailableError: it cannot be logged.
    """
    check_zip(file)
    _require_few_waiting(collection, file.seek(0, 2))
    with _stored(file) as part, transaction.atomic():
        run = create_import(collection=collection, principal=principal, face=face, force=force, root=root)
        _add(run, part)
        Import.objects.filter(id=run.id).update(sealed=True)
    run.sealed = True
    return run


def _require_few_waiting(collection: Collection, size: int) -> None:
    """A zip lies on the disk until it is done, however little of it is in the queue."""
    waiting = list(
        ImportPart.objects.filter(run__collection=collection, done_at=None).exclude(file="")[:MAX_WAITING_ZIPS]
    )
    most = WAITING_TIMES * settings.PORTRAIT.import_max_mb * 2**20
    held = sum(_size(part) for part in waiting)
    if len(waiting) >= MAX_WAITING_ZIPS or held + size > most:
        raise QueueFullError(
            f"The collection has {len(waiting)} zips of {held / 2**20:.0f} MB waiting, and there may be "
            f"{MAX_WAITING_ZIPS} of {most / 2**20:.0f} MB: send this one when some are done (GET /api/v1/imports), or "
            "cancel those that stopped."
        )


def _size(part: ImportPart) -> int:
    try:
        return part.file.size
    except FileNotFoundError:  # done at this moment
        return 0


def feed(*, run_id: uuid.UUID) -> None:
    """Put more chunks into the queue where it runs low; safe at any time, by anyone."""
    if not selectors.unfed_chunks(run_id).exists():
        return
    with transaction.atomic():
        run = Import.objects.select_for_update(of=("self",)).select_related("job").filter(id=run_id).first()
        if run is None or run.job is None or run.job.cancelled_at is not None:
            return
        waiting = selectors.open_items(run)
        room = MAX_OPEN_ITEMS - jobs.open_items(run.collection_id, QUEUE)
        if waiting >= LOW_WATER or room <= 0:
            return
        chunks = list(selectors.unfed_chunks(run_id)[: min(WAVE - waiting, room)])
        items = add_items(job=run.job, count=len(chunks))
        for chunk, item in zip(chunks, items, strict=True):
            chunk.item = item.index
        ImportChunk.objects.bulk_update(chunks, ["item"])
        transaction.on_commit(partial(enqueue, queue=QUEUE, item_ids=[item.id for item in items]))


def settle(*, run_id: uuid.UUID) -> None:
    """Note what ended without a word (cancelled, given up), let zips go that nobody needs, and end the import when
    nothing is left of it. Safe at any time, by anyone."""
    with transaction.atomic():
        locked = Import.objects.select_for_update(of=("self",)).filter(id=run_id, finished_at=None)
        run = locked.select_related("job").first()
        if run is None:
            return
        stopped = run.job is None or run.job.cancelled_at is not None
        if stopped:
            if run.job is not None and run.job.items.filter(state=ItemState.RUNNING).exists():
                return
            _cancel_files(run)
        else:
            _note_failures(run)
        for part in run.parts.filter(done_at=None):
            if stopped or (part.planned_at is not None and not selectors.undone_files(part).exists()):
                close_part(part)
        if (run.sealed or stopped) and not run.parts.filter(done_at=None).exists():
            _finish(run)


def _cancel_files(run: Import) -> None:
    open_files = ImportFile.objects.filter(run=run, status__in=UNDONE)
    open_files.update(status=FileStatus.SKIPPED, code="cancelled", message=CANCELLED)


def _note_failures(run: Import) -> None:
    """Files whose item ended without them: tried again by hand, or not at all."""
    assert run.job is not None  # noqa: S101  (its caller looked)
    failed = {item.index: item for item in JobItem.objects.filter(job=run.job, state=ItemState.FAILED)}
    for chunk in ImportChunk.objects.filter(run=run, item__in=failed):
        item = failed[chunk.item or 0]
        waiting = ImportFile.objects.filter(chunk=chunk, status=FileStatus.WAITING)
        status = FileStatus.FAILED if _retryable(item) else FileStatus.REJECTED
        waiting.update(status=status, code=item.error_code, message=item.error_message)
    for part in ImportPart.objects.filter(run=run, item__in=failed, planned_at=None, done_at=None):
        if not _retryable(failed[part.item]):
            refuse_part(part, code=failed[part.item].error_code, message=failed[part.item].error_message)


def _retryable(item: JobItem) -> bool:
    return bool((item.result or {}).get("retryable"))


def refuse_part(part: ImportPart, *, code: str, message: str) -> None:
    """The zip as a whole was refused: whatever is known of it by now is refused, and one line says so."""
    undone = ImportFile.objects.filter(part=part, status__in=UNDONE)
    undone.update(status=FileStatus.REJECTED, code=code, message=message)
    whole = ImportFile(
        run_id=part.run_id,
        part=part,
        index=ZIP_LINE,
        path="(the zip)",
        status=FileStatus.REJECTED,
        code=code,
        message=message,
    )
    ImportFile.objects.bulk_create([whole], ignore_conflicts=True)
    close_part(part)


def close_part(part: ImportPart) -> None:
    """The zip is not needed any more."""
    delete_on_commit(stored(part.file))
    part.file, part.done_at = "", timezone.now()
    part.save(update_fields=["file", "done_at"])


def _finish(run: Import) -> None:
    """What was needed to work goes; the report stays."""
    counts = selectors.counts_of([run.id])[run.id]
    Import.objects.filter(id=run.id).update(finished_at=timezone.now(), results=counts, erased=[])
    ImportPerson.objects.filter(run=run).update(values={}, external_id=None, key="", alias="")


def give_up_failed(*, run: Import) -> None:
    """Files that failed long ago, and that nobody tried again, are not kept any longer."""
    failed = ImportFile.objects.filter(run=run, status=FileStatus.FAILED)
    failed.update(status=FileStatus.REJECTED)
    for part in ImportPart.objects.filter(run=run, planned_at=None, done_at=None):
        refuse_part(
            part, code="not_read", message="The zip could not be read for days, and was removed: send it again."
        )
    settle(run_id=run.id)


def delete_imports(*, run_ids: Iterable[uuid.UUID], batch: int = 5000) -> None:
    """Remove imports with their zips and reports, by small transactions."""
    for run_id in run_ids:
        for model in (ImportFile, ImportChunk, ImportPerson):
            rows = model._default_manager.filter(run_id=run_id)
            while ids := list(rows.values_list("pk", flat=True)[:batch]):
                model._default_manager.filter(pk__in=ids).delete()
        with transaction.atomic():
            parts = list(ImportPart.objects.filter(run_id=run_id))
            delete_on_commit(stored(*(part.file for part in parts)))
            Import.objects.filter(id=run_id).delete()
