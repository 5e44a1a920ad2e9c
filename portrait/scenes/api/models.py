"""`/api/v1/models`: the networks of the inference server."""

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from inference.config import CaptionerSpec, SegmenterSpec
from portrait.core.auth import principal_of
from portrait.core.models import Scope
from portrait.scenes.services import engines
from portrait.scenes.services.engines import Engine

TASKS = ["face_detection", "face_embedding", "segmentation", "captioning", "unknown"]
NAME = OpenApiParameter("name", OpenApiTypes.STR, OpenApiParameter.PATH)


class EngineSerializer(serializers.Serializer[Any]):
    """A network. What stands below `reason` is told of loaded networks of scenes only."""

    name = serializers.CharField()
    task = serializers.ChoiceField(choices=TASKS)
    loaded = serializers.BooleanField()
    default = serializers.BooleanField(source="is_default", help_text="What a request gets that names no model.")
    reason = serializers.CharField(help_text="Why it is not loaded, where the server says so.")
    domain = serializers.SerializerMethodField(help_text="What it knows, if that is not what photos show.")
    labels = serializers.SerializerMethodField(help_text="What a segmentation model can find.")
    size_px = serializers.SerializerMethodField(help_text="Height and width of the picture that it sees.")
    max_tokens = serializers.SerializerMethodField(help_text="The longest text of a captioning model, in tokens.")

    def get_domain(self, engine: Engine) -> str | None:
        return engine.spec.domain if engine.spec else None

    def get_labels(self, engine: Engine) -> list[str] | None:
        return list(engine.spec.labels) if isinstance(engine.spec, SegmenterSpec) else None

    def get_size_px(self, engine: Engine) -> int | None:
        return engine.spec.size_px if engine.spec else None

    def get_max_tokens(self, engine: Engine) -> int | None:
        return engine.spec.max_tokens if isinstance(engine.spec, CaptionerSpec) else None


class EnginesSerializer(serializers.Serializer[Any]):
    results = EngineSerializer(many=True)


class EnginesView(APIView):
    """The networks that are installed, and whether they are loaded."""

    required_scope = Scope.READ

    @extend_schema(operation_id="models_list", responses=EnginesSerializer)
    def get(self, request: Request) -> Response:
        return Response({"results": EngineSerializer(engines.engines(), many=True).data})


class EngineControlView(APIView):
    """Base of load and unload: for keys with the scope admin and for all collections."""

    required_scope = Scope.ADMIN

    def answer(self, name: str) -> Response:
        return Response(EngineSerializer(engines.engine(name)).data)


class LoadEngineView(EngineControlView):
    """Load an installed network, or load it again after it was replaced."""

    @extend_schema(operation_id="models_load", parameters=[NAME], request=None, responses=EngineSerializer)
    def post(self, request: Request, name: str) -> Response:
        principal_of(request).require_all_collections()
        engines.load(name)
        return self.answer(name)


class UnloadEngineView(EngineControlView):
    """Stop serving a network until it is loaded again: its memory is free then."""

    @extend_schema(operation_id="models_unload", parameters=[NAME], request=None, responses=EngineSerializer)
    def post(self, request: Request, name: str) -> Response:
        principal_of(request).require_all_collections()
        engines.unload(name)
        return self.answer(name)
