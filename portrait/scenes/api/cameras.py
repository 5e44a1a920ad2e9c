"""`/api/v1/cameras/{id}/scenes`: whether and how often a camera's frames are described."""

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from portrait.cameras.selectors import find_camera
from portrait.core.auth import principal_of
from portrait.core.models import Scope
from portrait.core.strict import StrictSerializer
from portrait.scenes.api.shapes import FiniteField
from portrait.scenes.models import MODEL_CHARS
from portrait.scenes.selectors import scenes_of
from portrait.scenes.services import cameras

CAMERA_ID = OpenApiParameter("id", OpenApiTypes.UUID, OpenApiParameter.PATH)


class CameraScenesSerializer(StrictSerializer):
    """Frames of a camera that are described: of each `every_s` seconds of capture time one at most."""

    caption_model = serializers.CharField(
        default="",
        allow_blank=True,
        max_length=MODEL_CHARS,
        help_text="A model's name, `default`, or `describe` for a sentence by rules; empty: no captions",
    )
    segment_model = serializers.CharField(
        default="",
        allow_blank=True,
        max_length=MODEL_CHARS,
        help_text="A model's name or `default`; empty: no objects",
    )
    every_s = FiniteField(default=10.0, min_value=0.1, max_value=86400)
    skipped = serializers.IntegerField(
        read_only=True, help_text="Frames that were due and left out, as too much work waited"
    )


class CameraScenesView(APIView):
    """Whether and how often a camera's frames are described."""

    required_scopes = {"GET": Scope.READ, "HEAD": Scope.READ, "OPTIONS": Scope.READ}

    @property
    def for_cameras(self) -> bool:
        """A key that is bound to cameras looks at these; it sets nothing up."""
        return str(self.request.method) in SAFE_METHODS

    @extend_schema(operation_id="cameras_scenes", parameters=[CAMERA_ID], responses=CameraScenesSerializer)
    def get(self, request: Request, id: str) -> Response:
        """Whether and how often a camera's frames are described."""
        return Response(CameraScenesSerializer(scenes_of(find_camera(principal_of(request), id))).data)

    @extend_schema(
        operation_id="cameras_scenes_set",
        parameters=[CAMERA_ID],
        request=CameraScenesSerializer,
        responses=CameraScenesSerializer,
    )
    def put(self, request: Request, id: str) -> Response:
        """Say whether and how often a camera's frames are described."""
        camera = find_camera(principal_of(request), id)
        serializer = CameraScenesSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        asked: dict[str, Any] = dict(serializer.validated_data)
        return Response(CameraScenesSerializer(cameras.set_scenes(camera=camera, **asked)).data)
