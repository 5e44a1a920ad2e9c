"""`/api/v1/portraits`: single portraits and their pictures."""

from typing import Any

from django.db.models import QuerySet
from django.db.models.fields.files import FieldFile
from django.http import FileResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import mixins, serializers, viewsets
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from portrait.core.auth import principal_of
from portrait.core.errors import NotFoundError
from portrait.core.models import Scope
from portrait.gallery.api.changes import DeletedSerializer, DeletionSerializer, EditAnswerSerializer, edit_json
from portrait.gallery.models import Portrait
from portrait.gallery.reports import portrait_json
from portrait.gallery.selectors import find_portrait, visible_portraits
from portrait.gallery.services import editing, identities
from portrait.gallery.services.journal import actor_of, grace_ends


class PortraitSerializer(serializers.Serializer[Portrait]):
    """An enrolled face; its picture and thumbnail are behind the two addresses, with the same key."""

    id = serializers.UUIDField()
    identity = serializers.UUIDField()
    width = serializers.IntegerField()
    height = serializers.IntegerField()
    box = serializers.ListField(child=serializers.FloatField())
    landmarks = serializers.DictField(allow_null=True)
    score = serializers.FloatField()
    quality = serializers.DictField()
    sha256 = serializers.CharField()
    image_url = serializers.CharField()
    thumbnail_url = serializers.CharField()
    created_at = serializers.DateTimeField()

    def to_representation(self, instance: Any) -> dict[str, Any]:
        return portrait_json(instance) if isinstance(instance, Portrait) else dict(instance)


@extend_schema(parameters=[OpenApiParameter("id", OpenApiTypes.UUID, OpenApiParameter.PATH)])
class PortraitViewSet(mixins.RetrieveModelMixin, mixins.DestroyModelMixin, viewsets.GenericViewSet[Portrait]):
    """Single portraits."""

    queryset = Portrait.objects.none()
    serializer_class = PortraitSerializer
    required_scopes = {
        "GET": Scope.READ,
        "HEAD": Scope.READ,
        "OPTIONS": Scope.READ,
        "DELETE": Scope.ENROL,
        "POST": Scope.ENROL,
    }

    def get_queryset(self) -> "QuerySet[Portrait]":
        return visible_portraits(principal_of(self.request))

    @extend_schema(parameters=[DeletionSerializer], responses={200: DeletedSerializer, 204: None})
    def destroy(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Delete a portrait: no face is compared with it from then on. Within the time of grace it can be restored;
        with `erase` it goes at once and for good."""
        portrait = self.get_object()
        asked = DeletionSerializer(data=request.query_params)
        asked.is_valid(raise_exception=True)
        if asked.validated_data["erase"]:
            identities.delete_portrait(portrait=portrait)
            return Response(status=204)
        change = editing.delete_portrait(portrait=portrait, actor=actor_of(principal_of(request)))
        told = {"restore": f"/api/v1/portraits/{portrait.pk}/restore", "until": grace_ends(None)}
        return Response(edit_json(change) | told)

    @extend_schema(request=None, responses=EditAnswerSerializer)
    @action(detail=True, methods=["post"])
    def restore(self, request: Request, pk: str) -> Response:
        """Take the deletion of a portrait back, within the time of grace."""
        portrait = find_portrait(principal_of(request), pk)
        change = editing.restore_portrait(portrait=portrait, actor=actor_of(principal_of(request)))
        return Response(edit_json(change))

    @extend_schema(responses={(200, "image/jpeg"): OpenApiTypes.BINARY})
    @action(detail=True)
    def image(self, request: Request, pk: str) -> FileResponse:
        """The whole picture, upright, as JPEG."""
        return picture_answer(self.get_object().image)

    @extend_schema(responses={(200, "image/jpeg"): OpenApiTypes.BINARY})
    @action(detail=True)
    def thumbnail(self, request: Request, pk: str) -> FileResponse:
        """The face, at most 160 pixels a side, as JPEG."""
        return picture_answer(self.get_object().thumbnail)


def picture_answer(file: FieldFile) -> FileResponse:
    """A stored JPEG, private to the caller.

    Raises:
        NotFoundError: the file is gone from the storage.
    """
    try:
        opened = file.open("rb")
    except FileNotFoundError:
        raise NotFoundError("The picture's file is missing from the storage.") from None
    headers = {"Cache-Control": "private, no-store", "X-Content-Type-Options": "nosniff"}
    return FileResponse(opened, content_type="image/jpeg", headers=headers)
