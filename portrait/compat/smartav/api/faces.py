"""`/face-recognition` and what is below it."""

from typing import Any

from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from inference.calibration import DECISION
from inference.errors import ImageError
from portrait.audit.models import Action
from portrait.audit.services import record
from portrait.compat.smartav import shapes
from portrait.compat.smartav.api.base import COLLECTION, ERRORS, TAG, SmartavView, collection_of
from portrait.compat.smartav.selectors import find_sample, require_sample, sample_id
from portrait.compat.smartav.services import recognition, samples
from portrait.core.auth import principal_of
from portrait.core.errors import PortraitError
from portrait.core.models import Scope
from portrait.core.pictures import PictureField
from portrait.core.strict import StrictSerializer
from portrait.gallery.api.enrol import MAX_PHOTOS
from portrait.gallery.api.identities import MetadataField
from portrait.gallery.models import Collection, Identity
from portrait.gallery.services.journal import actor_of
from portrait.scenes.api.shapes import FiniteField

CLEARED = "Samples have been removed successfully"
OPERATOR = (
    "The database of this server is configured by its operator. Nothing of this request was read, used or stored: "
    "leave the call out, and change a password that was sent."
)


class SampleMetadataField(MetadataField):
    """A text, in most cases; any JSON of at most 64 KB."""

    def to_internal_value(self, data: Any) -> Any:
        return super().to_internal_value({shapes.METADATA: data})[shapes.METADATA]


class InvalidPictureError(PortraitError):
    """The text is no picture in base64."""

    code = "invalid"


class SamplePictureField(PictureField):
    """The picture's bytes, or why they cannot be had: one bad entry of many is told under `fail`."""

    def to_internal_value(self, data: Any) -> Any:
        try:
            return super().to_internal_value(data)
        except ImageError as error:
            return error
        except serializers.ValidationError as error:
            return InvalidPictureError(str(error.detail[0]), field="image")  # type: ignore[index]


class SmartavFaceRecognitionRequestSerializer(StrictSerializer):
    """A picture as a data URI, and how alike a person must be to be named."""

    image = PictureField()
    min_distance = FiniteField(
        default=DECISION,
        min_value=0,
        max_value=1,
        help_text="A similarity, in spite of its name: the least that counts as the same person",
    )


class SmartavCandidateSerializer(serializers.Serializer[Any]):
    id = serializers.CharField(help_text="Empty: nobody known, and too poor to be registered")
    name = serializers.CharField()
    metadata = serializers.JSONField(help_text="What was stored: a text in most cases, any JSON in others")
    bbox = serializers.CharField(help_text="`x, y, w, h` in pixels")


class SmartavSampleSerializer(StrictSerializer):
    """A person's picture. Name, metadata and action count for a new `id` only."""

    id = serializers.CharField(max_length=200)
    name = serializers.CharField(max_length=200, allow_blank=True, allow_null=True)
    image = SamplePictureField()
    metadata = SampleMetadataField(allow_null=True)
    action = serializers.CharField(max_length=200, allow_blank=True, allow_null=True)


class SmartavReasonSerializer(serializers.Serializer[Any]):
    id = serializers.CharField()
    code = serializers.CharField()
    message = serializers.CharField()


class SmartavSamplesAnswerSerializer(serializers.Serializer[Any]):
    """`success` and `fail` together hold an id an entry."""

    success = serializers.ListField(child=serializers.CharField())
    reasons = SmartavReasonSerializer(many=True, help_text="Why each of `fail` failed")

    def get_fields(self) -> "dict[str, serializers.Field[Any, Any, Any, Any]]":
        # `fail` is a method of every field, so it cannot be declared by assignment.
        return super().get_fields() | {"fail": serializers.ListField(child=serializers.CharField())}


class SmartavClearedSerializer(serializers.Serializer[Any]):
    success = serializers.BooleanField()
    msg = serializers.CharField()


class SmartavMetadataRequestSerializer(StrictSerializer):
    """Both are needed; an empty name changes nothing of it."""

    name = serializers.CharField(max_length=200, allow_blank=True)
    metadata = SampleMetadataField(allow_null=True)


class SmartavSuccessSerializer(serializers.Serializer[Any]):
    success = serializers.CharField()


class FaceRecognitionView(SmartavView):
    """Who is in a picture. A face that matches nobody is registered, which is why the scope enrol is needed."""

    required_scope = Scope.ENROL

    @extend_schema(
        operation_id="smartav_face_recognition",
        summary="Name every face of a picture",
        tags=[TAG],
        parameters=COLLECTION,
        request=SmartavFaceRecognitionRequestSerializer,
        responses={200: SmartavCandidateSerializer(many=True), **ERRORS},
    )
    def post(self, request: Request) -> Response:
        """Name every face; unmatched ones become `unknown_person_N`."""
        serializer = SmartavFaceRecognitionRequestSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        asked = serializer.validated_data
        collection = collection_of(request)
        faces = recognition.recognise_faces(
            collection=collection, data=asked["image"], min_similarity=asked["min_distance"]
        )
        people = [face.identity.pk for face in faces if face.identity is not None]
        record(
            principal=principal_of(request),
            action=Action.RECOGNIZE,
            collection_id=collection.pk,
            probe=asked["image"],
            details={"faces": len(faces), "named": len(people), "min_similarity": asked["min_distance"]},
            identities=people,
        )
        return Response([candidate_json(face) for face in faces])


