"""`/api/v1/identities/{id}/portraits`: the portraits of one person."""

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import generics
from rest_framework.request import Request
from rest_framework.response import Response

from portrait.core.auth import principal_of
from portrait.core.models import Scope
from portrait.core.pictures import PICTURE_PARSERS, picture_request
from portrait.gallery.api import enrol
from portrait.gallery.api.portraits import PortraitSerializer
from portrait.gallery.models import Portrait
from portrait.gallery.selectors import find_identity, visible_portraits


class IdentityPortraitsView(generics.ListAPIView[Portrait]):
    """The portraits of one person, and enrolment of more."""

    queryset = Portrait.objects.none()
    serializer_class = PortraitSerializer
    parser_classes = PICTURE_PARSERS
    required_scopes = {"GET": Scope.READ, "HEAD": Scope.READ, "OPTIONS": Scope.READ, "POST": Scope.ENROL}

    def get_queryset(self) -> "QuerySet[Portrait]":
        principal = principal_of(self.request)
        identity = find_identity(principal, self.kwargs["identity"])
        return visible_portraits(principal).filter(identity=identity)

    @extend_schema(
        operation_id="enrol",
        request=picture_request(enrol.PortraitsRequestSerializer),
        responses={201: enrol.EnrolAnswerSerializer, 202: enrol.JobAnswerSerializer},
    )
    def post(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Enrol one or many pictures; with `async` through the queue, answered by a job."""
        identity = find_identity(principal_of(request), kwargs["identity"])
        serializer = enrol.PortraitsRequestSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        return enrol.enrol(identity=identity, principal=principal_of(request), asked=serializer.validated_data)
