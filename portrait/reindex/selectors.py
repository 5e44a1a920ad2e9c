"""Reads of re-indexes: within a caller's reach, with how far they are."""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import JSONField, Max, OuterRef, Q, QuerySet, Subquery, Sum
from django.db.models.functions import JSONObject
from django.utils import timezone

from portrait.core.errors import NotFoundError
from portrait.core.principal import Principal
from portrait.gallery.selectors import as_uuid
from portrait.jobs.models import Job
from portrait.reindex.models import Chunk, Reindex


@dataclass(frozen=True, slots=True)
class Progress:
    """Faces whose vectors are to be made, and are made. per_s: since the beginning; None: nothing is done yet."""

    rows: int
    done: int
    per_s: float | None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def visible_reindexes(principal: Principal) -> "QuerySet[Reindex]":
    """The re-indexes a caller may see."""
    rows = Reindex.objects.select_related("collection", "from_model", "to_model")
    if principal.collection_ids is None:
        return rows
    return rows.filter(collection_id__in=principal.collection_ids)


def find_reindex(principal: Principal, reindex_id: UUID | str) -> Reindex:
    """A re-index within the caller's reach.

    Raises:
        NotFoundError: none such.
    """
    key = as_uuid(str(reindex_id))
    found = visible_reindexes(principal).filter(pk=key).first() if key else None
    if found is None:
        raise NotFoundError("There is no such re-index.")
    return found


def is_cancelled(reindex: Reindex) -> bool:
    """Whether somebody cancelled its job, by now."""
    cancelled = Job.objects.filter(cancelled_at__isnull=False)
    return reindex.job_id is not None and cancelled.filter(pk=reindex.job_id).exists()


_SUMS = {"total": Sum("rows"), "done": Sum("rows", filter=~Q(done_at=None)), "last": Max("done_at")}


def with_progress(rows: "QuerySet[Reindex]") -> "QuerySet[Reindex]":
    """Annotate what `progress_of` reads: one query for a page of them."""
    chunks = Chunk.objects.filter(reindex=OuterRef("pk")).order_by().values("reindex")
    told = chunks.annotate(told=JSONObject(**_SUMS)).values("told")
    return rows.annotate(chunks_told=Subquery(told, output_field=JSONField()))


def progress_of(reindex: Reindex) -> Progress:
    """How far it is, by its chunks."""
    told: dict[str, Any] | None = getattr(reindex, "chunks_told", None)
    if told is None:
        told = Chunk.objects.filter(reindex=reindex).aggregate(**_SUMS)
    done, last = int(told["done"] or 0), told["last"]
    until = (datetime.fromisoformat(last) if isinstance(last, str) else last) or timezone.now()
    seconds = (until - reindex.created_at).total_seconds()
    return Progress(int(told["total"] or 0), done, round(done / seconds, 1) if done and seconds > 0 else None)
