"""The gallery's part of the API."""

from django.urls import path
from rest_framework.routers import SimpleRouter

from portrait.gallery.api.changes import ChangeViewSet
from portrait.gallery.api.collections import CollectionViewSet
from portrait.gallery.api.faces import DetectView, RecognizeView, VerifyView
from portrait.gallery.api.identities import IdentityViewSet
from portrait.gallery.api.identity_portraits import IdentityPortraitsView
from portrait.gallery.api.portraits import PortraitViewSet

router = SimpleRouter(trailing_slash=False)
router.register("changes", ChangeViewSet, basename="change")
router.register("collections", CollectionViewSet, basename="collection")
router.register("identities", IdentityViewSet, basename="identity")
router.register("portraits", PortraitViewSet, basename="portrait")

urlpatterns = [
    path("detect", DetectView.as_view()),
    path("verify", VerifyView.as_view()),
    path("recognize", RecognizeView.as_view()),
    path("identities/<str:identity>/portraits", IdentityPortraitsView.as_view()),
    *router.urls,
]
