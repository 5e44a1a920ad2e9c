"""The partial HNSW index over the exemplars' vectors of each embedding model."""

from portrait.gallery.indexes import create_partial_index
from portrait.gallery.models import EmbeddingModel
from portrait.sightings.models import DetectionEmbedding


def create_exemplar_index(model: EmbeddingModel) -> None:
    """Create the index if it is not there."""
    create_partial_index(f"detectionembedding_hnsw_{model.pk}", DetectionEmbedding, model, only="exemplar")


def ensure_indexes() -> None:
    """The index of every model that is in use; safe to repeat."""
    for model in EmbeddingModel.objects.exclude(state=EmbeddingModel.State.RETIRED):
        create_exemplar_index(model)
