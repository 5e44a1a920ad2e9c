"""Re-indexing's part of the API."""

from django.urls import path
from rest_framework.routers import SimpleRouter

from portrait.reindex.api import EmbeddingModelsView, ReindexViewSet

router = SimpleRouter(trailing_slash=False)
router.register("reindexes", ReindexViewSet, basename="reindex")

urlpatterns = [path("embedding-models", EmbeddingModelsView.as_view()), *router.urls]
