"""The cameras' part of the API."""

from django.urls import path
from rest_framework.routers import SimpleRouter

from portrait.cameras.api.backlog import BacklogView, MetricsView
from portrait.cameras.api.cameras import CameraViewSet
from portrait.cameras.api.frames import FramesView

router = SimpleRouter(trailing_slash=False)
router.register("cameras", CameraViewSet, basename="camera")

urlpatterns = [
    path("cameras/<str:camera>/frames", FramesView.as_view()),
    path("backlog", BacklogView.as_view()),
    path("metrics", MetricsView.as_view()),
    *router.urls,
]
