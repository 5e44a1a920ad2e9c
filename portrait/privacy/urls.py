"""Addresses of people's rights in their data."""

from django.urls import path
from rest_framework.routers import SimpleRouter

from portrait.privacy.api.rules import RetentionRuleViewSet
from portrait.privacy.api.subjects import (
    EraseView,
    ErasureProofViewSet,
    ExportSubjectView,
    KeyView,
    SubjectExportViewSet,
)

router = SimpleRouter(trailing_slash=False)
router.register("subject-exports", SubjectExportViewSet, basename="subject-export")
router.register("erasure-proofs", ErasureProofViewSet, basename="erasure-proof")
router.register("retention-rules", RetentionRuleViewSet, basename="retention-rule")

urlpatterns = [
    path("identities/<str:identity>/export", ExportSubjectView.as_view()),
    path("identities/<str:identity>/erase", EraseView.as_view()),
    path("privacy/key", KeyView.as_view()),
    *router.urls,
]
