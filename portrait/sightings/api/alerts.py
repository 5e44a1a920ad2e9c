"""`/api/v1/alerts`: watched people who were seen."""

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view
from rest_framework import mixins, serializers, viewsets
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from portrait.core.auth import principal_of
from portrait.core.models import Scope
from portrait.gallery.selectors import find_collection
from portrait.sightings.api.shapes import (
    MAX_CHOSEN,
    BestSerializer,
    CameraRefSerializer,
    IdentityRefSerializer,
    SimilarityField,
    TimeFilterSerializer,
    asked_of,
)
from portrait.sightings.models import Alert
from portrait.sightings.selectors import find_cameras, visible_alerts
from portrait.sightings.services import watches

ALERT_ID = OpenApiParameter("id", OpenApiTypes.INT, OpenApiParameter.PATH)


class WatchRefSerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    name = serializers.CharField()


class AlertSerializer(serializers.Serializer[Alert]):
    """A watched person was seen. `hit`: the face, as long as it is kept; `sighting`: once it has opened."""

    id = serializers.IntegerField()
    watch = WatchRefSerializer()
    camera = CameraRefSerializer()
    identity = IdentityRefSerializer()
    sighting = serializers.UUIDField(source="sighting_id", allow_null=True)
    hit = BestSerializer(source="detection", allow_null=True)
    captured_at = serializers.DateTimeField()
    similarity = SimilarityField()
    created_at = serializers.DateTimeField()
    acknowledged_at = serializers.DateTimeField(allow_null=True)


class AlertFilterSerializer(TimeFilterSerializer):
    """Query parameters of the list; times are capture times. What is out of reach finds nothing."""

    watch = serializers.ListField(child=serializers.UUIDField(), required=False, max_length=MAX_CHOSEN)
    identity = serializers.ListField(child=serializers.UUIDField(), required=False, max_length=MAX_CHOSEN)
    acknowledged = serializers.BooleanField(required=False, allow_null=True, default=None)


@extend_schema_view(
    list=extend_schema(parameters=[AlertFilterSerializer]), retrieve=extend_schema(parameters=[ALERT_ID])
)
class AlertViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet[Alert]):
    """Alerts: watched people who were seen, newest first."""

    queryset = Alert.objects.none()
    serializer_class = AlertSerializer
    for_cameras = True
    required_scopes = {"GET": Scope.READ, "HEAD": Scope.READ, "OPTIONS": Scope.READ, "POST": Scope.ENROL}

    def get_queryset(self) -> "QuerySet[Alert]":
        principal = principal_of(self.request)
        alerts = visible_alerts(principal)
        if self.action != "list":
            return alerts
        asked = asked_of(self.request, AlertFilterSerializer)
        collection = find_collection(principal, asked["collection"]) if "collection" in asked else None
        acknowledged = asked["acknowledged"]
        lookups: dict[str, Any] = {
            "camera__collection": collection,
            "camera__in": find_cameras(principal, asked.get("camera", ()), collection) or None,
            "watch__in": asked.get("watch"),
            "identity__in": asked.get("identity"),
            "captured_at__gte": asked.get("since"),
            "captured_at__lte": asked.get("until"),
            "acknowledged_at__isnull": None if acknowledged is None else not acknowledged,
        }
        return alerts.filter(**{lookup: value for lookup, value in lookups.items() if value is not None})

    @extend_schema(parameters=[ALERT_ID], request=None, responses=AlertSerializer)
    @action(detail=True, methods=["post"])
    def acknowledge(self, request: Request, pk: str) -> Response:
        """Note that somebody has seen the alert; a second time changes nothing."""
        alert = self.get_object()
        watches.acknowledge(alerts=Alert.objects.filter(pk=alert.pk))
        return Response(AlertSerializer(self.get_object()).data)
