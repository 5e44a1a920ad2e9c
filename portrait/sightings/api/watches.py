"""`/api/v1/watches`: whom to look for."""

from typing import Any, cast

from django.db.models import QuerySet
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view
from rest_framework import mixins, serializers, viewsets
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer

from inference.calibration import DECISION
from portrait.audit.models import Action
from portrait.audit.services import record
from portrait.core.auth import principal_of
from portrait.core.models import Scope
from portrait.core.pictures import (
    PICTURE_PARSERS,
    PictureField,
    picture_request,
    refuse_several,
    take_picture,
)
from portrait.core.principal import Principal
from portrait.core.strict import StrictSerializer
from portrait.gallery.face_choice import parse_choice
from portrait.gallery.selectors import find_collection, find_identity
from portrait.sightings.api.shapes import MAX_CHOSEN, CameraRefSerializer, IdentityRefSerializer
from portrait.sightings.models import Watch
from portrait.sightings.selectors import find_cameras, visible_watches
from portrait.sightings.services import watches
from portrait.sightings.services.watches import Watched

WATCH_ID = OpenApiParameter("id", OpenApiTypes.UUID, OpenApiParameter.PATH)


class WatchSerializer(serializers.Serializer[Watch]):
    """Somebody to look for, on all cameras of the collection or on some."""

    id = serializers.UUIDField()
    collection = serializers.CharField(source="collection.name")
    name = serializers.CharField()
    identity = IdentityRefSerializer()
    all_cameras = serializers.BooleanField(
        help_text="Made without cameras. A watch whose last camera was deleted looks nowhere"
    )
    cameras = CameraRefSerializer(many=True)
    min_similarity = serializers.FloatField()
    enabled = serializers.BooleanField()
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()


class WatchAnswerSerializer(WatchSerializer):
    resolved = serializers.ChoiceField(
        choices=["existing", "enrolled"],
        help_text="Whether the person was in the collection, or was enrolled with the picture",
    )


class WatchChangeSerializer(StrictSerializer):
    """What can be changed of a watch."""

    name = serializers.CharField(max_length=100, required=False)
    cameras = serializers.ListField(
        child=serializers.UUIDField(), required=False, max_length=MAX_CHOSEN, help_text="None: all of the collection"
    )
    min_similarity = serializers.FloatField(min_value=DECISION, max_value=1, required=False)
    enabled = serializers.BooleanField(required=False)


class WatchRequestSerializer(StrictSerializer):
    """Whom to look for: an identity, or the person in a picture. Somebody whom the collection does not know is enrolled
    with the picture, under the watch's name."""

    name = serializers.CharField(max_length=100)
    collection = serializers.CharField(required=False, allow_blank=True, max_length=60, help_text="Name or id")
    identity = serializers.UUIDField(required=False, allow_null=True)
    image = PictureField(required=False)
    image_url = serializers.CharField(required=False, allow_blank=True, max_length=2048)
    face = serializers.CharField(
        required=False,
        allow_blank=True,
        max_length=100,
        help_text="Which face, where the picture holds several: `largest`, or a box `x,y,width,height`",
    )
    force = serializers.BooleanField(default=False, help_text="Enrol a face of poor quality too")
    cameras = serializers.ListField(
        child=serializers.UUIDField(), required=False, max_length=MAX_CHOSEN, help_text="None: all of the collection"
    )
    min_similarity = serializers.FloatField(min_value=DECISION, max_value=1, default=DECISION)
    # A form without it would otherwise say false.
    enabled = serializers.BooleanField(
        required=False, allow_null=True, default=None, help_text="true, unless it is said to be false"
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        attrs["enabled"] = attrs["enabled"] is not False
        refuse_several(self, "image")
        attrs["choice"] = parse_choice(attrs.pop("face", ""))
        if attrs.get("identity") is None:
            attrs["data"] = take_picture(attrs, "image")
        elif attrs.pop("image", None) is not None or attrs.pop("image_url", ""):
            raise serializers.ValidationError({"identity": "Send either 'identity' or a picture."})
        return attrs


def create(principal: Principal, asked: dict[str, Any]) -> Watched:
    """Look for whom a caller names or shows, within its reach."""
    common = {name: asked[name] for name in ("name", "min_similarity", "enabled")}
    named = asked.get("collection") or None
    if asked.get("identity") is not None:
        identity = find_identity(principal, str(asked["identity"]))
        collection = find_collection(principal, named or str(identity.collection_id))
        if identity.collection_id != collection.pk:
            raise serializers.ValidationError({"identity": "It is of another collection."})
        cameras = find_cameras(principal, asked.get("cameras", ()), collection)
        return watches.watch_identity(identity=identity, cameras=cameras, **common)
    collection = find_collection(principal, named)
    made = watches.watch_face(
        collection=collection,
        cameras=find_cameras(principal, asked.get("cameras", ()), collection),
        data=asked["data"],
        choice=asked["choice"],
        force=asked["force"],
        **common,
    )
    known = [made.watch.identity_id] if made.resolved == "existing" else []  # it is told who that is
    told = {"watch": str(made.watch.pk), "named": len(known)}
    record(
        principal=principal,
        action=Action.SEARCH,
        collection_id=collection.pk,
        probe=asked["data"],
        details=told,
        identities=known,
    )
    return made


@extend_schema_view(
    create=extend_schema(request=picture_request(WatchRequestSerializer), responses={201: WatchAnswerSerializer}),
    retrieve=extend_schema(parameters=[WATCH_ID]),
    partial_update=extend_schema(parameters=[WATCH_ID], request=WatchChangeSerializer, responses=WatchSerializer),
    destroy=extend_schema(parameters=[WATCH_ID]),
)
class WatchViewSet(
    mixins.ListModelMixin, mixins.RetrieveModelMixin, mixins.DestroyModelMixin, viewsets.GenericViewSet[Watch]
):
    """The watchlist: whom to look for, and on which cameras. Whoever was enrolled for a watch outlives it."""

    queryset = Watch.objects.none()
    serializer_class = WatchSerializer
    parser_classes = PICTURE_PARSERS
    http_method_names = ["get", "head", "options", "post", "patch", "delete"]
    required_scopes = {
        "GET": Scope.READ,
        "HEAD": Scope.READ,
        "OPTIONS": Scope.READ,
        "POST": Scope.ENROL,
        "PATCH": Scope.ENROL,
        "DELETE": Scope.ENROL,
    }

    def get_queryset(self) -> "QuerySet[Watch]":
        return visible_watches(principal_of(self.request))

    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Look for an identity, or for the person in a picture."""
        serializer = WatchRequestSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        made = create(principal_of(request), serializer.validated_data)
        watch = self.get_queryset().get(pk=made.watch.pk)
        return Response(cast(dict[str, Any], WatchSerializer(watch).data) | {"resolved": made.resolved}, status=201)

    def partial_update(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Change the name, the cameras, the least similarity, or switch it on and off."""
        watch = self.get_object()
        serializer: BaseSerializer[Any] = WatchChangeSerializer(data=request.data, partial=True)
        serializer.is_valid(raise_exception=True)
        asked = dict(serializer.validated_data)
        if "cameras" in asked:
            asked["cameras"] = find_cameras(principal_of(request), asked["cameras"], watch.collection)
        watches.update_watch(watch=watch, **asked)
        return Response(WatchSerializer(self.get_queryset().get(pk=watch.pk)).data)
