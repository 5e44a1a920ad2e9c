"""`/api/v1/identities`, and the portraits of one."""

import json
from typing import Any

from django.db.models import QuerySet
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view
from rest_framework import serializers, viewsets
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from portrait.core.auth import principal_of
from portrait.core.models import Scope
from portrait.core.pictures import PICTURE_PARSERS, picture_request
from portrait.core.strict import StrictFilterSerializer, StrictSerializer
from portrait.gallery.api import enrol
from portrait.gallery.api.changes import DeletedSerializer, DeletionSerializer, edit_json
from portrait.gallery.face_choice import parse_choice
from portrait.gallery.metadata import MAX_CONSENT_CHARS, MAX_METADATA_BYTES, BadMetadataError, check_metadata
from portrait.gallery.models import Identity
from portrait.gallery.reports import log_resemblances, report_json
from portrait.gallery.selectors import (
    deleted_identities,
    filter_identities,
    find_collection,
    find_deleted,
    find_identity,
    visible_identities,
    with_portrait_counts,
)
from portrait.gallery.services import editing, identities
from portrait.gallery.services.enrolment import enrol_person
from portrait.gallery.services.journal import actor_of, grace_ends


class MetadataField(serializers.JSONField):
    """A JSON object of at most 64 KB; in a multipart form as its text."""

    default_error_messages = {
        "object": "Send a JSON object.",
        "size": f"At most {MAX_METADATA_BYTES // 1024} KB.",
        "null": "Text must not contain the character U+0000, nor half of a surrogate pair.",
    }

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        value = super().to_internal_value(data)
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except ValueError:
                self.fail("object")
        if not isinstance(value, dict):
            self.fail("object")
        try:
            check_metadata(value)
        except BadMetadataError as error:
            self.fail(error.code)
        return value


class IdentitySerializer(serializers.ModelSerializer[Identity]):
    """A person. `metadata` is yours to fill; `action` tells clients what to do when the person is seen."""

    collection = serializers.CharField(source="collection.name", read_only=True)
    portrait_count = serializers.IntegerField(read_only=True)
    external_id = serializers.CharField(max_length=200, required=False, allow_null=True)
    metadata = MetadataField(required=False)

    class Meta:
        model = Identity
        fields = [
            "id",
            "collection",
            "external_id",
            "name",
            "metadata",
            "action",
            "kind",
            "hidden",
            "consent",
            "keep_until",
            "deleted_at",
            "portrait_count",
            "created_at",
            "updated_at",
        ]
        read_only_fields = ["kind", "deleted_at"]


class IdentityRequestSerializer(enrol.PhotosSerializer):
    """A new identity, at once with its portraits if pictures are sent.

    With an `external_id` that the collection knows, the pictures are appended to that identity.
    """

    collection = serializers.CharField(required=False, allow_blank=True, max_length=60, help_text="Name or id")
    external_id = serializers.CharField(max_length=200, required=False, allow_null=True, allow_blank=True)
    name = serializers.CharField(max_length=200)
    metadata = MetadataField(required=False)
    action = serializers.CharField(max_length=200, required=False, allow_blank=True)
    hidden = serializers.BooleanField(default=False)
    consent = serializers.CharField(
        required=False, allow_blank=True, max_length=MAX_CONSENT_CHARS, help_text="On what ground the person is kept"
    )
    keep_until = serializers.DateField(required=False, allow_null=True, help_text="Erased after this day")


class IdentityAnswerSerializer(IdentitySerializer):
    results = enrol.ReportSerializer(many=True)

    class Meta(IdentitySerializer.Meta):
        fields = [*IdentitySerializer.Meta.fields, "results"]


class IdentityFilterSerializer(StrictFilterSerializer):
    """Query parameters of the list."""

    collection = serializers.CharField(required=False, max_length=60)
    external_id = serializers.CharField(required=False, max_length=200)
    name = serializers.CharField(required=False, max_length=200, help_text="Part of the name")
    kind = serializers.ChoiceField(required=False, choices=Identity.Kind.choices)
    hidden = serializers.BooleanField(required=False, allow_null=True, default=None)
    consent = serializers.BooleanField(
        required=False, allow_null=True, default=None, help_text="false: those without a note on consent"
    )
    deleted = serializers.BooleanField(default=False, help_text="Those who were deleted, and can be restored")


class IdentityChangeSerializer(StrictSerializer, IdentitySerializer):
    """What can be changed of a person."""

    also = frozenset({"change", "job"})  # told by an answer, which can be sent again


