"""Reads of imports."""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db.models import Count, QuerySet
from django.utils import timezone

from portrait.core.errors import NotFoundError
from portrait.core.principal import Principal
from portrait.jobs.models import OPEN_STATES, ItemState
from portrait.transfer.models import UNDONE, FileStatus, Import, ImportChunk, ImportFile, ImportPart

RATE_WINDOW = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Progress:
    """Where an import stands. files: how many, by status. found: how many are known of by now. planned: no more come.

    state: waiting, running, stopped (some files failed through no fault of theirs: retry the job), cancelled, done.
    files_per_s: since the beginning, None while nothing is done.
    """

    state: str
    planned: bool
    total: int
    counts: dict[str, int]
    files_per_s: float | None

    @property
    def done(self) -> int:
        return self.total - sum(self.counts[status] for status in UNDONE)


def visible_imports(principal: Principal) -> "QuerySet[Import]":
    """The imports a caller may see."""
    imports = Import.objects.select_related("collection", "job")
    if principal.collection_ids is None:
        return imports
    return imports.filter(collection_id__in=principal.collection_ids)


def find_import(principal: Principal, import_id: str) -> Import:
    """An import by id, within the caller's reach.

    Raises:
        NotFoundError: none such.
    """
    try:
        return visible_imports(principal).get(id=import_id)
    except (Import.DoesNotExist, ValidationError, ValueError):
        raise NotFoundError("There is no such import.") from None


def counts_of(run_ids: list[UUID]) -> dict[UUID, dict[str, int]]:
    """How many files of each import have which status; two queries however many imports."""
    ended = dict(Import.objects.filter(pk__in=run_ids, results__isnull=False).values_list("pk", "results"))
    counts = {run_id: dict.fromkeys(FileStatus.values, 0) | (ended.get(run_id) or {}) for run_id in run_ids}
    going_on = [run_id for run_id in run_ids if run_id not in ended]
    rows = ImportFile.objects.filter(run_id__in=going_on).order_by().values_list("run_id", "status")
    for run_id, status, count in rows.annotate(count=Count("pk")):
        counts[run_id][status] = count
    return counts


def progress_of(run: Import, counts: dict[str, int] | None = None) -> Progress:
    """The progress of an import. counts: of `counts_of`, where they are known already."""
    counts = counts or counts_of([run.id])[run.id]
    total = sum(counts.values())
    done = total - sum(counts[status] for status in UNDONE)
    seconds = ((run.finished_at or timezone.now()) - run.created_at).total_seconds()
    return Progress(
        state=_state(run, done),
        planned=run.finished_at is not None
        or (run.sealed and not run.parts.filter(planned_at=None, done_at=None).exists()),
        total=total,
        counts=counts,
        files_per_s=round(done / seconds, 2) if done and seconds > 0 else None,
    )


def _state(run: Import, done: int) -> str:
    if run.job is not None and run.job.cancelled_at is not None:
        return "cancelled"
    if run.finished_at is not None:
        return "done"
    if run.job is None or (run.sealed and run.job.finished_at is not None and _failed(run)):
        return "stopped"
    return "running" if done or run.job.items.exclude(state=ItemState.WAITING).exists() else "waiting"


def _failed(run: Import) -> bool:
    return run.files.filter(status=FileStatus.FAILED).exists() or run.parts.filter(planned_at=None).exists()


def results_of(run: Import, *, status: str | None = None) -> "QuerySet[ImportFile]":
    """The files of an import in their order."""
    files = ImportFile.objects.filter(run=run)
    return files.filter(status=status) if status else files


def unfed_chunks(run_id: UUID) -> "QuerySet[ImportChunk]":
    """Chunks that are not in the queue yet; none of a part that is still being read."""
    return ImportChunk.objects.filter(run_id=run_id, item=None, part__planned_at__isnull=False).order_by("id")


def undone_files(part: ImportPart) -> "QuerySet[ImportFile]":
    return ImportFile.objects.filter(part=part, status__in=UNDONE)


def open_items(run: Import) -> int:
    """How many items of an import's job are yet to be done."""
    return run.job.items.filter(state__in=OPEN_STATES).count() if run.job else 0


def unfinished() -> "QuerySet[Import]":
    """Imports that are not over; those that nobody looked at for longest come first."""
    return Import.objects.filter(finished_at=None).order_by("updated_at")


def left_open(age: timedelta) -> "QuerySet[Import]":
    """Imports whose parts are all done for long, and of which another was to come: who sent them was killed."""
    return unfinished().filter(job__finished_at__lt=timezone.now() - age, sealed=False)


def ended_before(age: timedelta) -> "QuerySet[Import]":
    """Imports whose reports have been kept long enough."""
    return Import.objects.filter(finished_at__lt=timezone.now() - age).order_by("finished_at")


def failed_before(age: timedelta) -> "QuerySet[Import]":
    """Imports that wait for nothing but a retry by hand, and have for long."""
    return unfinished().filter(job__finished_at__lt=timezone.now() - age, sealed=True)
