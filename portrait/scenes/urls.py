"""The scenes' part of the API."""

from django.urls import path

from portrait.scenes.api.cameras import CameraScenesView
from portrait.scenes.api.caption import CaptionView
from portrait.scenes.api.models import EnginesView, LoadEngineView, UnloadEngineView
from portrait.scenes.api.search import CaptionListView, ObjectListView
from portrait.scenes.api.segment import SegmentView
from portrait.scenes.api.stored import FrameSceneView, PortraitSceneView

urlpatterns = [
    path("caption", CaptionView.as_view()),
    path("segment", SegmentView.as_view()),
    path("captions", CaptionListView.as_view()),
    path("objects", ObjectListView.as_view()),
    path("frames/<str:id>/scene", FrameSceneView.as_view(), name="frame-scene"),
    path("portraits/<str:id>/scene", PortraitSceneView.as_view(), name="portrait-scene"),
    path("cameras/<str:id>/scenes", CameraScenesView.as_view()),
    path("models", EnginesView.as_view()),
    path("models/<str:name>/load", LoadEngineView.as_view()),
    path("models/<str:name>/unload", UnloadEngineView.as_view()),
]
