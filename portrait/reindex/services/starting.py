"""A re-index begins: faces that come get the new vectors from now on, and a job makes those of all that are there."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db import IntegrityError
from django.db.models import F, QuerySet, Window
from django.db.models.functions import RowNumber
from django.utils import timezone

from inference.errors import ModelNotInstalledError
from portrait.core.errors import ConflictError, NotFoundError, PortraitError
from portrait.core.pipelines import embedder_specs, inference_client
from portrait.gallery.models import Collection, EmbeddingModel
from portrait.gallery.services.spaces import change_models
from portrait.gallery.vectors import network_of
from portrait.jobs.models import ItemState, Job, JobItem
from portrait.jobs.services import create_job
from portrait.reindex import gaps
from portrait.reindex.models import OPEN, Chunk, Reindex, State

REINDEX, QUEUE = "reindex", "reindex"
PICTURES_A_CHUNK, VECTORS_A_CHUNK = 64, 2000
MOST_CHUNKS = 4000
HELD_BACK = timedelta(days=365)
"""The last item waits for the others; whoever does the last of these lets it go."""


class UnusableModelError(PortraitError):
    """The model cannot be used for this collection."""

    code = "unusable_model"


def find_model(name: str, version: str | None = None) -> EmbeddingModel:
    """An embedding model by name; the newest version unless one is named (also as `name@version`).

    Raises:
        NotFoundError: there is none.
    """
    wanted, _, told = name.partition("@")
    rows = EmbeddingModel.objects.filter(name=wanted)
    if version or told:
        rows = rows.filter(version=version or told)
    found = rows.order_by("-pk").first()
    if found is None:
        raise NotFoundError(f"There is no embedding model {name!r}: GET /api/v1/embedding-models.", field="model")
    return found


def start(
    *,
    collection: Collection,
    model: EmbeddingModel,
    from_pictures: bool = False,
    switch_itself: bool = True,
    api_key_id: UUID | None = None,
) -> Reindex:
    """Begin to give a collection the vectors of a model; the caller enqueues its job (`tasks.enqueue`).

    Raises:
        ConflictError: it is searched by this model already, or another re-index of it is open.
        UnusableModelError: the network behind the model is not there.
    """
    settle(collection.pk)
    _check_network(collection, model, from_pictures)
    try:
        # All vectors that were stored by the old rule are committed by now, so that the plan sees their faces.
        with change_models(collection.pk) as row:
            if row.active_model_id == model.pk:
                raise ConflictError(f"The collection is searched by {model} already.", field="model")
            reindex = Reindex.objects.create(
                collection=row,
                from_model=row.active_model,
                to_model=model,
                from_pictures=from_pictures,
                switch_itself=switch_itself,
                from_threshold=row.threshold,
            )
            if model.state == EmbeddingModel.State.RETIRED:
                EmbeddingModel.objects.filter(pk=model.pk).update(state=EmbeddingModel.State.BUILDING)
            row.kept_models.add(model)
            _plan(reindex, api_key_id)
    except IntegrityError:
        raise ConflictError("Another re-index of this collection is open: wait for it, or cancel its job.") from None
    return reindex


def _check_network(collection: Collection, model: EmbeddingModel, from_pictures: bool) -> None:
    name = network_of(model)
    spec = embedder_specs().get(name)
    source = model.source or model
    if spec is None or spec.version != source.version or spec.dims != source.dims:
        raise UnusableModelError(
            f"{model} needs the network {name!r} {source.version}, which this installation does not have.",
            field="model",
        )
    needs_it = from_pictures or name != network_of(collection.active_model)
    if needs_it and not inference_client().ready(name):
        raise UnusableModelError(str(ModelNotInstalledError(f"the network {name!r} is not loaded")), field="model")


def _plan(reindex: Reindex, api_key_id: UUID | None) -> None:
    """Chunks of both tables, an item of the job each, and one at the end that checks and switches."""
    slow = reindex.from_pictures or network_of(reindex.to_model) != network_of(reindex.from_model)
    size = PICTURES_A_CHUNK if slow else VECTORS_A_CHUNK
    chunks = [
        Chunk(reindex=reindex, table=table, first=first, after=after, rows=rows)
        for table, ids in (
            (Chunk.Table.PORTRAITS, gaps.portraits_without(reindex.collection_id, reindex.to_model)),
            (Chunk.Table.DETECTIONS, gaps.detections_without(reindex.collection_id, reindex.to_model)),
        )
        for first, after, rows in _stretches(ids, size)
    ]
    for index, chunk in enumerate(chunks):
        chunk.index = index
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


def settle(collection_id: UUID | None = None) -> None:
    """Note the end of re-indexes whose job was cancelled, or failed: their collection is free for another one."""
    rows = Reindex.objects.filter(state__in=OPEN)
    if collection_id is not None:
        rows = rows.filter(collection_id=collection_id)
    for reindex in rows:
        job = Job.objects.filter(pk=reindex.job_id).first() if reindex.job_id else None
        if job is None:
            if reindex.state != State.READY:  # jobs that ended long ago are removed
                end(reindex, State.CANCELLED)
        elif job.cancelled_at is not None:
            if not job.items.filter(state=ItemState.RUNNING).exists():
                end(reindex, State.CANCELLED)
        elif reindex.state != State.READY and job.finished_at is not None:
            last = job.items.order_by("-index").first()
            end(reindex, State.FAILED, last.error_message if last is not None else "its job ended")


def end(reindex: Reindex, state: State, error: str = "") -> None:
    """End an open re-index without a switch: the collection does not get further vectors of the model. Those that are
    there stay, a next try goes on with them, until they are retired."""
    with change_models(reindex.collection_id) as collection:
        ended = Reindex.objects.filter(pk=reindex.pk, state__in=OPEN)
        if ended.update(state=state, error=error, updated_at=timezone.now()):
            forget_model(collection, reindex.to_model)


def forget_model(collection: Collection, model: EmbeddingModel) -> None:
    """The collection's faces get no further vectors of a model, unless something else needs them."""
    needed = Reindex.objects.filter(collection=collection, retired_at=None).filter(
        state__in=[*OPEN, State.SWITCHED, State.ROLLED_BACK]
    )
    wanted = {key for pair in needed.values_list("from_model", "to_model") for key in pair}
    if model.pk not in wanted and model.pk != collection.active_model_id:
        collection.kept_models.remove(model)
