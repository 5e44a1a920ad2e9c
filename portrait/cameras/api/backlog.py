"""`/api/v1/backlog` and `/api/v1/metrics`: what waits, and how capture goes, for programs that watch."""

from typing import Any

from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from rest_framework import serializers
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from portrait.cameras import disk
from portrait.cameras.metrics import FrameMetrics
from portrait.cameras.models import Camera
from portrait.cameras.selectors import visible_cameras
from portrait.cameras.services.backlog import Backlog, backlogs, total
from portrait.core.auth import principal_of
from portrait.core.models import Scope


class BacklogSerializer(serializers.Serializer[Any]):
    """Accepted frames that are yet to be processed. Rates are frames a second over the last minute."""

    waiting = serializers.IntegerField()
    oldest_at = serializers.DateTimeField(allow_null=True)
    oldest_age_s = serializers.FloatField()
    waiting_bytes = serializers.IntegerField()
    failed = serializers.IntegerField(help_text="Frames that `manage.py frames retry` would do again")
    accepted_per_s = serializers.FloatField()
    done_per_s = serializers.FloatField()
    failed_per_s = serializers.FloatField()
    drain_s = serializers.FloatField(allow_null=True, help_text="Until nothing waits at this pace; null: never")


class CameraBacklogSerializer(BacklogSerializer):
    camera = serializers.UUIDField()
    name = serializers.CharField()
    collection = serializers.CharField()


class BacklogAnswerSerializer(serializers.Serializer[Any]):
    total = BacklogSerializer()
    cameras = CameraBacklogSerializer(many=True)
    disk_free_bytes = serializers.IntegerField(
        allow_null=True, help_text="Where frames are kept; null: no disk of ours"
    )


def backlog_json(backlog: Backlog) -> dict[str, Any]:
    told = dict(BacklogSerializer(backlog).data)
    return {name: round(value, 3) if isinstance(value, float) else value for name, value in told.items()}


def _named(camera: Camera) -> dict[str, str]:
    return {"camera": str(camera.pk), "name": camera.name, "collection": camera.collection.name}


class BacklogView(APIView):
    """The backlog, in all and by camera."""

    required_scope = Scope.READ
    for_cameras = True

    @extend_schema(operation_id="backlog", responses=BacklogAnswerSerializer)
    def get(self, request: Request) -> Response:
        """What waits to be processed, in all and by camera, and when it will be done."""
        cameras = list(visible_cameras(principal_of(request)))
        found = backlogs(cameras)
        return Response(
            {
                "total": backlog_json(total(found.values())),
                "cameras": [_named(camera) | backlog_json(found[camera.pk]) for camera in cameras],
                "disk_free_bytes": disk.free_bytes(),
            }
        )


class AnyAccept(DefaultContentNegotiation):
    """There is one form of the answer, whatever `Accept` says: Prometheus asks for its newer one first."""

    def select_renderer(self, request: Any, renderers: Any, format_suffix: str | None = None) -> Any:
        return renderers[0], renderers[0].media_type


class MetricsView(APIView):
    """The same figures for Prometheus."""

    required_scope = Scope.READ
    for_cameras = True
    content_negotiation_class = AnyAccept

    @extend_schema(operation_id="metrics", responses={(200, "text/plain"): OpenApiTypes.STR})
    def get(self, request: Request) -> HttpResponse:
        """Backlog and capture of the key's cameras, in Prometheus' text format.

        In Prometheus: `authorization: {type: Api-Key, credentials: <a key that may read>}`.
        """
        cameras = list(visible_cameras(principal_of(request)))
        registry = CollectorRegistry()
        registry.register(FrameMetrics(cameras, backlogs(cameras), disk.free_bytes()))
        return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_PLAIN_0_0_4)
