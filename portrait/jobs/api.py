"""`/api/v1/jobs`."""

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import mixins, serializers, viewsets
from rest_framework.decorators import action
from rest_framework.generics import get_object_or_404
from rest_framework.request import Request
from rest_framework.response import Response

from portrait.core.auth import principal_of
from portrait.core.models import Scope
from portrait.jobs import registry, selectors, services, tasks
from portrait.jobs.models import Job, JobItem


class JobItemSerializer(serializers.ModelSerializer[JobItem]):
    error = serializers.SerializerMethodField()

    class Meta:
        model = JobItem
        fields = ["index", "state", "attempts", "result", "error", "finished_at"]

    @extend_schema_field({"type": "object", "nullable": True})
    def get_error(self, item: JobItem) -> dict[str, str] | None:
        return {"code": item.error_code, "message": item.error_message} if item.error_code else None


class JobSerializer(serializers.ModelSerializer[Job]):
    """A job's progress; `items` are its first 1,000 results."""

    state = serializers.SerializerMethodField()
    progress = serializers.SerializerMethodField()
    retryable = serializers.SerializerMethodField(help_text="How many failed items `retry` would do again")

    class Meta:
        model = Job
        fields = ["id", "kind", "state", "progress", "retryable", "created_at", "finished_at", "cancelled_at"]

    def get_state(self, job: Job) -> str:
        return selectors.progress_of(job).state

    @extend_schema_field({"type": "object", "additionalProperties": {"type": "integer"}})
    def get_progress(self, job: Job) -> dict[str, int]:
        progress = selectors.progress_of(job)
        return {name: getattr(progress, name) for name in progress.__slots__}

    def get_retryable(self, job: Job) -> int:
        return selectors.retryable_of(job)


class JobDetailSerializer(JobSerializer):
    items = serializers.SerializerMethodField()

    class Meta(JobSerializer.Meta):
        fields = [*JobSerializer.Meta.fields, "items"]

    @extend_schema_field(JobItemSerializer(many=True))
    def get_items(self, job: Job) -> Any:
        items = list(job.items.all()[:1000])
        for item, result in zip(items, registry.presented(job.kind, items), strict=True):
            item.result = result
        return JobItemSerializer(items, many=True).data


class JobViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet[Job]):
    """Work that goes on after its request was answered."""

    queryset = Job.objects.none()
    serializer_class = JobSerializer
    required_scopes = {"GET": Scope.READ, "HEAD": Scope.READ, "OPTIONS": Scope.READ, "POST": Scope.ENROL}

    def get_queryset(self) -> "QuerySet[Job]":
        principal = principal_of(self.request)
        jobs = Job.objects.all()
        if principal.collection_ids is not None:
            jobs = jobs.filter(collection_id__in=principal.collection_ids)
        return selectors.with_counts(jobs)

    def get_serializer_class(self) -> type[JobSerializer]:
        return JobSerializer if self.action == "list" else JobDetailSerializer

    @extend_schema(request=None, responses=JobDetailSerializer)
    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, pk: str) -> Response:
        """Stop what has not begun."""
        job = get_object_or_404(self.get_queryset(), pk=pk)
        services.cancel(job=job)
        return Response(JobDetailSerializer(self.get_queryset().get(pk=job.pk)).data)

    @extend_schema(request=None, responses=JobDetailSerializer)
    @action(detail=True, methods=["post"])
    def retry(self, request: Request, pk: str) -> Response:
        """Do again what failed through no fault of its picture: those pictures were kept."""
        job = get_object_or_404(self.get_queryset(), pk=pk)
        tasks.retry_job(job)
        return Response(JobDetailSerializer(self.get_queryset().get(pk=job.pk)).data)
