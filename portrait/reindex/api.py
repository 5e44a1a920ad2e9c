"""`/api/v1/reindexes` and `/api/v1/embedding-models`: which vectors collections are searched by."""

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_field
from rest_framework import mixins, serializers, status, viewsets
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from portrait.core.auth import principal_of
from portrait.core.models import Scope
from portrait.core.strict import StrictFilterSerializer, StrictSerializer
from portrait.gallery.models import EmbeddingModel
from portrait.gallery.selectors import find_collection
from portrait.reindex import selectors, tasks
from portrait.reindex.models import Reindex, State
from portrait.reindex.services import ending, learning, retiring, starting, switching

REINDEX_ID = OpenApiParameter("id", OpenApiTypes.UUID, OpenApiParameter.PATH)


class EmbeddingModelSerializer(serializers.ModelSerializer[EmbeddingModel]):
    """`projects`: the network whose vectors it projects; null: it is a network. `report`: what was measured when it was
    learnt, on people whom it was not learnt from."""

    projects = serializers.StringRelatedField[Any](source="source", read_only=True, allow_null=True)
    bytes_a_vector = serializers.SerializerMethodField()

    class Meta:
        model = EmbeddingModel
        fields = [
            "name",
            "version",
            "dims",
            "precision",
            "metric",
            "state",
            "projects",
            "calibration",
            "bytes_a_vector",
            "report",
            "created_at",
        ]

    def get_bytes_a_vector(self, model: EmbeddingModel) -> int:
        return learning.bytes_of(model)


class EmbeddingModelsSerializer(serializers.Serializer[Any]):
    results = EmbeddingModelSerializer(many=True)


class EmbeddingModelsView(APIView):
    """The embedding models that collections can be searched by."""

    required_scope = Scope.READ

    @extend_schema(operation_id="embedding_models_list", responses=EmbeddingModelsSerializer)
    def get(self, request: Request) -> Response:
        """List the embedding models that collections can be searched by."""
        rows = EmbeddingModel.objects.select_related("source").order_by("pk")
        return Response({"results": EmbeddingModelSerializer(rows, many=True).data})


class ReindexProgressSerializer(serializers.Serializer[Any]):
    rows = serializers.IntegerField(help_text="Faces without a vector when it began")
    done = serializers.IntegerField()
    per_s = serializers.FloatField(allow_null=True)


class ReindexSerializer(serializers.ModelSerializer[Reindex]):
    """A collection on its way from one embedding model to another."""

    collection = serializers.CharField(source="collection.name")
    from_model = serializers.StringRelatedField[Any](read_only=True)
    to_model = serializers.StringRelatedField[Any](read_only=True)
    job = serializers.UUIDField(source="job_id", allow_null=True, help_text="GET /api/v1/jobs/{id}; cancel it there")
    progress = serializers.SerializerMethodField()

    class Meta:
        model = Reindex
        fields = [
            "id",
            "collection",
            "from_model",
            "to_model",
            "state",
            "job",
            "from_pictures",
            "switch_itself",
            "progress",
            "report",
            "error",
            "from_threshold",
            "to_threshold",
            "created_at",
            "built_at",
            "switched_at",
            "rolled_back_at",
            "retired_at",
        ]

    @extend_schema_field(ReindexProgressSerializer)
    def get_progress(self, reindex: Reindex) -> dict[str, Any]:
        return selectors.progress_of(reindex).as_json()


class ReindexFilterSerializer(StrictFilterSerializer):
    collection = serializers.CharField(required=False, max_length=60, help_text="Name or id")
    state = serializers.ChoiceField(required=False, choices=State.choices)


class StartReindexSerializer(StrictSerializer):
    model = serializers.CharField(max_length=82, help_text="Name of an embedding model, or name@version")
    collection = serializers.CharField(required=False, max_length=60, help_text="Name or id")
    from_pictures = serializers.BooleanField(default=False, help_text="The network looks at stored pictures again")
    switch_itself = serializers.BooleanField(default=True, help_text="When the checks are good; else it stays ready")


class SwitchSerializer(StrictSerializer):
    force = serializers.BooleanField(default=False, help_text="Although portraits have no vector: they are not found")


