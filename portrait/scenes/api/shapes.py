"""What the requests and answers about scenes share."""

import math
from typing import Any, cast

from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from inference.errors import CorruptImageError, ImageError
from portrait.core.api_errors import first_problem
from portrait.core.pictures import PictureField, refuse_several, take_picture
from portrait.core.strict import StrictSerializer
from portrait.gallery.api.enrol import ProblemSerializer
from portrait.gallery.api.faces import BoxField, CandidateIdentitySerializer, SizeSerializer
from portrait.scenes.models import MODEL_CHARS, Method
from portrait.scenes.services.looking import DEFAULT, Picture

MAX_ID = 2**63 - 1
PNG = "image/png"


class FiniteField(serializers.FloatField):
    """A number; `nan`, which no bound stops, is none."""

    def to_internal_value(self, data: Any) -> float:
        value = super().to_internal_value(data)
        if not math.isfinite(value):
            self.fail("invalid")
        return value


class OptionalTrueField(serializers.BooleanField):
    """true, unless it is said to be false: a form without a plain field of this kind would say false."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(required=False, allow_null=True, default=None, **kwargs)


@extend_schema_field({"type": "string", "description": "The picture in base64, or a data URI"})
class LenientPictureField(PictureField):
    """One of several pictures -> its bytes, or why it is none: it does not spoil the others."""

    def to_internal_value(self, data: Any) -> Picture:  # type: ignore[override]  # its error instead of raising it
        try:
            return super().to_internal_value(data)
        except ImageError as error:
            return error
        except serializers.ValidationError as error:
            if not isinstance(data, str):
                raise
            return CorruptImageError(first_problem(error.detail)[1])


class SceneRequestSerializer(StrictSerializer):
    """Base: one picture that is sent, or one that the database holds."""

    image = PictureField(required=False)
    image_url = serializers.CharField(required=False, allow_blank=True, max_length=2048)
    portrait = serializers.UUIDField(required=False, allow_null=True, help_text="Of this portrait; needs scope enrol")
    frame = serializers.IntegerField(
        required=False, allow_null=True, min_value=1, max_value=MAX_ID, help_text="Of this frame; needs scope enrol"
    )
    model = serializers.CharField(
        required=False, allow_blank=True, max_length=MODEL_CHARS, help_text="Empty: the default one"
    )
    collection = serializers.CharField(
        required=False, allow_blank=True, max_length=60, help_text="Name or id: whose people, and whose job it is"
    )

    def get_fields(self) -> "dict[str, serializers.Field[Any, Any, Any, Any]]":
        # `async` is a word of the language, so the field cannot be declared by assignment.
        help_text = "Do it through the queue; the answer is a job, the result in its items. Needs scope enrol"
        return super().get_fields() | {"async": serializers.BooleanField(default=False, help_text=help_text)}

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        refuse_several(self, "image")
        if attrs.get("model") == DEFAULT:
            attrs["model"] = ""
        pictures: list[Picture] | None = attrs.pop("images", None)
        named = [name for name in ("portrait", "frame") if attrs.get(name) is not None]
        sent = [name for name in ("image", "image_url") if attrs.get(name)] + (["images"] if pictures else [])
        if len(named) + len(sent) != 1:
            raise serializers.ValidationError({"image": f"Send exactly one of {self._sources()}."})
        if not named:
            attrs["pictures"] = pictures or [take_picture(attrs, "image")]
        attrs["single"] = not pictures
        return attrs

    def _sources(self) -> str:
        known = ("image", "image_url", "images", "portrait", "frame")
        return ", ".join(f"'{name}'" for name in known if name in self.fields)


class PersonSerializer(serializers.Serializer[Any]):
    """A face in the picture. `identity` null: unknown."""

    identity = CandidateIdentitySerializer(allow_null=True)
    box = BoxField()
    similarity = serializers.FloatField(allow_null=True)


class CaptionAnswerSerializer(serializers.Serializer[Any]):
    """`caption_with_names`: where it is plain whom the sentence speaks of; else null, and `names_reason` says why.
    `domain`: what the model knows, if that is not what photos show. `method`: `rules` for the model `describe`."""

    caption = serializers.CharField()
    model = serializers.CharField()
    method = serializers.ChoiceField(choices=Method.choices)
    domain = serializers.CharField(required=False)
    people = PersonSerializer(many=True)
    caption_with_names = serializers.CharField(allow_null=True)
    names_reason = serializers.CharField(required=False)


class MaskSerializer(serializers.Serializer[Any]):
    """COCO's compressed run lengths; `size` is [height, width]."""

    size = serializers.ListField(child=serializers.IntegerField())
    counts = serializers.CharField()


class ObjectSerializer(serializers.Serializer[Any]):
    # Declared through `get_fields`: a field of the name `label` hides an argument of the base.
    score = serializers.FloatField()
    box = BoxField()
    mask = MaskSerializer()

    def get_fields(self) -> "dict[str, serializers.Field[Any, Any, Any, Any]]":
        return {"label": serializers.CharField()} | super().get_fields()


class SegmentAnswerSerializer(serializers.Serializer[Any]):
    """Objects, best first."""

    image = SizeSerializer()
    model = serializers.CharField()
    domain = serializers.CharField(required=False)
    objects = ObjectSerializer(many=True)


class EitherAnswerSerializer(CaptionAnswerSerializer):
    """One of several pictures: its caption, or `error` alone."""

    def get_fields(self) -> "dict[str, serializers.Field[Any, Any, Any, Any]]":
        fields = super().get_fields()
        for field in fields.values():
            field.required = False
        return fields | {"error": ProblemSerializer(required=False)}


class PngRenderer(BaseRenderer):
    """Offers `Accept: image/png`; the picture itself is answered by the view."""

    media_type = PNG
    format = "png"
    charset = None
    render_style = "binary"


class PictureOrJsonView(APIView):
    """JSON, or on `Accept: image/png` the picture with what was found drawn in. Errors and jobs are always JSON."""

    renderer_classes = [JSONRenderer, PngRenderer]
    PNG_ANSWER = {(200, PNG): OpenApiTypes.BINARY}

    def wants_picture(self) -> bool:
        return isinstance(cast(Any, self.request).accepted_renderer, PngRenderer)

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(response, Response) and isinstance(getattr(request, "accepted_renderer", None), PngRenderer):
            renderer = JSONRenderer()
            request.accepted_renderer = renderer
            request.accepted_media_type = renderer.media_type
        return super().finalize_response(request, response, *args, **kwargs)


def png_answer(data: bytes) -> HttpResponse:
    """A PNG, private to the caller."""
    headers = {"Cache-Control": "private, no-store", "X-Content-Type-Options": "nosniff", "Vary": "Accept"}
    return HttpResponse(data, content_type=PNG, headers=headers)
