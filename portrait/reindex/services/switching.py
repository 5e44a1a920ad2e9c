"""The moment in which a collection is searched by other vectors: one transaction, in which nothing is missing."""

import logging
from collections.abc import Callable

from django.utils import timezone

from portrait.core.errors import ConflictError
from portrait.gallery.models import Collection, EmbeddingModel
from portrait.gallery.services.spaces import change_models
from portrait.reindex import gaps
from portrait.reindex.models import Reindex, State
from portrait.reindex.services import thresholds
from portrait.reindex.services.filling import Wanted, fill

logger = logging.getLogger(__name__)

TRIES = 5
LOCK_WAIT = "5s"
"""So long the switch waits for those who store at this moment; they do not wait for it longer than this either."""


def switch(reindex: Reindex, *, force: bool = False) -> None:
    """Search the collection by the new model. force: although portraits have no vector by it.

    Raises:
        ConflictError: vectors are missing, or the re-index is not ready.
    """
    new, old = reindex.to_model, reindex.from_model

    def change(collection: Collection) -> None:
        changed = Reindex.objects.filter(pk=reindex.pk, state__in=[State.CHECKING, State.READY]).update(
            state=State.SWITCHED,
            switched_at=timezone.now(),
            from_threshold=collection.threshold,
            to_threshold=(threshold := thresholds.translated(collection, old, new).threshold),
            updated_at=timezone.now(),
        )
        if not changed or collection.active_model_id != old.pk:
            raise ConflictError("This re-index is not ready to be switched, or the collection changed meanwhile.")
        _activate(collection, new, threshold)
        EmbeddingModel.objects.filter(pk=new.pk).update(state=EmbeddingModel.State.ACTIVE)

    _change_when_whole(reindex, new, old, change, force=force)


def switch_by_hand(reindex: Reindex, *, force: bool = False) -> None:
    """As `switch`, of one that waits for it.

    Raises:
        ConflictError: it does not wait for it.
    """
    if reindex.state != State.READY:
        raise ConflictError(f"This re-index is {reindex.state}: only one that is ready waits to be switched by hand.")
    switch(reindex, force=force)


def roll_back(reindex: Reindex) -> None:
    """Search the collection by the old model again: what came meanwhile has vectors by both.

    Raises:
        ConflictError: it was never switched, or the old vectors are gone, or the collection went on to another model.
    """
    new, old = reindex.to_model, reindex.from_model

    def change(collection: Collection) -> None:
        changed = Reindex.objects.filter(pk=reindex.pk, state=State.SWITCHED, retired_at=None).update(
            state=State.ROLLED_BACK, rolled_back_at=timezone.now(), updated_at=timezone.now()
        )
        if not changed:
            raise ConflictError(
                "Only what was switched can be rolled back, and only until its old vectors are retired."
            )
        if collection.active_model_id != new.pk:
            raise ConflictError("The collection went on to another model since: roll that back first.")
        _activate(collection, old, _threshold_before(reindex, collection))

    _require(reindex)
    _change_when_whole(reindex, old, new, change, force=False)


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


def _change_when_whole(
    reindex: Reindex,
    model: EmbeddingModel,
    other: EmbeddingModel,
    change: Callable[[Collection], None],
    *,
    force: bool,
) -> None:
    """Fill what is missing, then look once more while nobody stores anything, and change if all is there. The look and
    the change are one transaction."""
    wanted = Wanted(reindex.collection_id, model, from_pictures=reindex.from_pictures, other=other)
    for _ in range(TRIES):
        impossible = fill(wanted).impossible
        with change_models(reindex.collection_id, wait=LOCK_WAIT) as collection:
            missing = gaps.count_gaps(collection.pk, model, other)
            # A detection whose picture went cannot get a vector: the report says how many, and the switch goes on.
            excused = missing.portraits + missing.detections <= impossible and (force or not missing.portraits)
            if not missing.strays and (excused or missing.none):
                change(collection)
                logger.info("collection %s is searched by %s now", collection.name, model)
                return
        if missing.portraits and not force and missing.portraits <= impossible:
            break
    raise ConflictError(
        f"{missing.portraits} portraits and {missing.detections} detections have no vector by {model}"
        + (
            ": their pictures cannot be used. 'force' switches nevertheless: they are not found then."
            if not force
            else "."
        )
    )
