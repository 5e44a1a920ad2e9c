"""A smaller embedding model is learnt from the faces of a collection."""

from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID, uuid4

import numpy as np
from django.db import IntegrityError, transaction
from django.db.models import ProtectedError, Q
from numpy.typing import NDArray

from portrait.core.errors import ConflictError, PortraitError
from portrait.gallery.indexes import drop_index, drop_live_indexes
from portrait.gallery.models import Collection, EmbeddingModel, PortraitEmbedding
from portrait.gallery.vectors import as_array, own_calibration, pack_projection, project
from portrait.reindex import pca
from portrait.sightings.indexes import exemplar_index_name

SAMPLE, A_PERSON = 20_000, 20
"""Portraits that are read, and of one person used, at most."""
LEAST_VECTORS, LEAST_PEOPLE = 500, 50
HELD_OUT = 0.2
"""The share of people whom the components and the curve are not learnt from: on them it is measured."""
GENUINE, IMPOSTOR = 50_000, 200_000
SAVE_TRIES = 5


class TooLittleDataError(PortraitError):
    """The collection is too small to learn from."""

    code = "too_little_data"
    status = 409


@dataclass(frozen=True, slots=True)
class Sample:
    """vectors: float32 (n, source's dims); people: int (n,); held_out: bool (n,)."""

    vectors: NDArray[np.float32]
    people: NDArray[np.int64]
    held_out: NDArray[np.bool_]


def learn(*, collection: Collection, dims: int, half: bool, name: str | None = None) -> EmbeddingModel:
    """A new model: the `dims` principal components of the vectors that the collection's network made, with a similarity
    curve of its own. What it costs is measured on people whom it was not learnt from (`report`).

    Only the mean, the components and two numbers of the curve are kept: nobody's vector can be had from them.

    Raises:
        TooLittleDataError: fewer than `LEAST_VECTORS` of `LEAST_PEOPLE` people with two portraits.
        PortraitError: no such number of dimensions.
    """
    source = collection.active_model.source or collection.active_model
    if not 2 <= dims < source.dims:
        raise PortraitError(f"dims: from 2 to {source.dims - 1}, as {source} has {source.dims}.", field="dims")
    random = np.random.default_rng(0)
    sample = sample_of(collection.pk, source, random)
    found = pca.principal_components(sample.vectors[~sample.held_out], dims)
    made = EmbeddingModel(
        name=name or f"{source.name}-pca{dims}{'h' if half else ''}",
        dims=dims,
        precision=EmbeddingModel.Precision.HALF if half else EmbeddingModel.Precision.SINGLE,
        source=source,
        projection=pack_projection(found.mean, found.axes),
    )
    after = _as_stored(made, np.asarray((sample.vectors - found.mean) @ found.axes.T, dtype=np.float32))
    made.calibration, method = _calibrate(source, sample, after, random)
    made.report = {
        "learnt_from": {"vectors": len(sample.people), "people": _people(sample.people)},
        "explained_variance": round(found.explained, 4),
        "curve": method,
        "bytes_a_vector": {"source": bytes_of(source), "here": bytes_of(made)},
        "held_out": measured(source, made, sample, after, random),
    }
    _save(made)
    return made


def _save(made: EmbeddingModel) -> None:
    """As the next version of its name, whoever else learns one at this moment."""
    for left in reversed(range(SAVE_TRIES)):
        versions = EmbeddingModel.objects.filter(name=made.name).values_list("version", flat=True)
        made.version = str(1 + max((int(each) for each in versions if each.isdecimal()), default=0))
        try:
            with transaction.atomic():
                made.save()
        except IntegrityError:
            if not left:
                raise
        else:
            return


def unlearn(model: EmbeddingModel) -> None:
    """Remove a learnt model that was never used.

    Raises:
        ConflictError: it is a network, or collections were, are or will be searched by it.
    """
    if model.source_id is None:
        raise ConflictError(f"{model} is a network, not a learnt model.")
    told = f"{model} was used: a re-index names it. Its vectors go by `reindex --retire`; its row stays for the record."
    if Collection.objects.filter(Q(active_model=model) | Q(kept_models=model)).exists():
        raise ConflictError(told)
    key = model.pk
    try:
        with transaction.atomic():
            model.delete()
    except (ProtectedError, IntegrityError):  # a re-index began at this moment
        raise ConflictError(told) from None
    model.pk = key  # of a re-index whose collection is gone
    drop_live_indexes(model)
    drop_index(exemplar_index_name(model))


