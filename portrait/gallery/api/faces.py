"""`detect`, `verify`, `recognize`: questions about the faces of a picture."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from inference.calibration import DECISION
from inference.types import FaceAnalysis
from portrait.audit.models import Action
from portrait.audit.services import record, sha256_of
from portrait.core.auth import principal_of
from portrait.core.models import Scope
from portrait.core.pictures import (
    PICTURE_PARSERS,
    PictureField,
    PictureSerializer,
    picture_request,
    refuse_several,
    take_picture,
)
from portrait.gallery.face_json import quality_json
from portrait.gallery.reports import candidate_json
from portrait.gallery.selectors import find_collection
from portrait.gallery.services import recognition

MAX_TOP_K = 100


class BoxField(serializers.ListField):
    """`[x, y, width, height]` in pixels of the upright picture."""

    child = serializers.FloatField()


class SizeSerializer(serializers.Serializer[Any]):
    width = serializers.IntegerField()
    height = serializers.IntegerField()


class QualitySerializer(serializers.Serializer[Any]):
    """0.5 is the limit of a good portrait; `reasons` name what is wrong."""

    score = serializers.FloatField()
    size_px = serializers.FloatField()
    sharpness = serializers.FloatField()
    brightness = serializers.FloatField()
    detector_score = serializers.FloatField()
    yaw = serializers.FloatField(allow_null=True)
    roll = serializers.FloatField(allow_null=True)
    reasons = serializers.ListField(child=serializers.CharField())


class DetectedFaceSerializer(serializers.Serializer[Any]):
    box = BoxField()
    score = serializers.FloatField()
    landmarks = serializers.DictField(child=serializers.ListField(child=serializers.FloatField()), allow_null=True)
    quality = QualitySerializer()


class DetectAnswerSerializer(serializers.Serializer[Any]):
    image = SizeSerializer()
    faces = DetectedFaceSerializer(many=True)


class DetectRequestSerializer(PictureSerializer):
    """A picture."""


class CandidateIdentitySerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    external_id = serializers.CharField(allow_null=True)
    name = serializers.CharField()


class CandidateSerializer(serializers.Serializer[Any]):
    identity = CandidateIdentitySerializer()
    similarity = serializers.FloatField()


class RecognisedFaceSerializer(serializers.Serializer[Any]):
    box = BoxField()
    score = serializers.FloatField()
    candidates = CandidateSerializer(many=True, help_text="Most similar first; empty: unknown.")


class RecognizeAnswerSerializer(serializers.Serializer[Any]):
    faces = RecognisedFaceSerializer(many=True)


class RecognizeRequestSerializer(PictureSerializer):
    """A picture and how to search."""

    collection = serializers.CharField(required=False, allow_blank=True, max_length=60, help_text="Name or id")
    top_k = serializers.IntegerField(default=5, min_value=1, max_value=MAX_TOP_K)
    min_similarity = serializers.FloatField(default=DECISION, min_value=0, max_value=1)
    register_unknown = serializers.BooleanField(
        default=False, help_text="Keep good faces that match nobody as unknown people; needs the scope enrol."
    )


class VerifyAnswerSerializer(serializers.Serializer[Any]):
    same = serializers.BooleanField()
    similarity = serializers.FloatField()
    distance = serializers.FloatField()
    threshold = serializers.FloatField()
    faces = DetectedFaceSerializer(many=True)


class VerifyRequestSerializer(serializers.Serializer[dict[str, Any]]):
    """Two pictures; the largest face of each counts."""

    image_a = PictureField(required=False)
    image_a_url = serializers.CharField(required=False, allow_blank=True, max_length=2048)
    image_b = PictureField(required=False)
    image_b_url = serializers.CharField(required=False, allow_blank=True, max_length=2048)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        refuse_several(self, "image_a", "image_b")
        return {"data_a": take_picture(attrs, "image_a"), "data_b": take_picture(attrs, "image_b")}


def face_json(face: Any) -> dict[str, Any]:
    """A face as `detect` and `verify` answer it."""
    return {
        "box": face.box.as_list(),
        "score": round(face.score, 4),
        "landmarks": face.landmarks.as_dict() if face.landmarks else None,
        "quality": quality_json(face.quality),
    }


def analysis_json(analysis: FaceAnalysis | Any) -> dict[str, Any]:
    return {
        "image": {"width": analysis.width, "height": analysis.height},
        "faces": [face_json(face) for face in analysis.faces],
    }


class FaceView(APIView):
    """Takes pictures in every form; reading is enough."""

    parser_classes = PICTURE_PARSERS
    required_scope = Scope.READ


class DetectView(FaceView):
    """Find faces, with landmarks and quality. No face is an answer: `faces` is empty."""

    @extend_schema(
        operation_id="detect", request=picture_request(DetectRequestSerializer), responses=DetectAnswerSerializer
    )
    def post(self, request: Request) -> Response:
        serializer = DetectRequestSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        return Response(analysis_json(recognition.detect(data=serializer.validated_data["picture"])))


class RecognizeView(FaceView):
    """Name every face. A face without candidates is unknown."""

    @extend_schema(
        operation_id="recognize",
        request=picture_request(RecognizeRequestSerializer),
        responses=RecognizeAnswerSerializer,
    )
    def post(self, request: Request) -> Response:
        serializer = RecognizeRequestSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        asked, principal = serializer.validated_data, principal_of(request)
        if asked["register_unknown"]:
            principal.require_scope(Scope.ENROL)
        collection = find_collection(principal, asked.get("collection") or None)
        how = {name: asked[name] for name in ("top_k", "min_similarity")}
        faces = recognition.recognise(
            collection=collection, data=asked["picture"], register_strangers=asked["register_unknown"], **how
        )
        record(
            principal=principal,
            action=Action.RECOGNIZE,
            collection_id=collection.pk,
            probe=asked["picture"],
            details={"faces": len(faces), "named": sum(bool(face.candidates) for face in faces)} | how,
            identities=[each.identity.pk for face in faces for each in face.candidates],
        )
        return Response({"faces": [recognised_json(face) for face in faces]})


def recognised_json(recognised: recognition.RecognisedFace) -> dict[str, Any]:
    return {
        "box": recognised.face.box.as_list(),
        "score": round(recognised.face.score, 4),
        "candidates": [candidate_json(candidate) for candidate in recognised.candidates],
    }


class VerifyView(FaceView):
    """Are the largest faces of two pictures the same person's? `threshold` is the similarity that decides."""

    @extend_schema(
        operation_id="verify", request=picture_request(VerifyRequestSerializer), responses=VerifyAnswerSerializer
    )
    def post(self, request: Request) -> Response:
        serializer = VerifyRequestSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        asked = serializer.validated_data
        verified = recognition.verify(**asked)
        record(
            principal=principal_of(request),
            action=Action.VERIFY,
            collection_id=None,
            probe=asked["data_a"],
            details={"same": verified.same, "second_probe_sha256": sha256_of(asked["data_b"])},
        )
        return Response(
            {
                "same": verified.same,
                "similarity": round(verified.similarity, 4),
                "distance": round(verified.distance, 4),
                "threshold": verified.threshold,
                "faces": [face_json(face) for face in verified.faces],
            }
        )
