"""`/api/v1/search`: every past sighting of the person in a picture."""

from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from inference.calibration import DECISION
from portrait.audit.models import Action
from portrait.audit.services import record
from portrait.core.auth import principal_of
from portrait.core.models import Scope as KeyScope
from portrait.core.pictures import PICTURE_PARSERS, PictureSerializer, picture_request
from portrait.core.principal import Principal
from portrait.gallery.api.faces import CandidateSerializer, DetectedFaceSerializer, face_json
from portrait.gallery.face_choice import parse_choice
from portrait.gallery.models import Identity
from portrait.gallery.reports import candidate_json
from portrait.gallery.selectors import find_collection
from portrait.sightings.api.shapes import (
    MAX_CHOSEN,
    BoxField,
    CameraRefSerializer,
    IdentityRefSerializer,
    SightingSerializer,
    SimilarityField,
)
from portrait.sightings.selectors import Scope, find_cameras
from portrait.sightings.services.search import Found, FoundFace, search

LEAST_SIMILARITY = 0.3
MAX_TOP_K = 500


class SearchRequestSerializer(PictureSerializer):
    """A picture, and where and when to look."""

    face = serializers.CharField(
        required=False,
        allow_blank=True,
        max_length=100,
        help_text="Which face, where the picture holds several: `largest`, or a box `x,y,width,height`",
    )
    collection = serializers.CharField(required=False, allow_blank=True, max_length=60, help_text="Name or id")
    cameras = serializers.ListField(child=serializers.UUIDField(), required=False, max_length=MAX_CHOSEN)
    since = serializers.DateTimeField(required=False)
    until = serializers.DateTimeField(required=False)
    min_similarity = serializers.FloatField(default=DECISION, min_value=LEAST_SIMILARITY, max_value=1)
    top_k = serializers.IntegerField(default=50, min_value=1, max_value=MAX_TOP_K)
    kind = serializers.ChoiceField(
        required=False, choices=Identity.Kind.choices, help_text="Only people known by name, or only others"
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if "since" in attrs and "until" in attrs and attrs["since"] > attrs["until"]:
            raise serializers.ValidationError({"since": "It lies after 'until'."})
        attrs["choice"] = parse_choice(attrs.pop("face", ""))
        return super().validate(attrs)


class FoundSightingSerializer(SightingSerializer):
    """`similarity`: to the face of the picture. `matched_by`: what is that like it: `face`: a face of the sighting;
    `identity`: a portrait of the person."""

    similarity = SimilarityField()
    matched_by = serializers.ChoiceField(choices=["face", "identity"])


class FoundFaceSerializer(serializers.Serializer[FoundFace]):
    """A face that belongs to no sighting: seen too briefly, or not decided who it is."""

    detection = serializers.IntegerField(source="detection.pk")
    frame = serializers.IntegerField(source="detection.frame_id")
    camera = CameraRefSerializer(source="detection.camera")
    identity = IdentityRefSerializer(source="detection.identity", allow_null=True)
    box = BoxField(source="detection.box")
    captured_at = serializers.DateTimeField(source="detection.captured_at")
    similarity = SimilarityField()


class SearchAnswerSerializer(serializers.Serializer[Any]):
    """The most similar, newest first. `more`: there were more than `top_k`; narrow the time, or raise it."""

    face = DetectedFaceSerializer()
    identities = CandidateSerializer(many=True)
    sightings = FoundSightingSerializer(many=True)
    faces = FoundFaceSerializer(many=True)
    more = serializers.BooleanField()


def scope_of(principal: Principal, asked: dict[str, Any]) -> Scope:
    """Where and when a caller asks to look, within its reach."""
    collection = find_collection(principal, asked.get("collection") or None)
    cameras = frozenset(camera.pk for camera in find_cameras(principal, asked.get("cameras", ()), collection))
    return Scope(collection, cameras or principal.camera_ids, asked.get("since"), asked.get("until"))


def found_json(found: Found) -> dict[str, Any]:
    return {
        "face": face_json(found.face),
        "identities": [candidate_json(candidate) for candidate in found.identities],
        "sightings": [
            SightingSerializer(each.sighting).data
            | {"similarity": round(each.similarity, 4), "matched_by": each.matched_by}
            for each in found.sightings
        ],
        "faces": [FoundFaceSerializer(each).data for each in found.faces],
        "more": found.more,
    }


class SearchView(APIView):
    """Every past sighting of the person in a picture, unknown people included, as a timeline."""

    parser_classes = PICTURE_PARSERS
    required_scope = KeyScope.READ
    for_cameras = True

    @extend_schema(
        operation_id="search", request=picture_request(SearchRequestSerializer), responses=SearchAnswerSerializer
    )
    def post(self, request: Request) -> Response:
        serializer = SearchRequestSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        asked, principal = serializer.validated_data, principal_of(request)
        scope = scope_of(principal, asked)
        found = search(
            principal=principal,
            scope=scope,
            data=asked["picture"],
            choice=asked["choice"],
            min_similarity=asked["min_similarity"],
            top_k=asked["top_k"],
            kind=asked.get("kind"),
        )
        record(
            principal=principal,
            action=Action.SEARCH,
            collection_id=scope.collection.pk,
            probe=asked["picture"],
            details=logged(scope, found),
            identities=people_of(found),
        )
        return Response(found_json(found))


def logged(scope: Scope, found: Found) -> dict[str, Any]:
    """Of a search, for the audit log: where and when was looked, and how much was found."""
    told = {"identities": len(found.identities), "sightings": len(found.sightings), "faces": len(found.faces)}
    return told | {"cameras": sorted(map(str, scope.camera_ids or ())), "since": scope.since, "until": scope.until}


def people_of(found: Found) -> set[UUID]:
    """Everybody whom an answer names."""
    seen = {each.sighting.identity_id for each in found.sightings}
    faces = {each.detection.identity_id for each in found.faces if each.detection.identity_id is not None}
    return seen | faces | {each.identity.pk for each in found.identities}
