"""`/api/v1/calibrations`: measure a collection, look at the curves, take the threshold over."""

from typing import Any

from django.db.models import QuerySet
from django.http import FileResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view
from rest_framework import mixins, serializers, viewsets
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from portrait.calibration.models import CalibrationRun
from portrait.calibration.services import runs
from portrait.calibration.tasks import start_calibration
from portrait.core.auth import principal_of
from portrait.core.errors import NotFoundError
from portrait.core.models import Scope
from portrait.core.strict import StrictFilterSerializer, StrictSerializer
from portrait.gallery.selectors import find_collection
from portrait.gallery.services.journal import actor_of

CALIBRATION_ID = OpenApiParameter("id", OpenApiTypes.UUID, OpenApiParameter.PATH)


class CalibrationSerializer(serializers.ModelSerializer[CalibrationRun]):
    """A measurement; `report` has the rates with their intervals, `picture_url` both curves."""

    collection = serializers.CharField(source="collection.name")
    model = serializers.CharField(source="model.__str__")
    fmr = serializers.FloatField(source="parameters.fmr")
    group_by = serializers.CharField(source="parameters.group_by", allow_null=True)
    report = serializers.DictField()
    picture_url = serializers.SerializerMethodField()
    in_force = serializers.BooleanField()
    job = serializers.UUIDField(source="job_id", allow_null=True)

    class Meta:
        model = CalibrationRun
        fields = [
            "id",
            "collection",
            "model",
            "state",
            "fmr",
            "group_by",
            "threshold",
            "threshold_before",
            "in_force",
            "applied_at",
            "reverted_at",
            "actor",
            "report",
            "picture_url",
            "job",
            "created_at",
        ]

    def get_picture_url(self, run: CalibrationRun) -> str | None:
        return f"/api/v1/calibrations/{run.pk}/picture" if run.picture else None


class CalibrationRequestSerializer(StrictSerializer):
    collection = serializers.CharField(required=False, max_length=60, help_text="Name or id")
    fmr = serializers.FloatField(
        min_value=1e-7, max_value=0.5, default=runs.DEFAULT_FMR, help_text="The false-match rate that is wanted"
    )
    group_by = serializers.CharField(
        required=False, allow_null=True, allow_blank=True, max_length=100, help_text="A key of people's metadata"
    )


class CalibrationAnswerSerializer(serializers.Serializer[Any]):
    job = serializers.UUIDField(help_text="See /api/v1/jobs/{id}")
    calibration = serializers.UUIDField()


class CalibrationFilterSerializer(StrictFilterSerializer):
    collection = serializers.CharField(required=False, max_length=60, help_text="Name or id")


class NothingSerializer(StrictSerializer):
    """An empty body."""


@extend_schema_view(
    list=extend_schema(parameters=[CalibrationFilterSerializer]), retrieve=extend_schema(parameters=[CALIBRATION_ID])
)
class CalibrationViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet[CalibrationRun]):
    """Calibrations: how far apart the faces of one person, and of two, are in a collection."""

    queryset = CalibrationRun.objects.none()
    serializer_class = CalibrationSerializer
    required_scope = Scope.ADMIN

    def get_queryset(self) -> "QuerySet[CalibrationRun]":
        principal = principal_of(self.request)
        rows = CalibrationRun.objects.select_related("collection", "model")
        if principal.collection_ids is not None:
            rows = rows.filter(collection_id__in=principal.collection_ids)
        if self.action == "list":
            asked = CalibrationFilterSerializer(data=self.request.query_params)
            asked.is_valid(raise_exception=True)
            if "collection" in asked.validated_data:
                rows = rows.filter(collection=find_collection(principal, asked.validated_data["collection"]))
        return rows

    @extend_schema(request=CalibrationRequestSerializer, responses={202: CalibrationAnswerSerializer})
    def create(self, request: Request) -> Response:
        """Measure a collection, as a job; its threshold is not changed by it."""
        principal, asked = principal_of(request), CalibrationRequestSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        run, job = start_calibration(
            collection=find_collection(principal, asked.validated_data.get("collection")),
            fmr=asked.validated_data["fmr"],
            group_by=asked.validated_data.get("group_by") or None,
            actor=actor_of(principal).name,
            api_key_id=principal.api_key_id,
        )
        return Response({"job": str(job.pk), "calibration": str(run.pk)}, status=202)

    @extend_schema(parameters=[CALIBRATION_ID], responses={(200, "image/png"): OpenApiTypes.BINARY})
    @action(detail=True)
    def picture(self, request: Request, pk: str) -> FileResponse:
        """Both curves with the threshold, as PNG."""
        return picture_answer(self.get_object())

    @extend_schema(parameters=[CALIBRATION_ID], request=NothingSerializer, responses=CalibrationSerializer)
    @action(detail=True, methods=["post"])
    def apply(self, request: Request, pk: str) -> Response:
        """Make the threshold that was found the collection's."""
        NothingSerializer(data=request.data).is_valid(raise_exception=True)
        run = runs.apply(run=self.get_object(), actor=actor_of(principal_of(request)).name)
        return Response(CalibrationSerializer(run).data)

    @extend_schema(parameters=[CALIBRATION_ID], request=NothingSerializer, responses=CalibrationSerializer)
    @action(detail=True, methods=["post"])
    def revert(self, request: Request, pk: str) -> Response:
        """Give the collection the threshold back that it had before."""
        NothingSerializer(data=request.data).is_valid(raise_exception=True)
        run = runs.revert(run=self.get_object(), actor=actor_of(principal_of(request)).name)
        return Response(CalibrationSerializer(run).data)


def picture_answer(run: CalibrationRun) -> FileResponse:
    """The curves of a run.

    Raises:
        NotFoundError: there are none, or the file is gone from the storage.
    """
    try:
        opened = run.picture.open("rb")
    except (ValueError, FileNotFoundError):
        raise NotFoundError("This calibration has no picture.") from None
    return FileResponse(opened, content_type="image/png", headers={"Cache-Control": "private, no-store"})
