"""`/api/v1/suggestions`: what people are asked about identities, and their answers."""

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view
from rest_framework import mixins, serializers, viewsets
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from portrait.core.auth import principal_of
from portrait.core.models import Scope
from portrait.core.pagination import NewestFirstPagination
from portrait.core.strict import StrictFilterSerializer, StrictSerializer
from portrait.curation.actions import FOR_PORTRAITS, Action
from portrait.curation.models import Kind, State, Suggestion
from portrait.curation.selectors import naming, visible_suggestions
from portrait.curation.services import answers
from portrait.curation.services.starting import start_scan
from portrait.curation.shown import told
from portrait.gallery.models import Identity
from portrait.gallery.selectors import find_collection, find_identity
from portrait.gallery.services.journal import actor_of

SUGGESTION_ID = OpenApiParameter("id", OpenApiTypes.UUID, OpenApiParameter.PATH)


class SuggestedIdentitySerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    external_id = serializers.CharField(allow_null=True)
    name = serializers.CharField()
    kind = serializers.ChoiceField(choices=Identity.Kind.choices)
    thumbnail_url = serializers.CharField(allow_null=True)


class SuggestedPortraitSerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    identity = serializers.UUIDField()
    quality = serializers.FloatField(allow_null=True)
    image_url = serializers.CharField()
    thumbnail_url = serializers.CharField()


class SuggestionSerializer(serializers.Serializer[Suggestion]):
    """A question about people or portraits; `action` is what confirming it does."""

    id = serializers.UUIDField()
    collection = serializers.CharField()
    kind = serializers.ChoiceField(choices=Kind.choices)
    state = serializers.ChoiceField(choices=State.choices)
    score = serializers.FloatField(help_text="0..1, how sure it is")
    similarity = serializers.FloatField(allow_null=True)
    reason = serializers.CharField()
    action = serializers.ChoiceField(choices=[str(each) for each in Action])
    identities = SuggestedIdentitySerializer(many=True)
    portraits = SuggestedPortraitSerializer(many=True)
    details = serializers.DictField()
    changes = serializers.ListField(child=serializers.IntegerField(), help_text="Of the journal, by the answer")
    decided_by = serializers.CharField(allow_null=True)
    decided_at = serializers.DateTimeField(allow_null=True)
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()

    def to_representation(self, instance: Any) -> dict[str, Any]:
        return told([instance])[0] if isinstance(instance, Suggestion) else dict(instance)


class SuggestionFilterSerializer(StrictFilterSerializer):
    """Query parameters of the list; those that wait for an answer, unless `state` names others."""

    kind = serializers.ChoiceField(required=False, choices=Kind.choices)
    state = serializers.ChoiceField(required=False, choices=State.choices, default=State.OPEN)
    collection = serializers.CharField(required=False, max_length=60, help_text="Name or id")
    identity = serializers.UUIDField(required=False, help_text="That name this person")


class ConfirmSerializer(StrictSerializer):
    into = serializers.UUIDField(
        required=False, allow_null=True, help_text="Of several people the one who stays; of a portrait whose it is"
    )
    action = serializers.ChoiceField(
        required=False, allow_null=True, choices=[str(each) for each in FOR_PORTRAITS], help_text="For portraits"
    )


class NameSerializer(StrictSerializer):
    name = serializers.CharField(max_length=200)
    into = serializers.UUIDField(required=False, allow_null=True, help_text="Who of them stays")


class NothingSerializer(StrictSerializer):
    """An empty body."""


class ScanSerializer(StrictSerializer):
    collection = serializers.CharField(required=False, max_length=60, help_text="Name or id")
    full = serializers.BooleanField(default=False, help_text="Everybody, not only those of whom something changed")


class ScanAnswerSerializer(serializers.Serializer[Any]):
    job = serializers.UUIDField(help_text="See /api/v1/jobs/{id}")
    started = serializers.BooleanField(help_text="False: a scan of the collection was under way already")


class LikeliestFirstPagination(NewestFirstPagination):
    """The surest first."""

    ordering = ("-score", "-id")