class IdentityEditedSerializer(IdentitySerializer):
    """A person after an edit; `change` is its row in the journal, null where nothing was changed."""

    change = serializers.IntegerField(allow_null=True)
    job = serializers.UUIDField(allow_null=True, help_text="The job that brings the history after it, if one has to")

    class Meta(IdentitySerializer.Meta):
        fields = [*IdentitySerializer.Meta.fields, "change", "job"]


IDENTITY_ID = OpenApiParameter("id", OpenApiTypes.UUID, OpenApiParameter.PATH)


@extend_schema_view(
    list=extend_schema(parameters=[IdentityFilterSerializer]),
    retrieve=extend_schema(parameters=[IDENTITY_ID]),
    create=extend_schema(
        request=picture_request(IdentityRequestSerializer),
        responses={200: IdentityAnswerSerializer, 201: IdentityAnswerSerializer},
    ),
)
class IdentityViewSet(viewsets.ModelViewSet[Identity]):
    """People, known and unknown."""

    queryset = Identity.objects.none()
    serializer_class = IdentitySerializer
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

    def get_queryset(self) -> "QuerySet[Identity]":
        principal = principal_of(self.request)
        found = with_portrait_counts(visible_identities(principal))
        if self.action != "list":
            return found
        serializer = IdentityFilterSerializer(data=self.request.query_params)
        serializer.is_valid(raise_exception=True)
        asked = dict(serializer.validated_data)
        if asked.pop("deleted"):
            found = with_portrait_counts(deleted_identities(principal))
        if "collection" in asked:
            asked["collection"] = find_collection(principal, asked["collection"])
        return filter_identities(found, **asked)

    def get_object(self) -> Identity:
        return find_identity(principal_of(self.request), self.kwargs["pk"])

    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        serializer = IdentityRequestSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        asked = dict(serializer.validated_data)
        collection = find_collection(principal_of(request), asked.pop("collection", None) or None)
        asked["external_id"] = asked.get("external_id") or None
        choice = parse_choice(asked.pop("face"))
        identity, created, reports = enrol_person(collection=collection, choice=choice, **asked)
        log_resemblances(principal=principal_of(request), collection_id=collection.pk, reports=reports)
        body = IdentitySerializer(self.get_queryset().get(pk=identity.pk)).data
        results = [report_json(report) for report in reports]
        return Response(body | {"results": results}, status=201 if created else 200)

    @extend_schema(parameters=[IDENTITY_ID], request=IdentityChangeSerializer, responses=IdentityEditedSerializer)
    def partial_update(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Change a person; whoever gets a name is known from then on. The journal notes it, and can undo it."""
        identity = self.get_object()
        serializer = IdentityChangeSerializer(identity, data=request.data, partial=True)
        serializer.is_valid(raise_exception=True)
        actor = actor_of(principal_of(request))
        change = editing.update(identity=identity, actor=actor, **serializer.validated_data)
        return Response(self._told(identity) | edit_json(change))

    @extend_schema(parameters=[IDENTITY_ID, DeletionSerializer], responses={200: DeletedSerializer, 204: None})
    def destroy(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Delete a person: nobody sees or recognises them from then on. Within the time of grace they can be restored,
        then they are erased; with `erase` at once and for good."""
        identity = self.get_object()
        asked = DeletionSerializer(data=request.query_params)
        asked.is_valid(raise_exception=True)
        if asked.validated_data["erase"]:
            identities.delete_identity(identity=identity)
            return Response(status=204)
        change = editing.delete(identity=identity, actor=actor_of(principal_of(request)))
        told = {"restore": f"/api/v1/identities/{identity.pk}/restore", "until": grace_ends(identity.deleted_at)}
        return Response(edit_json(change) | told)

    @extend_schema(parameters=[IDENTITY_ID], request=None, responses=IdentityEditedSerializer)
    @action(detail=True, methods=["post"])
    def restore(self, request: Request, pk: str) -> Response:
        """Take the deletion of a person back, within the time of grace."""
        identity = find_deleted(principal_of(request), pk)
        change = editing.restore(identity=identity, actor=actor_of(principal_of(request)))
        return Response(self._told(identity) | edit_json(change))

    def _told(self, identity: Identity) -> dict[str, Any]:
        return dict(IdentitySerializer(self.get_queryset().get(pk=identity.pk)).data)
