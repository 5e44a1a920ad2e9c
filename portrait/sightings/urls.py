"""The sightings' part of the API."""

from django.urls import path
from rest_framework.routers import SimpleRouter

from portrait.sightings.api.alerts import AlertViewSet
from portrait.sightings.api.editing import MergeView, NamingView, RejectView, SightingMoveView, SplitView
from portrait.sightings.api.frames import FrameViewSet
from portrait.sightings.api.search import SearchView
from portrait.sightings.api.sightings import SightingViewSet
from portrait.sightings.api.watches import WatchViewSet

router = SimpleRouter(trailing_slash=False)
router.register("sightings", SightingViewSet, basename="sighting")
router.register("frames", FrameViewSet, basename="frame")
router.register("watches", WatchViewSet, basename="watch")
router.register("alerts", AlertViewSet, basename="alert")

urlpatterns = [
    path("search", SearchView.as_view()),
    path("identities/<str:identity>/merge", MergeView.as_view()),
    path("identities/<str:identity>/split", SplitView.as_view()),
    path("identities/<str:identity>/reject", RejectView.as_view()),
    path("identities/<str:identity>/naming", NamingView.as_view()),
    path("sightings/<str:sighting>/move", SightingMoveView.as_view()),
    *router.urls,
]
