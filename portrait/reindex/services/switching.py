"""The moment in which a collection is searched by other vectors: one transaction, in which nothing is missing."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from django.utils import timezone

from portrait.core.errors import ConflictError
from portrait.gallery.models import Collection, EmbeddingModel
from portrait.gallery.services.spaces import change_models
from portrait.reindex import gaps, selectors
from portrait.reindex.models import Reindex, State
from portrait.reindex.services import thresholds
from portrait.reindex.services.filling import Wanted, fill

logger = logging.getLogger(__name__)

TRIES = 5
LOCK_WAIT = "5s"
"""So long the switch waits for those who store at this moment; they do not wait for it longer than this either."""
MOST_BY_HAND = 64
"""Faces that are looked at while somebody waits for the answer: more are `tasks.fill_missing`'s."""

Change = Callable[[Collection, float | None], None]
"""What is done in the moment itself, with the collection's threshold by the other model."""


@dataclass(frozen=True, slots=True)
class _Way:
    """From one model to another. threshold: the collection's by `model`. known: so many faces that could have a vector
    cannot: somebody looked. most: faces to look at; None: all that lack a vector. force: although portraits lack one.
    """

    reindex: Reindex
    model: EmbeddingModel
    other: EmbeddingModel
    threshold: Callable[[Collection], float | None]
    change: Change
    known: int = 0
    most: int | None = None
    force: bool = False


def switch(reindex: Reindex, *, force: bool = False, by_hand: bool = False) -> None:
    """Search the collection by the new model. force: although portraits have no vector by it. by_hand: somebody waits.

    Raises:
        ConflictError: vectors are missing, or the re-index is not ready, or its job was cancelled.
    """
    new, old = reindex.to_model, reindex.from_model
    reindex.refresh_from_db(fields=["report"])
    report = reindex.report | {"lacked": _lacking(reindex.collection_id, old)}

    def change(collection: Collection, threshold: float | None) -> None:
        changed = Reindex.objects.filter(pk=reindex.pk, state__in=[State.CHECKING, State.READY]).update(
            state=State.SWITCHED,
            switched_at=timezone.now(),
            from_threshold=collection.threshold,
            to_threshold=threshold,
            report=report,
            updated_at=timezone.now(),
        )
        if not changed or collection.active_model_id != old.pk:
            raise ConflictError("This re-index is not ready to be switched, or the collection changed meanwhile.")
        if selectors.is_cancelled(reindex):
            raise ConflictError("The job of this re-index was cancelled.")
        _activate(collection, new, threshold)
        EmbeddingModel.objects.filter(pk=new.pk).update(state=EmbeddingModel.State.ACTIVE)

    _change_when_whole(
        _Way(
            reindex,
            new,
            old,
            threshold=lambda collection: thresholds.translated(collection, old, new).threshold,
            change=change,
            known=int(report.get("unusable", 0)) if by_hand else 0,
            most=MOST_BY_HAND if by_hand else None,
            force=force,
        )
    )


def switch_by_hand(reindex: Reindex, *, force: bool = False) -> None:
    """As `switch`, of one that waits for it.

    Raises:
        ConflictError: it does not wait for it.
    """
    if reindex.state != State.READY:
        raise ConflictError(f"This re-index is {reindex.state}: only one that is ready waits to be switched by hand.")
    switch(reindex, force=force, by_hand=True)


def roll_back(reindex: Reindex) -> None:
    """Search the collection by the old model again: what came meanwhile has vectors by both.

    Raises:
        ConflictError: it was never switched, or the old vectors are gone, or the collection went on to another model.
    """
    new, old = reindex.to_model, reindex.from_model

    def change(collection: Collection, threshold: float | None) -> None:
        changed = Reindex.objects.filter(pk=reindex.pk, state=State.SWITCHED, retired_at=None).update(
            state=State.ROLLED_BACK, rolled_back_at=timezone.now(), updated_at=timezone.now()
        )
        if not changed:
            raise ConflictError(
                "Only what was switched can be rolled back, and only until its old vectors are retired."
            )
        if collection.active_model_id != new.pk:
            raise ConflictError("The collection went on to another model since: roll that back first.")
        _activate(collection, old, threshold)

    _require(reindex)
    _change_when_whole(
        _Way(
            reindex,
            old,
            new,
            threshold=lambda collection: _threshold_before(reindex, collection),
            change=change,
            known=int(reindex.report.get("lacked", 0)),
            most=MOST_BY_HAND,
            force=True,  # who had no old vector was not found before the switch either
        )
    )


def _lacking(collection_id: UUID, model: EmbeddingModel) -> int:
    """Faces that have no vector by a model, although a picture of them should be there."""
    portraits = gaps.portraits_without(collection_id, model).order_by().count()
    return portraits + gaps.detections_to_make(collection_id, model).order_by().count()


def _require(reindex: Reindex) -> None:
    reindex.refresh_from_db()
    if reindex.state != State.SWITCHED or reindex.retired_at is not None:
        raise ConflictError("Only what was switched can be rolled back, and only until its old vectors are retired.")


def _threshold_before(reindex: Reindex, collection: Collection) -> float | None:
    """What it was, or, if somebody set another one since, that one by the old model."""
    if collection.threshold == reindex.to_threshold:
        return reindex.from_threshold
    return thresholds.translated(collection, reindex.to_model, reindex.from_model).threshold


def _activate(collection: Collection, model: EmbeddingModel, threshold: float | None) -> None:
    """Both models stay kept: faces that come get vectors by both."""
    collection.kept_models.add(collection.active_model_id, model.pk)
    Collection.objects.filter(pk=collection.pk).update(
        active_model=model, threshold=threshold, updated_at=timezone.now()
    )


def _change_when_whole(way: _Way) -> None:
    """Fill what is missing, and count; then look at what came since, while nobody stores anything, and change if all is
    there. That look and the change are one transaction; the rest is long, and keeps nobody waiting.

    What is stored before the mark is committed when it is counted, and what is stored after it has later ids.
    """
    key, model, other = way.reindex.collection_id, way.model, way.other
    from_pictures = way.reindex.from_pictures and model == way.reindex.to_model
    wanted = Wanted(key, model, from_pictures=from_pictures, other=other)
    for _ in range(TRIES):
        unusable = max(way.known, fill(wanted, most=way.most).impossible)
        with change_models(key, wait=LOCK_WAIT) as before:
            mark = gaps.newest()
        missing = gaps.count_gaps(key, model, other, from_pictures=from_pictures)
        threshold = way.threshold(before)
        # A detection whose picture went cannot get a vector: the report says how many, and the switch goes on.
        excused = not missing.strays and missing.portraits + missing.detections - missing.lost <= unusable
        if excused and missing.portraits and not way.force:
            break
        if not excused:
            continue
        with change_models(key, wait=LOCK_WAIT) as collection:
            if collection.threshold == before.threshold and not gaps.count_newer(key, model, other, mark):
                way.change(collection, threshold)
                logger.info("collection %s is searched by %s now", collection.name, model)
                return
    raise ConflictError(
        f"{missing.portraits} portraits and {missing.detections} detections have no vector by {model}"
        + (
            ": their pictures cannot be used. 'force' switches nevertheless: they are not found then."
            if excused and not way.force
            else ". They are made by 're-index: what is missing' of the schedule: try again when it ran."
        )
    )
