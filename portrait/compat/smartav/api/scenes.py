"""`/image-captioning` and `/instance-segmentation`."""

import base64
from typing import Any

from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from portrait.compat.smartav import shapes
from portrait.compat.smartav.api.base import ERRORS, TAG, SmartavView, one_or_many
from portrait.compat.smartav.services import scenes
from portrait.core.auth import principal_of
from portrait.core.models import Scope
from portrait.core.pictures import PictureField
from portrait.core.principal import Principal
from portrait.core.strict import StrictSerializer
from portrait.scenes.api.caption import MAX_IMAGES
from portrait.scenes.api.segment import MAX_TOP_K
from portrait.scenes.api.shapes import FiniteField
from portrait.scenes.services.looking import SCORE_THRESHOLD, TOP_K, Segmented, Told
from portrait.scenes.services.painting import segmented_jpeg


class SmartavCaptionRequestSerializer(StrictSerializer):
    """A picture as a data URI. `candidate_size`, of the chat that the first generation had, counts for nothing."""

    also = frozenset({"candidate_size"})

    image = PictureField()
    model = serializers.CharField(required=False, allow_blank=True, max_length=100, help_text="Ours: which network")


class SmartavCaptionAnswerSerializer(serializers.Serializer[Any]):
    caption = serializers.CharField()
    text = serializers.CharField(help_text="Always empty: there is no chat here")
    questions = serializers.ListField(child=serializers.DictField(), help_text="Always empty")
    model = serializers.CharField(help_text="Ours: who wrote it")
    domain = serializers.CharField(required=False, help_text="Ours: what the model knows, if not what photos show")


class SmartavEngineRequestSerializer(StrictSerializer):
    """The file or model by which pictures are segmented from now on: `model` or `weights`; neither: the default.

    The other fields of then are the operator's business now and count for nothing.
    """

    also = frozenset({"device", "dataset", "half", "dnn"})

    model = serializers.CharField(required=False, allow_blank=True, max_length=200)
    weights = serializers.CharField(required=False, allow_blank=True, max_length=200)


class SmartavObjectsRequestSerializer(StrictSerializer):
    """A picture as a data URI. `iou_threshold` counts for nothing: YOLACT has its own."""

    also = frozenset({"iou_threshold"})

    image = PictureField()
    top_k = serializers.IntegerField(default=TOP_K, min_value=1, max_value=MAX_TOP_K)
    score_threshold = FiniteField(default=SCORE_THRESHOLD, min_value=0, max_value=1)
    model = serializers.CharField(required=False, allow_blank=True, max_length=200, help_text="Ours: only this once")


class SmartavRectSerializer(serializers.Serializer[Any]):
    x = serializers.FloatField()
    y = serializers.FloatField()
    w = serializers.FloatField()
    h = serializers.FloatField()


class SmartavDetectedObjectSerializer(serializers.Serializer[Any]):
    """`Rect` is in pixels of the upright picture."""

    Class = serializers.CharField()
    Score = serializers.FloatField()
    Rect = SmartavRectSerializer()


class SmartavObjectsAnswerSerializer(serializers.Serializer[Any]):
    mjpg = serializers.CharField(help_text="A JPEG in base64: the picture with masks, boxes and labels")
    detected_objects = SmartavDetectedObjectSerializer(many=True)
    model = serializers.CharField(help_text="Ours: who found them")
    domain = serializers.CharField(required=False, help_text="Ours: what the model knows, if not what photos show")


