"""`/api/v1/frames`: frames of cameras, and what was found in them."""

from typing import Any

from django.db.models import QuerySet
from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_field, extend_schema_view
from rest_framework import mixins, serializers, viewsets
from rest_framework.decorators import action
from rest_framework.request import Request

from portrait.cameras.models import Frame, FrameState
from portrait.cameras.selectors import visible_frames
from portrait.core.auth import principal_of
from portrait.core.models import Scope
from portrait.core.pagination import NewestFirstPagination
from portrait.gallery.api.enrol import ProblemSerializer
from portrait.gallery.selectors import find_collection
from portrait.sightings.api.shapes import (
    BoxField,
    CameraRefSerializer,
    IdentityRefSerializer,
    SimilarityField,
    TimeFilterSerializer,
    asked_of,
    jpeg_answer,
)
from portrait.sightings.models import Detection
from portrait.sightings.selectors import faces_of_frame, find_cameras
from portrait.sightings.services import pictures

FRAME_ID = OpenApiParameter("id", OpenApiTypes.INT, OpenApiParameter.PATH)
JPEG = {(200, "image/jpeg"): OpenApiTypes.BINARY}


class FrameFilterSerializer(TimeFilterSerializer):
    """Query parameters of the list; times are capture times."""

    state = serializers.ChoiceField(required=False, choices=FrameState.choices)


class DetectionSerializer(serializers.Serializer[Detection]):
    """A face in a frame. `track`: the same face over neighbouring frames has the same number."""

    id = serializers.IntegerField()
    box = BoxField()
    score = serializers.FloatField()
    landmarks = serializers.DictField(child=serializers.ListField(child=serializers.FloatField()), allow_null=True)
    quality = serializers.DictField()
    identity = IdentityRefSerializer(allow_null=True)
    similarity = SimilarityField(allow_null=True)
    track = serializers.IntegerField(source="track_id", allow_null=True)


class CapturedFrameSerializer(serializers.Serializer[Frame]):
    """A frame that a camera took. `error`: why it failed, or why its picture is no longer kept."""

    id = serializers.IntegerField()
    camera = CameraRefSerializer()
    sequence = serializers.IntegerField()
    captured_at = serializers.DateTimeField()
    accepted_at = serializers.DateTimeField()
    finished_at = serializers.DateTimeField(allow_null=True)
    state = serializers.ChoiceField(choices=FrameState.choices)
    attempts = serializers.IntegerField()
    error = serializers.SerializerMethodField()
    width = serializers.IntegerField()
    height = serializers.IntegerField()
    metadata = serializers.JSONField()

    @extend_schema_field(ProblemSerializer(allow_null=True))
    def get_error(self, frame: Frame) -> dict[str, str] | None:
        return {"code": frame.error_code, "message": frame.error_message} if frame.error_code else None


class CapturedFrameDetailSerializer(CapturedFrameSerializer):
    detections = serializers.SerializerMethodField()

    @extend_schema_field(DetectionSerializer(many=True))
    def get_detections(self, frame: Frame) -> Any:
        return [DetectionSerializer(face).data for face in faces_of_frame(frame.pk)]


class FramePagination(NewestFirstPagination):
    """Newest first, in the order of acceptance."""

    ordering = ("-id",)  # type: ignore[assignment]  # the base names two


@extend_schema_view(
    list=extend_schema(parameters=[FrameFilterSerializer], responses=CapturedFrameSerializer(many=True)),
    retrieve=extend_schema(parameters=[FRAME_ID], responses=CapturedFrameDetailSerializer),
)
class FrameViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet[Frame]):
    """Frames of cameras, and what was found in them."""

    queryset = Frame.objects.none()
    serializer_class = CapturedFrameSerializer
    pagination_class = FramePagination
    for_cameras = True
    required_scopes = {"GET": Scope.READ, "HEAD": Scope.READ, "OPTIONS": Scope.READ}

    def get_queryset(self) -> "QuerySet[Frame]":
        principal = principal_of(self.request)
        frames = visible_frames(principal)
        if self.action != "list":
            return frames
        asked = asked_of(self.request, FrameFilterSerializer)
        collection = find_collection(principal, asked["collection"]) if "collection" in asked else None
        lookups: dict[str, Any] = {
            "camera__collection": collection,
            "camera__in": find_cameras(principal, asked.get("camera", ()), collection) or None,
            "state": asked.get("state"),
            "captured_at__gte": asked.get("since"),
            "captured_at__lte": asked.get("until"),
        }
        return frames.filter(**{lookup: value for lookup, value in lookups.items() if value is not None})

    def get_serializer_class(self) -> type[CapturedFrameSerializer]:
        return CapturedFrameDetailSerializer if self.action == "retrieve" else CapturedFrameSerializer

    @extend_schema(parameters=[FRAME_ID], responses=JPEG)
    @action(detail=True)
    def picture(self, request: Request, pk: str) -> HttpResponse:
        """The frame's picture, as JPEG. 410 `expired` once it is no longer kept."""
        return jpeg_answer(pictures.frame_bytes(self.get_object()))

    @extend_schema(parameters=[FRAME_ID], responses=JPEG)
    @action(detail=True)
    def annotated(self, request: Request, pk: str) -> HttpResponse:
        """The frame's picture with every face's box and name, as JPEG. 410 `expired` once it is no longer kept."""
        return jpeg_answer(pictures.annotated(self.get_object()))
