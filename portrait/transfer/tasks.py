"""The import's work on the queue `ingest`: a zip's list of contents, or some of its files, an item."""

from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import Any

from celery import shared_task
from django.db import transaction
from django.utils import timezone

from portrait.core.errors import NotFoundError
from portrait.core.spool import remove_leftovers
from portrait.jobs.growing import renew_lease
from portrait.jobs.models import JobItem
from portrait.transfer import selectors
from portrait.transfer.models import Import, ImportChunk, ImportPart
from portrait.transfer.services import enrolling, erasure, imports, planning, storing
from portrait.transfer.services.enrolling import Outcome

KEEP_REPORTS = timedelta(days=30)
KEEP_FAILED = timedelta(days=7)
CLOSE_AFTER = timedelta(hours=1)
"""An import by parts ends when none of them came for so long."""
SETTLED_AT_ONCE = 200

Work = tuple[ImportPart | ImportChunk, Sequence[Outcome]]


class ImportHandler:
    """Job kind `import`: an item is a part to read, or a chunk to enrol; which one, its row says."""

    def prepare(self, item: JobItem) -> Work:
        still_mine = partial(renew_lease, item=item)
        part = (
            ImportPart.objects.select_related("run__collection").filter(run__job=item.job_id, item=item.index).first()
        )
        if part is not None:
            planning.plan(part, still_mine=still_mine)
            return part, ()
        chunk = _chunk_of(item)
        return chunk, enrolling.prepare_chunk(chunk, careful=item.crashes > 0, still_mine=still_mine)

    def store(self, item: JobItem, prepared: Work) -> dict[str, Any]:
        work, outcomes = prepared
        transaction.on_commit(partial(imports.settle, run_id=work.run_id), robust=True)
        if isinstance(work, ImportPart):
            return planning.store_plan(work)
        return storing.store_chunk(work, outcomes)


def _chunk_of(item: JobItem) -> ImportChunk:
    chunks = ImportChunk.objects.select_related("part", "run__collection")
    found = chunks.filter(run__job=item.job_id, item=item.index).first()
    if found is None:
        raise NotFoundError("The import was removed before this was done.")
    return found


@shared_task
def tend() -> None:
    """Let imports go on that nobody pushes, end those that are over, remove old reports, and uploads that a killed
    process left."""
    remove_leftovers()
    for run in selectors.left_open(CLOSE_AFTER):
        imports.seal(run=run)
    for run in selectors.unfinished()[:SETTLED_AT_ONCE]:
        Import.objects.filter(pk=run.pk).update(updated_at=timezone.now())  # the others' turn
        imports.settle(run_id=run.id)
        imports.feed(run_id=run.id)
    erasure.scrub_waiting()
    for run in selectors.failed_before(KEEP_FAILED)[:SETTLED_AT_ONCE]:
        imports.give_up_failed(run=run)
    old = selectors.ended_before(KEEP_REPORTS).values_list("id", flat=True)
    imports.delete_imports(run_ids=list(old[:SETTLED_AT_ONCE]))