class ImageCaptioningView(SmartavView):
    """What pictures show, in words."""

    required_scope = Scope.READ

    @extend_schema(
        operation_id="smartav_image_captioning",
        summary="Describe a picture, or several",
        tags=[TAG],
        request=one_or_many(SmartavCaptionRequestSerializer),
        responses={200: one_or_many(SmartavCaptionAnswerSerializer), **ERRORS},
    )
    def post(self, request: Request) -> Response:
        """A caption for an object, a list of captions for a list."""
        many = isinstance(request.data, list)
        entries = request.data if many else [request.data]
        serializer = SmartavCaptionRequestSerializer(data=entries, many=True, max_length=MAX_IMAGES)  # type: ignore[call-arg]
        serializer.is_valid(raise_exception=True)
        asked = serializer.validated_data
        told = scenes.captions(pictures=[(each["image"], each.get("model", "")) for each in asked])
        answers = [caption_json(each) for each in told]
        return Response(answers if many else answers[0])


def caption_json(told: Told) -> dict[str, Any]:
    return {"caption": told.text, "text": "", "questions": [], **_who(told.model, told.domain)}


def _who(model: str, domain: str) -> dict[str, str]:
    return {"model": model, "domain": domain} if domain else {"model": model}


class InitEngineView(SmartavView):
    """Choose the segmentation model."""

    required_scope = Scope.READ

    @extend_schema(
        operation_id="smartav_init_engine_get",
        summary="Choose the segmentation model",
        tags=[TAG],
        request=None,
        responses={(200, "text/plain"): OpenApiTypes.STR, **ERRORS},
    )
    def get(self, request: Request) -> HttpResponse:
        """As by POST: clients of the first version send a body with GET."""
        return self.post(request)

    @extend_schema(
        operation_id="smartav_init_engine",
        summary="Choose the segmentation model",
        tags=[TAG],
        request=SmartavEngineRequestSerializer,
        responses={(200, "text/plain"): OpenApiTypes.STR, **ERRORS},
    )
    def post(self, request: Request) -> HttpResponse:
        """Choose the model for this key's pictures. A key with the scope admin loads it as well, if need be."""
        serializer = SmartavEngineRequestSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        asked, principal = serializer.validated_data, principal_of(request)
        scenes.init_engine(
            caller=principal.throttle_id,
            weights=asked.get("model") or asked.get("weights") or "",
            may_load=may_load(principal),
        )
        return HttpResponse("success", content_type="text/plain")


def may_load(principal: Principal) -> bool:
    """Whoever may by `/api/v1/models/{name}/load`."""
    return principal.scope.includes(Scope.ADMIN) and principal.collection_ids is None


class LoadModelView(InitEngineView):
    """The later name of `init-engine`, by POST only."""

    http_method_names = ["post", "options"]

    @extend_schema(
        operation_id="smartav_load_model",
        summary="Choose the segmentation model",
        tags=[TAG],
        request=SmartavEngineRequestSerializer,
        responses={(200, "text/plain"): OpenApiTypes.STR, **ERRORS},
    )
    def post(self, request: Request) -> HttpResponse:
        """As `init-engine`."""
        return super().post(request)


class DetectObjectsView(SmartavView):
    """What is where in a picture."""

    required_scope = Scope.READ

    @extend_schema(
        operation_id="smartav_detect_objects",
        summary="Find the objects of a picture",
        tags=[TAG],
        request=SmartavObjectsRequestSerializer,
        responses={200: SmartavObjectsAnswerSerializer, **ERRORS},
    )
    def post(self, request: Request) -> Response:
        """Find objects: their classes, boxes, and a picture of their masks."""
        serializer = SmartavObjectsRequestSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        asked = serializer.validated_data
        found = scenes.detect_objects(
            caller=principal_of(request).throttle_id,
            data=asked["image"],
            model=asked.get("model", ""),
            top_k=asked["top_k"],
            score_threshold=asked["score_threshold"],
        )
        return Response(objects_json(found))


def objects_json(found: Segmented) -> dict[str, Any]:
    objects = [
        {"Class": each.label, "Score": round(each.score, 4), "Rect": shapes.box_object(each.box)}
        for each in found.objects
    ]
    drawn = base64.b64encode(segmented_jpeg(found)).decode()
    return {"mjpg": drawn, "detected_objects": objects, **_who(found.model, found.domain)}