def bytes_of(model: EmbeddingModel) -> int:
    """What PostgreSQL stores for one vector of a model."""
    return 8 + model.dims * (2 if model.precision == EmbeddingModel.Precision.HALF else 4)


def sample_of(collection_id: UUID, source: EmbeddingModel, random: np.random.Generator) -> Sample:
    """A bounded sample of live portraits: ids of portraits are random, so that any stretch of them is one.

    Raises:
        TooLittleDataError: it is too small.
    """
    rows = PortraitEmbedding.objects.filter(collection_id=collection_id, model=source, live=True)
    columns = ("identity_id", "vector", "half")
    begin = uuid4()
    found = list(rows.filter(portrait_id__gte=begin).order_by("portrait_id").values_list(*columns)[:SAMPLE])
    found += rows.filter(portrait_id__lt=begin).order_by("portrait_id").values_list(*columns)[: SAMPLE - len(found)]
    by_person: dict[UUID, list[Any]] = {}
    for identity_id, vector, other in found:
        by_person.setdefault(identity_id, []).append(vector if vector is not None else other)
    groups = [group[:A_PERSON] for _, group in sorted(by_person.items()) if len(group) > 1]
    count = sum(map(len, groups))
    if count < LEAST_VECTORS or len(groups) < LEAST_PEOPLE:
        raise TooLittleDataError(
            f"There are {count} portraits of {len(groups)} people with two or more: at least {LEAST_VECTORS} of "
            f"{LEAST_PEOPLE} people are needed, else it would be learnt by heart.",
            field="collection",
        )
    people = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    held = random.choice(len(groups), max(2, round(HELD_OUT * len(groups))), replace=False)
    vectors = np.stack([as_array(value) for group in groups for value in group])
    return Sample(vectors, people, np.isin(people, held))


def _people(people: NDArray[np.int64]) -> int:
    return len(np.unique(people))


def _as_stored(model: EmbeddingModel, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    half = model.precision == EmbeddingModel.Precision.HALF
    return vectors.astype(np.float16).astype(np.float32) if half else vectors.astype(np.float32)


def _calibrate(
    source: EmbeddingModel, sample: Sample, after: NDArray[np.float32], random: np.random.Generator
) -> tuple[dict[str, float], str]:
    """The curve, by whichever of two ways leaves more decisions as they are: fitted to what the source says of pairs,
    or to who they are."""
    known = ~sample.held_out
    pairs = pca.pairs_of(sample.people[known], random, genuine=GENUINE, impostor=IMPOSTOR)
    before = pca.similarities(own_calibration(source), pairs.distances(sample.vectors[known]))
    distances, weights = pairs.distances(after[known]), pca.balanced(pairs.same)
    ways = {
        "fitted to the source's similarities": pca.fitted(distances, before, weights),
        "fitted to who they are": pca.fitted(distances, pairs.same.astype(np.float64), weights),
    }
    kept = {way: pca.same_decisions(before, pca.similarities(curve, distances)) for way, curve in ways.items()}
    best = max(kept, key=lambda way: kept[way])
    return asdict(ways[best]), best


def measured(
    source: EmbeddingModel,
    model: EmbeddingModel,
    sample: Sample,
    after: NDArray[np.float32],
    random: np.random.Generator,
) -> dict[str, Any]:
    """Both models on the people who were held out: identity@1 among all of the sample, the share of one person's pairs
    accepted where one of 1,000 pairs of two people is, and how often both decide alike."""
    held = np.flatnonzero(sample.held_out)
    pairs = pca.pairs_of(sample.people[held], random, genuine=GENUINE, impostor=IMPOSTOR)
    distances = {"source": pairs.distances(sample.vectors[held]), "here": pairs.distances(after[held])}
    told = {
        "source": pca.similarities(own_calibration(source), distances["source"]),
        "here": pca.similarities(own_calibration(model), distances["here"]),
    }
    vectors = {"source": sample.vectors, "here": after}
    return {
        "people": _people(sample.people[held]),
        "vectors": len(held),
        "genuine_pairs": int(pairs.same.sum()),
        "impostor_pairs": int((~pairs.same).sum()),
        "identity_at_1": {side: round(pca.first_is_right(held, vectors[side], sample.people), 4) for side in vectors},
        "tar_at_far_0.001": {
            side: round(pca.true_accept_rate(values, pairs.same), 4) for side, values in distances.items()
        },
        "same_decisions": round(pca.same_decisions(told["source"], told["here"]), 5),
    }


def projected(model: EmbeddingModel, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """As they are stored."""
    return _as_stored(model, project(model, vectors))
