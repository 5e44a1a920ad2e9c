"""`/api/v1/cameras`."""

from typing import Any, cast

from django.db.models import QuerySet
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_field, extend_schema_view
from rest_framework import serializers, viewsets
from rest_framework.permissions import SAFE_METHODS
from rest_framework.serializers import BaseSerializer

from portrait.cameras.addresses import masked
from portrait.cameras.models import Camera, CaptureStatus
from portrait.cameras.selectors import find_camera, visible_cameras
from portrait.cameras.services import cameras
from portrait.cameras.services.backlog import with_backlog
from portrait.cameras.services.cameras import MAX_KEEP_H
from portrait.core.auth import principal_of
from portrait.core.errors import ConflictError
from portrait.core.models import Scope
from portrait.core.strict import StrictFilterSerializer, StrictSerializer
from portrait.gallery.models import Collection
from portrait.gallery.selectors import find_collection


class CaptureStatusSerializer(serializers.ModelSerializer[CaptureStatus]):
    """How the reading of a source goes: `manage.py watch_cameras` writes it."""

    class Meta:
        model = CaptureStatus
        fields = ["state", "since", "message", "heartbeat_at", "last_frame_at", "lag_s", "captured", "not_taken"]
        fields += ["restarts"]
        read_only_fields = fields


class WaitingSerializer(serializers.Serializer[Any]):
    """Accepted frames that are yet to be processed."""

    waiting = serializers.IntegerField()
    oldest_at = serializers.DateTimeField(allow_null=True)


class CameraSerializer(StrictSerializer, serializers.ModelSerializer[Camera]):
    """A source of frames. Passwords in `source` are shown as `***`; sent back so, they stay as they are."""

    collection = serializers.CharField(
        required=False, max_length=60, help_text="Name or id. A camera stays in its collection."
    )
    source = serializers.CharField(  # type: ignore[assignment]  # a field of that name, not the base's argument
        required=False, allow_blank=True, max_length=500, help_text=str(Camera._meta.get_field("source").help_text)
    )
    keep_frames_h = serializers.IntegerField(
        required=False, min_value=0, max_value=MAX_KEEP_H, help_text="Hours that frames' pictures are kept"
    )
    keep_unnamed_h = serializers.IntegerField(
        required=False,
        min_value=0,
        max_value=MAX_KEEP_H,
        help_text="Hours that faces and sightings of nobody known by name are kept",
    )
    keep_named_h = serializers.IntegerField(
        required=False,
        allow_null=True,
        min_value=0,
        max_value=MAX_KEEP_H,
        help_text="Hours that sightings of known people are kept; null: until deleted",
    )
    status = serializers.SerializerMethodField()
    backlog = serializers.SerializerMethodField()

    class Meta:
        model = Camera
        fields = [
            "id",
            "collection",
            "name",
            "source",
            "fps",
            "enabled",
            "min_hits",
            "window_s",
            "gap_s",
            "window_mode",
            "keep_frames_h",
            "keep_unnamed_h",
            "keep_named_h",
            "status",
            "backlog",
            "created_at",
            "updated_at",
        ]
        validators: list[Any] = []  # the database decides about uniqueness; the service says so

    @extend_schema_field(CaptureStatusSerializer(allow_null=True))
    def get_status(self, camera: Camera) -> Any:
        status = getattr(camera, "status", None)
        if status is None:
            return None
        told = dict(CaptureStatusSerializer(status).data)
        newest = getattr(camera, "newest_captured_at", None)  # pushed frames have no reader that notes it
        return told | {
            "last_frame_at": told["last_frame_at"] or (newest and serializers.DateTimeField().to_representation(newest))
        }

    @extend_schema_field(WaitingSerializer)
    def get_backlog(self, camera: Camera) -> Any:
        waiting, oldest = getattr(camera, "waiting_count", None), getattr(camera, "oldest_waiting", None)
        return WaitingSerializer({"waiting": waiting or 0, "oldest_at": oldest}).data

    def to_representation(self, instance: Camera) -> dict[str, Any]:
        return super().to_representation(instance) | {
            "collection": instance.collection.name,
            "source": masked(instance.source),
        }


class CameraFilterSerializer(StrictFilterSerializer):
    """Query parameters of the list."""

    collection = serializers.CharField(required=False, max_length=60, help_text="Name or id")
    name = serializers.CharField(required=False, max_length=60, help_text="The whole name")
    enabled = serializers.BooleanField(required=False, allow_null=True, default=None)


CAMERA_ID = OpenApiParameter("id", OpenApiTypes.UUID, OpenApiParameter.PATH)


@extend_schema_view(
    list=extend_schema(parameters=[CameraFilterSerializer]),
    retrieve=extend_schema(parameters=[CAMERA_ID]),
    partial_update=extend_schema(parameters=[CAMERA_ID]),
    destroy=extend_schema(
        parameters=[CAMERA_ID],
        description="Delete a camera with its frames, pictures and sightings.\n\nWith millions of frames this takes "
        "minutes; a call that was cut off may be sent again.",
    ),
)
class CameraViewSet(viewsets.ModelViewSet[Camera]):
    """Cameras: where frames come from, and what makes a sighting of them."""

    queryset = Camera.objects.none()
    serializer_class = CameraSerializer
    http_method_names = ["get", "head", "options", "post", "patch", "delete"]
    required_scopes = {"GET": Scope.READ, "HEAD": Scope.READ, "OPTIONS": Scope.READ}

    @property
    def for_cameras(self) -> bool:
        """A key that is bound to cameras looks at these; it sets nothing up."""
        return str(self.request.method) in SAFE_METHODS

    def get_queryset(self) -> "QuerySet[Camera]":
        principal = principal_of(self.request)
        found = with_backlog(visible_cameras(principal))
        if self.action != "list":
            return found
        serializer = CameraFilterSerializer(data=self.request.query_params)
        serializer.is_valid(raise_exception=True)
        asked = {name: value for name, value in serializer.validated_data.items() if value is not None}
        if "collection" in asked:
            asked["collection"] = find_collection(principal, asked["collection"])
        return found.filter(**asked)

    def get_object(self) -> Camera:
        camera = find_camera(principal_of(self.request), self.kwargs["pk"])
        return camera if self.action == "destroy" else self.get_queryset().get(pk=camera.pk)

    def perform_create(self, serializer: BaseSerializer[Camera]) -> None:
        values = dict(serializer.validated_data)
        collection = find_collection(principal_of(self.request), values.pop("collection", None))
        serializer.instance = cameras.create_camera(collection=collection, **values)

    def perform_update(self, serializer: BaseSerializer[Camera]) -> None:
        values, camera = dict(serializer.validated_data), cast(Camera, serializer.instance)
        if "collection" in values:
            self._require_same(camera, find_collection(principal_of(self.request), values.pop("collection")))
        cameras.update_camera(camera=camera, **values)
        serializer.instance = self.get_queryset().get(pk=camera.pk)

    @staticmethod
    def _require_same(camera: Camera, collection: Collection) -> None:
        if collection.pk != camera.collection_id:
            raise ConflictError(
                "A camera stays in its collection: make another camera in the other one.", field="collection"
            )

    def perform_destroy(self, instance: Camera) -> None:
        cameras.delete_camera(camera=instance)
