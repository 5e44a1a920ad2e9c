"""Shapes that the answers about sightings, frames and alerts share."""

from typing import Any

from django.http import HttpResponse
from rest_framework import serializers
from rest_framework.request import Request

from portrait.core.strict import StrictFilterSerializer
from portrait.gallery.models import Identity
from portrait.sightings.models import Detection, Sighting

MAX_CHOSEN = 100


class SimilarityField(serializers.FloatField):
    """0..1, to four digits."""

    def to_representation(self, value: Any) -> Any:
        return round(float(value), 4)


class CameraRefSerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    name = serializers.CharField()


class IdentityRefSerializer(serializers.Serializer[Identity]):
    id = serializers.UUIDField()
    external_id = serializers.CharField(allow_null=True)
    name = serializers.CharField()
    kind = serializers.ChoiceField(choices=Identity.Kind.choices)


class BoxField(serializers.ListField):
    """`[x, y, width, height]` in pixels of the frame."""

    child = serializers.FloatField()


class BestSerializer(serializers.Serializer[Detection]):
    """Where the best face is."""

    frame = serializers.IntegerField(source="frame_id")
    detection = serializers.IntegerField(source="pk")
    box = BoxField()


class SightingSerializer(serializers.Serializer[Sighting]):
    """A person was there, on one camera, between two capture times."""

    id = serializers.UUIDField()
    camera = CameraRefSerializer()
    identity = IdentityRefSerializer()
    first_seen = serializers.DateTimeField()
    last_seen = serializers.DateTimeField()
    hits = serializers.IntegerField(help_text="Frames in which the person was seen")
    similarity = SimilarityField(allow_null=True)
    open = serializers.BooleanField(help_text="The person is there still, as far as is known")
    picture_url = serializers.SerializerMethodField()
    best = BestSerializer(allow_null=True, help_text="null once the face is no longer kept")

    def get_picture_url(self, sighting: Sighting) -> str:
        return f"/api/v1/sightings/{sighting.pk}/picture"


class TimeFilterSerializer(StrictFilterSerializer):
    """Base of filters by camera and capture time."""

    collection = serializers.CharField(required=False, max_length=60, help_text="Name or id")
    camera = serializers.ListField(
        child=serializers.UUIDField(), required=False, max_length=MAX_CHOSEN, help_text="Repeat it for several"
    )
    since = serializers.DateTimeField(required=False)
    until = serializers.DateTimeField(required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if "since" in attrs and "until" in attrs and attrs["since"] > attrs["until"]:
            raise serializers.ValidationError({"since": "It lies after 'until'."})
        return attrs


def asked_of(request: Request, filters: type[serializers.Serializer[Any]]) -> dict[str, Any]:
    """The query parameters of a list, checked."""
    serializer = filters(data=request.query_params)
    serializer.is_valid(raise_exception=True)
    return dict(serializer.validated_data)


def jpeg_answer(data: bytes) -> HttpResponse:
    """A JPEG, private to the caller."""
    headers = {"Cache-Control": "private, no-store", "X-Content-Type-Options": "nosniff"}
    return HttpResponse(data, content_type="image/jpeg", headers=headers)
