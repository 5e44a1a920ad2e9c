"""What requests that enrol pictures have in common: their fields, their answers, the one call behind them."""

from typing import Any

from rest_framework import serializers
from rest_framework.response import Response

from portrait.core.pictures import PictureField, picture_from_url, refuse_several
from portrait.core.principal import Principal
from portrait.gallery.api.portraits import PortraitSerializer
from portrait.gallery.face_choice import parse_choice
from portrait.gallery.models import Identity
from portrait.gallery.reports import log_resemblances, report_json
from portrait.gallery.services.enrolment import enrol_photos
from portrait.gallery.tasks import start_enrolment

MAX_PHOTOS = 100


class PhotosSerializer(serializers.Serializer[dict[str, Any]]):
    """Base of requests that enrol pictures. `validated_data["photos"]` holds their bytes, in order."""

    image = PictureField(required=False)
    images = serializers.ListField(child=PictureField(), required=False, max_length=MAX_PHOTOS)
    image_url = serializers.CharField(required=False, allow_blank=True, max_length=2048)
    face = serializers.CharField(
        required=False,
        allow_blank=True,
        max_length=100,
        help_text="Which face, where a picture holds several: `largest`, or a box `x,y,width,height`",
    )
    force = serializers.BooleanField(default=False, help_text="Enrol faces of poor quality too")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        refuse_several(self, "image")
        photos = [attrs.pop("image")] if "image" in attrs else []
        photos += attrs.pop("images", [])
        if url := attrs.pop("image_url", ""):
            photos.append(picture_from_url(url))
        parse_choice(attrs.setdefault("face", ""))
        return attrs | {"photos": photos}


class PortraitsRequestSerializer(PhotosSerializer):
    """One or many pictures of one person."""

    def get_fields(self) -> "dict[str, serializers.Field[Any, Any, Any, Any]]":
        # `async` is a word of the language, so the field cannot be declared by assignment.
        help_text = "Enrol through the queue; the answer is a job with a result a picture"
        return super().get_fields() | {"async": serializers.BooleanField(default=False, help_text=help_text)}

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        attrs = super().validate(attrs)
        if not attrs["photos"]:
            raise serializers.ValidationError({"image": "Send a picture: 'image', 'images' or 'image_url'."})
        return attrs


class ProblemSerializer(serializers.Serializer[Any]):
    code = serializers.CharField()
    message = serializers.CharField()


class WarningSerializer(serializers.Serializer[Any]):
    code = serializers.CharField(help_text="possible_duplicate or unlike_other_portraits")
    message = serializers.CharField()
    identity = serializers.DictField()
    similarity = serializers.FloatField()


class ReportSerializer(serializers.Serializer[Any]):
    """What became of one picture."""

    index = serializers.IntegerField()
    status = serializers.ChoiceField(choices=["accepted", "duplicate", "rejected"])
    portrait = PortraitSerializer(allow_null=True)
    error = ProblemSerializer(allow_null=True)
    warnings = WarningSerializer(many=True)


class EnrolAnswerSerializer(serializers.Serializer[Any]):
    results = ReportSerializer(many=True)


class JobAnswerSerializer(serializers.Serializer[Any]):
    job = serializers.UUIDField(help_text="See /api/v1/jobs/{id}")


def enrol(*, identity: Identity, principal: Principal, asked: dict[str, Any]) -> Response:
    """Enrol now (201), or through the queue (202)."""
    if asked["async"]:
        job = start_enrolment(
            identity=identity,
            photos=asked["photos"],
            face=asked["face"],
            force=asked["force"],
            api_key_id=principal.api_key_id,
        )
        return Response({"job": str(job.id)}, status=202, headers={"Location": f"/api/v1/jobs/{job.id}"})
    reports = enrol_photos(
        identity=identity, photos=asked["photos"], choice=parse_choice(asked["face"]), force=asked["force"]
    )
    log_resemblances(principal=principal, collection_id=identity.collection_id, reports=reports)
    return Response({"results": [report_json(report) for report in reports]}, status=201)
