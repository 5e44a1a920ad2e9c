"""What the worker does with the items of a re-index: chunks in any order, and in the end the checks and the switch."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from django.conf import settings
from django.db import connection
from django.utils import timezone

from portrait.core.errors import ConflictError, NotFoundError
from portrait.gallery.indexes import build_live_index
from portrait.jobs.models import OPEN_STATES, JobItem
from portrait.jobs.services import LeaseLostError, extend_lease
from portrait.reindex import gaps, selectors
from portrait.reindex.models import Chunk, Reindex, State
from portrait.reindex.services import checking, ending, retiring, switching
from portrait.reindex.services.filling import Filled, Wanted, fill, fill_detections, fill_portraits
from portrait.sightings.indexes import build_exemplar_index

logger = logging.getLogger(__name__)


@contextmanager
def kept(item: JobItem) -> Iterator[None]:
    """Hold an item's lease for as long as the block takes."""
    stopped = threading.Event()

    def extend() -> None:
        try:
            while not stopped.wait(settings.PORTRAIT.job_lease_s / 3):
                try:
                    extend_lease(item=item)
                except LeaseLostError:
                    return  # the end of the item will say so
                except Exception as error:
                    logger.warning("the lease of %s could not be extended: %s", item, error)
                finally:
                    connection.close()
        finally:
            connection.close()

    thread = threading.Thread(target=extend, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


def _reindex_of(item: JobItem) -> Reindex:
    rows = Reindex.objects.select_related("collection", "from_model", "to_model__source")
    found = rows.filter(pk=item.job.parameters["reindex"]).first()
    if found is None:
        raise NotFoundError("The collection was deleted meanwhile.")
    return found


class ReindexHandler:
    """Job kind `reindex`: an item a chunk, and one more that looks at the whole."""

    def prepare(self, item: JobItem) -> tuple[Chunk | None, Filled]:
        """Chunks store what they make step by step: what is there is not made again by whoever takes the item over."""
        reindex = _reindex_of(item)
        chunk = Chunk.objects.filter(reindex=reindex, index=item.index).first()
        with kept(item):
            if chunk is not None:
                return chunk, _do(reindex, chunk)
            return None, _complete(reindex)

    def store(self, item: JobItem, prepared: tuple[Chunk | None, Filled]) -> dict[str, Any]:
        chunk, filled = prepared
        result = {"made": filled.made, "impossible": filled.impossible}
        if chunk is None:
            return result | {"state": Reindex.objects.values_list("state", flat=True).get(pk=_reindex_of(item).pk)}
        # The lock lets two that end together see each other.
        Reindex.objects.select_for_update(of=("self",)).get(pk=chunk.reindex_id)
        Chunk.objects.filter(pk=chunk.pk).update(done_at=timezone.now())
        release_last(chunk.reindex_id, besides=item.pk)
        return result | {"table": chunk.table, "rows": chunk.rows}


def _do(reindex: Reindex, chunk: Chunk) -> Filled:
    wanted = Wanted(
        reindex.collection_id, reindex.to_model, from_pictures=reindex.from_pictures, other=reindex.from_model
    )
    of_portraits = chunk.table == Chunk.Table.PORTRAITS
    of = (reindex.collection_id, reindex.to_model)
    rows: Any = (
        gaps.portraits_without(*of)
        if of_portraits
        else gaps.detections_to_make(*of, from_pictures=reindex.from_pictures)
    )
    rows = rows.filter(pk__gte=chunk.first)
    if chunk.after:
        rows = rows.filter(pk__lt=chunk.after)
    return fill_portraits(wanted, rows) if of_portraits else fill_detections(wanted, rows)


def release_last(reindex_id: Any, *, besides: int | None = None) -> None:
    """Let the last item go, once no other is open. It is enqueued by `jobs.tasks.sweep`."""
    chunks = Chunk.objects.filter(reindex_id=reindex_id).count()
    items = JobItem.objects.filter(job__in=Reindex.objects.filter(pk=reindex_id).values("job_id"))
    others = items.filter(state__in=OPEN_STATES, index__lt=chunks)
    if not (others if besides is None else others.exclude(pk=besides)).exists():
        items.filter(index=chunks, paused_until__gt=timezone.now()).update(paused_until=timezone.now())


def _complete(reindex: Reindex) -> Filled:
    """Catch up, build the indexes, check, and switch if all is well. Every step can be done again. Whoever cancels the
    job meanwhile stops it before the next one; `ending.settle` notes that."""
    if reindex.state not in (State.BUILDING, State.CHECKING):
        return Filled()  # done before, by a worker that died right after
    new, old = reindex.to_model, reindex.from_model
    filled = fill(Wanted(reindex.collection_id, new, from_pictures=reindex.from_pictures, other=old))
    builds = (
        partial(build_live_index, new),
        partial(build_exemplar_index, new),
    )
    for build in builds:
        if selectors.is_cancelled(reindex):
            return filled
        build()
    Reindex.objects.filter(pk=reindex.pk, state=State.BUILDING).update(
        state=State.CHECKING, built_at=timezone.now(), updated_at=timezone.now()
    )
    for model in (new, old):
        model.refresh_from_db()  # their indexes may be others by now
    report = checking.check(reindex.collection, old, new, from_pictures=reindex.from_pictures)
    against = checking.reasons_against(report)
    report |= {"unusable": filled.impossible, "impossible": filled.impossible + report["missing"]["lost"]}
    report["look_at"] = against
    Reindex.objects.filter(pk=reindex.pk).update(report=report, to_threshold=report["threshold"]["after"])
    if reindex.switch_itself and not against:
        try:
            switching.switch(reindex)
        except ConflictError as error:
            against = [error.message]
    if selectors.is_cancelled(reindex):
        return filled
    if against or not reindex.switch_itself:
        waiting = Reindex.objects.filter(pk=reindex.pk, state=State.CHECKING)
        waiting.update(state=State.READY, error="; ".join(against), updated_at=timezone.now())
    return filled


class RetireHandler:
    """Job kind `reindex_retire`: one item, which removes the vectors of a model from a collection."""

    def prepare(self, item: JobItem) -> int:
        reindex = _reindex_of(item)
        with kept(item):
            return retiring.remove_vectors(reindex.collection_id, retiring.unused_model(reindex))

    def store(self, item: JobItem, prepared: int) -> dict[str, Any]:
        return {"removed": prepared}


def starting_again() -> None:
    """What a worker left half done: last items that nobody let go, ends that nobody noted."""
    ending.settle()
    for reindex in Reindex.objects.filter(state__in=[State.BUILDING, State.CHECKING]):
        release_last(reindex.pk)
