"""A re-index ends without a switch: its job was cancelled or failed, or somebody gave it up."""

import logging
from collections.abc import Iterable
from datetime import timedelta
from uuid import UUID

from django.db import OperationalError
from django.utils import timezone
from psycopg.errors import LockNotAvailable

from portrait.core.errors import ConflictError
from portrait.gallery.models import Collection, EmbeddingModel
from portrait.gallery.services.spaces import change_models
from portrait.jobs.models import ItemState, Job
from portrait.reindex.models import OPEN, Reindex, State

logger = logging.getLogger(__name__)

PLANNING = timedelta(minutes=15)
"""A re-index without a job is being planned; one that is older was cut off there."""
ABANDONED = "abandoned by hand"


def abandon(reindex: Reindex) -> None:
    """Give up a re-index that waits to be switched: its collection is free for another one. Its vectors stay until they
    are retired.

    Raises:
        ConflictError: it does not wait.
    """
    if reindex.state == State.READY and end(reindex, State.CANCELLED, ABANDONED):
        return
    reindex.refresh_from_db()
    if reindex.state in OPEN:
        raise ConflictError(
            f"This re-index is {reindex.state}: cancel its job (POST /api/v1/jobs/{reindex.job_id}/cancel)."
        )
    raise ConflictError(f"This re-index is {reindex.state}: only one that is ready can be abandoned.")


def settle(collection_ids: Iterable[UUID] | None = None, *, wait: str = "30s") -> None:
    """Note the end of re-indexes whose job was cancelled, or failed: their collection is free for another one.

    collection_ids: of these; None: of all. wait: for who stores vectors at this moment, at most; where that is not
    enough, the next one notes it.
    """
    rows = Reindex.objects.filter(state__in=OPEN)
    if collection_ids is not None:
        rows = rows.filter(collection_id__in=collection_ids)
    for reindex in rows:
        ended = _ended(reindex)
        if ended is None:
            continue
        try:
            end(reindex, *ended, wait=wait)
        except OperationalError as error:
            if not isinstance(error.__cause__, LockNotAvailable):
                raise
            logger.info("the end of %s is noted later: its collection is in use", reindex)


def _ended(reindex: Reindex) -> tuple[State, str] | None:
    """What became of an open one; None: it goes on, or waits to be switched."""
    job = Job.objects.filter(pk=reindex.job_id).first() if reindex.job_id else None
    if job is not None and job.cancelled_at is not None:
        return None if job.items.filter(state=ItemState.RUNNING).exists() else (State.CANCELLED, "")
    if reindex.state == State.READY:
        return None
    if job is not None:
        if job.finished_at is None:
            return None
        last = job.items.order_by("-index").first()
        return State.FAILED, last.error_message if last is not None else "its job ended"
    if reindex.job_id is not None:
        return State.CANCELLED, ""
    cut_off = reindex.created_at < timezone.now() - PLANNING
    return (State.FAILED, "it was cut off before it was planned") if cut_off else None


def end(reindex: Reindex, state: State, error: str = "", *, wait: str = "30s") -> bool:
    """End an open re-index without a switch: the collection does not get further vectors of the model. Those that are
    there stay, a next try goes on with them, until they are retired. Answers whether it was still as it was read."""
    with change_models(reindex.collection_id, wait=wait) as collection:
        open_one = Reindex.objects.filter(pk=reindex.pk, state=reindex.state)
        ended = bool(open_one.update(state=state, error=error, updated_at=timezone.now()))
        if ended:
            forget_model(collection, reindex.to_model)
    return ended


def forget_model(collection: Collection, model: EmbeddingModel) -> None:
    """The collection's faces get no further vectors of a model, unless something else needs them."""
    needed = Reindex.objects.filter(collection=collection, retired_at=None).filter(
        state__in=[*OPEN, State.SWITCHED, State.ROLLED_BACK]
    )
    wanted = {key for pair in needed.values_list("from_model", "to_model") for key in pair}
    if model.pk not in wanted and model.pk != collection.active_model_id:
        collection.kept_models.remove(model)