@extend_schema_view(
    list=extend_schema(parameters=[SuggestionFilterSerializer]), retrieve=extend_schema(parameters=[SUGGESTION_ID])
)
class SuggestionViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet[Suggestion]):
    """Suggestions: people who may be one, portraits that do not fit. The surest first."""

    queryset = Suggestion.objects.none()
    serializer_class = SuggestionSerializer
    pagination_class = LikeliestFirstPagination
    required_scopes = {"GET": Scope.READ, "HEAD": Scope.READ, "OPTIONS": Scope.READ, "POST": Scope.ENROL}

    def get_queryset(self) -> "QuerySet[Suggestion]":
        return visible_suggestions(principal_of(self.request))

    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Those that wait for an answer, or those in another state."""
        asked = SuggestionFilterSerializer(data=request.query_params)
        asked.is_valid(raise_exception=True)
        page = self.paginate_queryset(self._filtered(dict(asked.validated_data)))
        return self.get_paginated_response(told(page or []))

    def _filtered(self, asked: dict[str, Any]) -> "QuerySet[Suggestion]":
        principal = principal_of(self.request)
        rows = self.get_queryset().filter(state=asked["state"])
        if "kind" in asked:
            rows = rows.filter(kind=asked["kind"])
        if "collection" in asked:
            rows = rows.filter(collection=find_collection(principal, asked["collection"]))
        if "identity" in asked:
            rows = rows.filter(naming([find_identity(principal, str(asked["identity"])).pk]))
        return rows

    @extend_schema(parameters=[SUGGESTION_ID], request=ConfirmSerializer, responses=SuggestionSerializer)
    @action(detail=True, methods=["post"])
    def confirm(self, request: Request, pk: str) -> Response:
        """Yes: the people become one, the portrait goes where it belongs."""
        asked = _read(ConfirmSerializer, request)
        row = answers.confirm(suggestion=self.get_object(), actor=actor_of(principal_of(request)), **asked)
        return Response(told([row])[0])

    @extend_schema(parameters=[SUGGESTION_ID], request=NothingSerializer, responses=SuggestionSerializer)
    @action(detail=True, methods=["post"])
    def reject(self, request: Request, pk: str) -> Response:
        """No; it is not asked again."""
        _read(NothingSerializer, request)
        row = answers.reject(suggestion=self.get_object(), actor=actor_of(principal_of(request)))
        return Response(told([row])[0])

    @extend_schema(parameters=[SUGGESTION_ID], request=NameSerializer, responses=SuggestionSerializer)
    @action(detail=True, methods=["post"], url_path="name")
    def give_name(self, request: Request, pk: str) -> Response:
        """Yes, and this is the person's name."""
        asked = _read(NameSerializer, request)
        row = answers.name(suggestion=self.get_object(), actor=actor_of(principal_of(request)), **asked)
        return Response(told([row])[0])

    @extend_schema(parameters=[SUGGESTION_ID], request=NothingSerializer, responses=SuggestionSerializer)
    @action(detail=True, methods=["post"])
    def undo(self, request: Request, pk: str) -> Response:
        """Take the answer back, with what it changed."""
        _read(NothingSerializer, request)
        row = answers.undo(suggestion=self.get_object(), actor=actor_of(principal_of(request)))
        return Response(told([row])[0])

    @extend_schema(request=ScanSerializer, responses={202: ScanAnswerSerializer})
    @action(detail=False, methods=["post"])
    def scan(self, request: Request) -> Response:
        """Look a collection through for new suggestions, as a job."""
        principal, asked = principal_of(request), _read(ScanSerializer, request)
        collection = find_collection(principal, asked.get("collection"))
        job, started = start_scan(collection=collection, full=asked["full"], api_key_id=principal.api_key_id)
        return Response({"job": str(job.pk), "started": started}, status=202)


def _read(shape: type[StrictSerializer], request: Request) -> dict[str, Any]:
    serializer = shape(data=request.data)
    serializer.is_valid(raise_exception=True)
    return dict(serializer.validated_data)
