"""Fixtures of the tests of re-indexing."""

from dataclasses import asdict

import numpy as np
import pytest

from portrait.core.pipelines import embedder_spec
from portrait.gallery.models import Collection, EmbeddingModel
from portrait.gallery.services.identities import default_embedding_model
from portrait.gallery.vectors import pack_projection
from portrait.reindex.models import Reindex, State
from portrait.reindex.services.filling import Wanted, fill


def make_projection(name: str = "tiny", dims: int = 120) -> EmbeddingModel:
    """A projection that was not learnt: the network's vectors along random orthogonal axes."""
    source = default_embedding_model()
    axes = np.linalg.qr(np.random.default_rng(3).normal(size=(source.dims, source.dims)))[0][:dims]
    return EmbeddingModel.objects.create(
        name=name,
        version="1",
        dims=dims,
        precision=EmbeddingModel.Precision.HALF,
        source=source,
        projection=pack_projection(np.zeros(source.dims, np.float32), axes.astype(np.float32)),
        calibration=asdict(embedder_spec().calibration),
    )


@pytest.fixture
def projection(db: None) -> EmbeddingModel:
    return make_projection()


def made_ready(collection: Collection, model: EmbeddingModel, **report: int) -> Reindex:
    """All vectors are there that can be; it waits to be switched."""
    collection.kept_models.add(model)
    fill(Wanted(collection.pk, model))
    return Reindex.objects.create(
        collection=collection, from_model=collection.active_model, to_model=model, state=State.READY, report=report
    )