def candidate_json(face: recognition.SeenFace) -> dict[str, Any]:
    who, bbox = face.identity, shapes.box_text(face.box)
    if who is None:
        return {"id": "", "name": shapes.UNREGISTERED, "metadata": "", "bbox": bbox}
    return {"id": sample_id(who), "name": who.name, "metadata": shapes.told_metadata(who.metadata), "bbox": bbox}


class UpdateSamplesView(SmartavView):
    """Pictures of people: new ones, or more of known ones."""

    required_scope = Scope.ENROL

    @extend_schema(
        operation_id="smartav_update_samples",
        summary="Enrol pictures",
        tags=[TAG],
        parameters=COLLECTION,
        request=SmartavSampleSerializer(many=True),
        responses={200: SmartavSamplesAnswerSerializer, **ERRORS},
    )
    def post(self, request: Request) -> Response:
        """Enrol pictures; an `id` that is known gets one more."""
        serializer = SmartavSampleSerializer(data=request.data, many=True, max_length=MAX_PHOTOS)  # type: ignore[call-arg]
        serializer.is_valid(raise_exception=True)
        asked = [sample_of(entry) for entry in serializer.validated_data]
        return Response(updated_json(samples.update_samples(collection=collection_of(request), samples=asked)))


def sample_of(entry: dict[str, Any]) -> samples.Sample:
    return samples.Sample(**{**entry, "name": entry["name"] or "", "action": entry["action"] or ""})


def updated_json(updated: samples.Updated) -> dict[str, Any]:
    reasons = [{"id": each, "code": problem.code, "message": str(problem)} for each, problem in updated.fail]
    return {"success": updated.success, "fail": [each for each, _ in updated.fail], "reasons": reasons}


class ClearSamplesView(SmartavView):
    """Everybody of the collection goes, with portraits, vectors and sightings."""

    required_scope = Scope.ADMIN
    failure = {"success": False}

    @extend_schema(
        operation_id="smartav_clear_samples_get",
        summary="Erase everybody of a collection",
        tags=[TAG],
        parameters=COLLECTION,
        responses={200: SmartavClearedSerializer, **ERRORS},
    )
    def get(self, request: Request) -> Response:
        """Erase everybody of a collection, as clients of the first version ask for it."""
        if request.data:
            raise serializers.ValidationError("A body is not read here: name the collection in the address.")
        collection = collection_of(request)
        record(
            principal=principal_of(request),
            action=Action.ERASE,
            collection_id=collection.pk,
            details={"everybody": True},
        )
        samples.clear_samples(collection=collection)
        return Response({"success": True, "msg": CLEARED})

    @extend_schema(
        operation_id="smartav_clear_samples",
        summary="Erase everybody of a collection",
        tags=[TAG],
        parameters=COLLECTION,
        request=None,
        responses={200: SmartavClearedSerializer, **ERRORS},
    )
    def post(self, request: Request) -> Response:
        """Erase everybody of a collection."""
        return self.get(request)


class UpdateMetadataView(SmartavView):
    """Name a person, a stranger above all."""

    required_scope = Scope.ENROL

    @extend_schema(
        operation_id="smartav_update_metadata",
        summary="Change a person's name and metadata",
        tags=[TAG],
        parameters=COLLECTION,
        request=SmartavMetadataRequestSerializer,
        responses={200: SmartavSuccessSerializer, **ERRORS},
    )
    def post(self, request: Request, sample_id: str) -> Response:
        """Change a person's name and metadata; the id stays."""
        identity = _addressed(collection_of(request), sample_id)
        serializer = SmartavMetadataRequestSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        samples.update_metadata(identity=identity, actor=actor_of(principal_of(request)), **serializer.validated_data)
        return Response({"success": f'"{sample_id}" has been configured successfully.'})


def _addressed(collection: Collection, told: str) -> Identity:
    """The person at this address; a slash at its end is a part of the id, or none."""
    found = find_sample(collection, told) if told.endswith("/") else None
    return found or require_sample(collection, told.removesuffix("/"))


class ConfigDatabaseView(SmartavView):
    """Credentials came by this way once. Its body is never parsed here: nothing can log or tell what was not read."""

    required_scope = Scope.READ
    parser_classes = []

    @extend_schema(
        operation_id="smartav_config_database_get",
        summary="Not needed any more",
        tags=[TAG],
        responses={(200, "text/plain"): OpenApiTypes.STR, **ERRORS},
    )
    def get(self, request: Request) -> HttpResponse:
        """Answers that the operator configures the database."""
        return HttpResponse(OPERATOR, content_type="text/plain")

    @extend_schema(
        operation_id="smartav_config_database",
        summary="Not needed any more",
        tags=[TAG],
        request=None,
        responses={(200, "text/plain"): OpenApiTypes.STR, **ERRORS},
    )
    def post(self, request: Request) -> HttpResponse:
        """Answers that the operator configures the database."""
        return self.get(request)
