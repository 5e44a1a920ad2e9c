"""A re-index begins: faces that come get the new vectors from now on, and a job makes those of all that are there."""

from uuid import UUID

from django.db import IntegrityError

from inference.errors import ModelNotInstalledError
from portrait.core.errors import ConflictError, NotFoundError, PortraitError
from portrait.core.pipelines import embedder_specs, inference_client
from portrait.gallery.models import Collection, EmbeddingModel
from portrait.gallery.services.spaces import change_models
from portrait.gallery.vectors import network_of
from portrait.reindex.models import Reindex, State
from portrait.reindex.services.ending import end, settle
from portrait.reindex.services.planning import needs_pictures, plan


class UnusableModelError(PortraitError):
    """The model cannot be used for this collection."""

    code = "unusable_model"


def find_model(name: str, version: str | None = None) -> EmbeddingModel:
    """An embedding model by name; the newest version unless one is named (also as `name@version`). Of learnt models it
    has to be named where there are several: the newest may be learnt from another collection.

    Raises:
        NotFoundError: there is none.
        UnusableModelError: there are several.
    """
    wanted, _, told = name.partition("@")
    rows = EmbeddingModel.objects.filter(name=wanted).order_by("-pk")
    if version or told:
        rows = rows.filter(version=version or told)
    found = list(rows)
    if not found:
        raise NotFoundError(f"There is no embedding model {name!r}: GET /api/v1/embedding-models.", field="model")
    if len(found) > 1 and found[0].source_id is not None:
        names = ", ".join(f"{each.name}@{each.version}" for each in found)
        raise UnusableModelError(f"Several models were learnt by this name: say which ({names}).", field="model")
    return found[0]


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
        QueueFullError: the collection has too much work waiting already.
    """
    reindex = begin(collection=collection, model=model, from_pictures=from_pictures, switch_itself=switch_itself)
    make_plan(reindex, api_key_id=api_key_id)
    return reindex


def begin(
    *, collection: Collection, model: EmbeddingModel, from_pictures: bool = False, switch_itself: bool = True
) -> Reindex:
    """The short half of `start`: from its commit on, faces that come get vectors of the model. `make_plan` has to
    follow, after the commit."""
    settle([collection.pk])
    _check_network(model, needed=needs_pictures(collection, model, from_pictures=from_pictures))
    try:
        # All vectors that were stored by the old rule are committed by now, and later ones are by the new rule too: the
        # plan, which reads all of the collection, sees whatever lacks one, and nobody waits for it.
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
    except IntegrityError:
        raise ConflictError(
            "Another re-index of this collection is open: wait for it, cancel its job, or abandon it if it is ready."
        ) from None
    return reindex


def make_plan(reindex: Reindex, *, api_key_id: UUID | None = None) -> None:
    """The long half of `start`; without it the re-index is ended.

    Raises:
        QueueFullError: as `start`.
    """
    try:
        plan(reindex, api_key_id=api_key_id)
    except PortraitError as error:
        end(reindex, State.FAILED, error.message)
        raise


def _check_network(model: EmbeddingModel, *, needed: bool) -> None:
    name = network_of(model)
    spec = embedder_specs().get(name)
    source = model.source or model
    if spec is None or spec.version != source.version or spec.dims != source.dims:
        raise UnusableModelError(
            f"{model} needs the network {name!r} {source.version}, which this installation does not have.",
            field="model",
        )
    if needed and not inference_client().ready(name):
        raise UnusableModelError(str(ModelNotInstalledError(f"the network {name!r} is not loaded")), field="model")
