"""What a re-index has to do: stretches of both tables, and the job that does them."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import F, QuerySet, Window
from django.db.models.functions import RowNumber
from django.utils import timezone

from portrait.core.errors import ConflictError
from portrait.gallery.models import Collection, EmbeddingModel
from portrait.jobs.models import JobItem
from portrait.jobs.services import create_job
from portrait.reindex import gaps
from portrait.reindex.models import Chunk, Reindex, State

REINDEX, QUEUE = "reindex", "reindex"
PICTURES_A_CHUNK, VECTORS_A_CHUNK = 64, 2000
MOST_CHUNKS = 4000
HELD_BACK = timedelta(days=365)
"""The last item waits for the others; whoever does the last of these lets it go."""


def needs_pictures(collection: Collection, model: EmbeddingModel, *, from_pictures: bool) -> bool:
    """Whether pictures are to be looked at: the collection has no vectors that the model projects, or not any more."""
    if from_pictures or model.source_id is None:
        return True
    kept = collection.kept_models.filter(pk=model.source_id).exists()
    return not kept and collection.active_model_id != model.source_id


def plan(reindex: Reindex, *, api_key_id: UUID | None) -> None:
    """Chunks of both tables, an item of the job each, and one at the end that checks and switches.

    Raises:
        ConflictError: the re-index was ended meanwhile.
        QueueFullError: the collection has too much work waiting already.
    """
    of = (reindex.collection_id, reindex.to_model)
    slow = needs_pictures(reindex.collection, reindex.to_model, from_pictures=reindex.from_pictures)
    size = PICTURES_A_CHUNK if slow else VECTORS_A_CHUNK
    chunks = [
        Chunk(reindex=reindex, table=table, first=first, after=after, rows=rows)
        for table, ids in (
            (Chunk.Table.PORTRAITS, gaps.portraits_without(*of)),
            (Chunk.Table.DETECTIONS, gaps.detections_to_make(*of, from_pictures=reindex.from_pictures)),
        )
        for first, after, rows in _stretches(ids, size)
    ]
    for index, chunk in enumerate(chunks):
        chunk.index = index
    with transaction.atomic():
        rows = Reindex.objects.select_for_update(of=("self",)).filter(pk=reindex.pk, state=State.BUILDING, job_id=None)
        if not rows.exists():
            raise ConflictError("This re-index was ended while it was planned.")
        Chunk.objects.bulk_create(chunks)
        job = create_job(
            kind=REINDEX,
            queue=QUEUE,
            collection_id=reindex.collection_id,
            parameters={"reindex": str(reindex.pk), "model": str(reindex.to_model)},
            items=len(chunks) + 1,
            api_key_id=api_key_id,
        )
        if chunks:
            last = JobItem.objects.filter(job=job, index=len(chunks))
            last.update(paused_until=timezone.now() + HELD_BACK)
        Reindex.objects.filter(pk=reindex.pk).update(job_id=job.pk)
    reindex.job_id = job.pk


def _stretches(rows: "QuerySet[Any]", size: int) -> list[tuple[str, str, int]]:
    """(first id, first id beyond, rows) of stretches of so many rows, and not too many of them: by the database, whose
    memory is bounded."""
    count = rows.order_by().count()
    if not count:
        return []
    size = max(size, -(-count // (MOST_CHUNKS // 2)))
    number = Window(RowNumber(), order_by=F("pk").asc())
    starts = rows.annotate(number=number).filter(number__in=range(1, count + 1, size)).order_by("pk")
    firsts = [str(key) for key in starts.values_list("pk", flat=True)]
    ends = [*firsts[1:], ""]
    return [
        (first, after, min(size, count - index * size))
        for index, (first, after) in enumerate(zip(firsts, ends, strict=True))
    ]