class AbandonReindexSerializer(StrictSerializer):
    """A body without fields."""


class ReindexViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet[Reindex]):
    """Re-indexes of collections, newest first."""

    queryset = Reindex.objects.none()
    serializer_class = ReindexSerializer
    required_scope = Scope.ADMIN

    def get_queryset(self) -> "QuerySet[Reindex]":
        rows = selectors.with_progress(selectors.visible_reindexes(principal_of(self.request)))
        if self.action != "list":
            return rows
        asked = ReindexFilterSerializer(data=self.request.query_params)
        asked.is_valid(raise_exception=True)
        if name := asked.validated_data.get("collection"):
            rows = rows.filter(collection=find_collection(principal_of(self.request), name))
        if state := asked.validated_data.get("state"):
            rows = rows.filter(state=state)
        return rows

    @extend_schema(parameters=[ReindexFilterSerializer])
    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """List re-indexes, newest first."""
        self._settle()
        return super().list(request, *args, **kwargs)

    @extend_schema(parameters=[REINDEX_ID])
    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Show a re-index: how far it is, and its report."""
        self._settle()
        return super().retrieve(request, *args, **kwargs)

    @extend_schema(request=StartReindexSerializer, responses={202: ReindexSerializer})
    def create(self, request: Request) -> Response:
        """Begin to search a collection by another embedding model; nothing stands still meanwhile."""
        body = StartReindexSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        asked, principal = body.validated_data, principal_of(request)
        reindex = starting.start(
            collection=find_collection(principal, asked.get("collection")),
            model=starting.find_model(asked["model"]),
            from_pictures=asked["from_pictures"],
            switch_itself=asked["switch_itself"],
            api_key_id=principal.api_key_id,
        )
        tasks.enqueue(reindex)
        return Response(self._told(reindex), status=status.HTTP_202_ACCEPTED)

    @extend_schema(parameters=[REINDEX_ID], request=SwitchSerializer, responses=ReindexSerializer)
    @action(detail=True, methods=["post"])
    def switch(self, request: Request, pk: str) -> Response:
        """Search the collection by the new vectors: of a re-index that is ready and waits for it."""
        body = SwitchSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        reindex = self._found(pk)
        switching.switch_by_hand(reindex, force=body.validated_data["force"])
        return Response(self._told(reindex))

    @extend_schema(parameters=[REINDEX_ID], request=None, responses=ReindexSerializer)
    @action(detail=True, methods=["post"])
    def rollback(self, request: Request, pk: str) -> Response:
        """Search the collection by the old vectors again."""
        reindex = self._found(pk)
        switching.roll_back(reindex)
        return Response(self._told(reindex))

    @extend_schema(parameters=[REINDEX_ID], request=AbandonReindexSerializer, responses=ReindexSerializer)
    @action(detail=True, methods=["post"])
    def abandon(self, request: Request, pk: str) -> Response:
        """Give up a re-index that is ready: it is not switched, and makes room for another one."""
        AbandonReindexSerializer(data=request.data).is_valid(raise_exception=True)
        reindex = self._found(pk)
        ending.abandon(reindex)
        return Response(self._told(reindex))

    @extend_schema(parameters=[REINDEX_ID], request=None, responses={202: ReindexSerializer})
    @action(detail=True, methods=["post"])
    def retire(self, request: Request, pk: str) -> Response:
        """Remove the vectors that are not used any more; there is no way back afterwards."""
        reindex = retiring.retire(reindex=self._found(pk), api_key_id=principal_of(request).api_key_id)
        tasks.enqueue(reindex)
        return Response(self._told(reindex), status=status.HTTP_202_ACCEPTED)

    def _found(self, pk: str) -> Reindex:
        self._settle()
        return selectors.find_reindex(principal_of(self.request), pk)

    def _settle(self) -> None:
        """Within the caller's reach; what somebody who stores vectors holds up is told the next time."""
        ending.settle(principal_of(self.request).collection_ids, wait="1s")

    def _told(self, reindex: Reindex) -> Any:
        return ReindexSerializer(selectors.find_reindex(principal_of(self.request), reindex.pk)).data
