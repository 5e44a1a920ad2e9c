"""The vectors that nobody is searched by any more go: in small steps, while everything goes on."""

from datetime import timedelta
from uuid import UUID

from django.db.models import Q
from django.utils import timezone

from portrait.core.errors import ConflictError
from portrait.core.pipelines import embedder_spec
from portrait.gallery.indexes import drop_index, drop_live_indexes
from portrait.gallery.models import Collection, EmbeddingModel, PortraitEmbedding
from portrait.gallery.services.spaces import change_models
from portrait.jobs.models import OPEN_STATES, ItemState, JobItem
from portrait.jobs.services import create_job
from portrait.reindex.models import Reindex, State
from portrait.reindex.services.ending import forget_model
from portrait.reindex.services.planning import QUEUE
from portrait.sightings.indexes import exemplar_index_name
from portrait.sightings.models import DetectionEmbedding

RETIRE = "reindex_retire"
STEP = 2000
AFTER_SWITCH = timedelta(minutes=2)
"""A request that began before the switch finds the old vectors for so long."""


def unused_model(reindex: Reindex) -> EmbeddingModel:
    """Whose vectors nobody is searched by any more, as far as this re-index goes."""
    return reindex.from_model if reindex.state == State.SWITCHED else reindex.to_model


def retire(*, reindex: Reindex, api_key_id: UUID | None = None) -> Reindex:
    """Begin to remove the vectors that this re-index left unused; the caller enqueues its job (`tasks.enqueue`). There
    is no way back afterwards but another re-index. May be asked again where its job was cancelled, or failed.

    Raises:
        ConflictError: it is open, was retired already, was switched a moment ago, or the vectors are in use again.
    """
    if reindex.state not in (State.SWITCHED, State.ROLLED_BACK, State.CANCELLED, State.FAILED):
        raise ConflictError("This re-index is open: wait for its end, cancel its job, or abandon it if it is ready.")
    changed_at = reindex.rolled_back_at or reindex.switched_at
    if changed_at is not None and timezone.now() < changed_at + AFTER_SWITCH:
        left = (changed_at + AFTER_SWITCH - timezone.now()).seconds + 1
        raise ConflictError(f"Requests that began before the switch may still need them: try again in {left} s.")
    model = unused_model(reindex)
    with change_models(reindex.collection_id) as collection:
        row = Reindex.objects.filter(pk=reindex.pk, state=reindex.state).first()
        if row is None or _is_retired(row):
            raise ConflictError("Its vectors are retired already.")
        Reindex.objects.filter(pk=row.pk).update(retired_at=timezone.now(), updated_at=timezone.now())
        forget_model(collection, model)
        if collection.active_model_id == model.pk or collection.kept_models.filter(pk=model.pk).exists():
            raise ConflictError(f"The collection uses the vectors of {model}: by another re-index.")
        job = create_job(
            kind=RETIRE,
            queue=QUEUE,
            collection_id=collection.pk,
            parameters={"reindex": str(reindex.pk), "model": str(model)},
            items=1,
            api_key_id=api_key_id,
        )
        Reindex.objects.filter(pk=reindex.pk).update(job_id=job.pk)
    reindex.refresh_from_db()
    return reindex


def _is_retired(reindex: Reindex) -> bool:
    """Whether its vectors are gone, or will be: the job that removes them was neither cancelled nor did it fail."""
    if reindex.retired_at is None or reindex.job_id is None:
        return reindex.retired_at is not None
    return JobItem.objects.filter(job_id=reindex.job_id, state__in=[*OPEN_STATES, ItemState.DONE]).exists()


def remove_vectors(collection_id: UUID, model: EmbeddingModel) -> int:
    """Remove a collection's vectors by a model it neither uses nor keeps; answers how many. The index goes with the
    last collection's."""
    removed = 0
    for table in (PortraitEmbedding, DetectionEmbedding):
        rows = table.objects.filter(collection_id=collection_id, model=model)
        while ids := list(rows.order_by("pk").values_list("pk", flat=True)[:STEP]):
            if in_use(model, collection_id):
                return removed  # a new re-index to this very model began
            removed += table.objects.filter(pk__in=ids).delete()[0]
    retire_model(model)
    return removed


def in_use(model: EmbeddingModel, collection_id: UUID | None = None) -> bool:
    collections = Collection.objects.filter(Q(active_model=model) | Q(kept_models=model))
    if collection_id is not None:
        collections = collections.filter(pk=collection_id)
    return collections.exists()


def retire_model(model: EmbeddingModel) -> bool:
    """Note that no collection uses a model, and drop its indexes; not those of the network of new collections."""
    spec = embedder_spec()
    if in_use(model) or (model.name, model.version) == (spec.name, spec.version):
        return False
    if not drop_live_indexes(model, unless=lambda: in_use(model)):
        return False  # by a re-index that began meanwhile
    drop_index(exemplar_index_name(model))
    if in_use(model):
        return False  # it builds what it needs at its end
    EmbeddingModel.objects.filter(pk=model.pk).update(state=EmbeddingModel.State.RETIRED)
    return True
