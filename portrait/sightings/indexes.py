"""The partial HNSW index over the exemplars' vectors of each embedding model."""

from portrait.gallery.indexes import build_partial_index, create_partial_index
from portrait.gallery.models import EmbeddingModel
from portrait.sightings.models import DetectionEmbedding


def exemplar_index_name(model: EmbeddingModel) -> str:
    return f"detectionembedding_hnsw_{model.pk}"


def create_exemplar_index(model: EmbeddingModel) -> None:
    """Create the index if it is not there."""
    create_partial_index(exemplar_index_name(model), DetectionEmbedding, model, only="exemplar")


def build_exemplar_index(model: EmbeddingModel) -> None:
    """As `create_exemplar_index`, while everybody goes on reading and writing."""
    build_partial_index(exemplar_index_name(model), DetectionEmbedding, model, only="exemplar")


def ensure_indexes() -> None:
    """The index of every model that is in use; safe to repeat. One that is being built gets its own by its job."""
    for model in EmbeddingModel.objects.filter(state=EmbeddingModel.State.ACTIVE):
        create_exemplar_index(model)
