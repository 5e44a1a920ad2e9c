"""Suggestions' part of the API."""

from rest_framework.routers import SimpleRouter

from portrait.curation.api.suggestions import SuggestionViewSet

router = SimpleRouter(trailing_slash=False)
router.register("suggestions", SuggestionViewSet, basename="suggestion")
urlpatterns = router.urls
