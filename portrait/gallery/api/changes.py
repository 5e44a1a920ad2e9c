"""`/api/v1/changes`: the journal of edits of people, and how to undo them."""

from typing import Any

from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_field, extend_schema_view
from rest_framework import mixins, serializers, viewsets
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from portrait.core.auth import principal_of
from portrait.core.models import Scope
from portrait.core.pagination import NewestFirstPagination
from portrait.core.strict import StrictFilterSerializer
from portrait.gallery.models import Change
from portrait.gallery.services import journal

CHANGE_ID = OpenApiParameter("id", int, OpenApiParameter.PATH)


class ChangeSerializer(serializers.ModelSerializer[Change]):
    """An edit of people: who, when, what."""

    collection = serializers.CharField(source="collection.name")
    identities = serializers.ListField(child=serializers.UUIDField(), help_text="Whom it is about")
    details = serializers.DictField(help_text="What a reader wants to know beyond that")
    undoes = serializers.IntegerField(source="undoes_id", allow_null=True, help_text="The change that this one undoes")
    undone_by = serializers.SerializerMethodField(help_text="The change that undid this one")
    job = serializers.UUIDField(source="job_id", allow_null=True, help_text="The job that brings the history after it")

    class Meta:
        model = Change
        fields = ["id", "collection", "action", "actor", "at", "identities", "details", "undoes", "undone_by", "job"]

    @extend_schema_field({"type": "integer", "nullable": True})
    def get_undone_by(self, change: Change) -> int | None:
        undone = getattr(change, "undone_by", None)
        return undone.pk if undone is not None else None


class ChangeDetailSerializer(ChangeSerializer):
    steps = serializers.ListField(child=serializers.DictField(), help_text="Its writes, each of which can be inverted")

    class Meta(ChangeSerializer.Meta):
        fields = [*ChangeSerializer.Meta.fields, "steps"]


class ChangeFilterSerializer(StrictFilterSerializer):
    """Query parameters of the list."""

    identity = serializers.UUIDField(required=False, help_text="About this person")
    action = serializers.CharField(required=False, max_length=20, help_text="rename, merge, split, undo ...")


class ChangePagination(NewestFirstPagination):
    """Newest first."""

    ordering = ("-id", "-at")


@extend_schema_view(
    list=extend_schema(parameters=[ChangeFilterSerializer]),
    retrieve=extend_schema(parameters=[CHANGE_ID], responses=ChangeDetailSerializer),
)
class ChangeViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet[Change]):
    """The journal: every edit of people, newest first."""

    queryset = Change.objects.none()
    serializer_class = ChangeSerializer
    pagination_class = ChangePagination
    lookup_value_regex = "[0-9]{1,18}"
    required_scopes = {"GET": Scope.READ, "HEAD": Scope.READ, "OPTIONS": Scope.READ, "POST": Scope.ENROL}

    def get_queryset(self) -> "QuerySet[Change]":
        principal = principal_of(self.request)
        found = Change.objects.select_related("collection", "undone_by").defer("undone_by__steps")
        if principal.collection_ids is not None:
            found = found.filter(collection_id__in=principal.collection_ids)
        if self.action != "list":
            return found
        found = found.defer("steps", "undone_by__steps")  # they may be long, and a list shows none
        serializer = ChangeFilterSerializer(data=self.request.query_params)
        serializer.is_valid(raise_exception=True)
        asked = serializer.validated_data
        if "identity" in asked:
            found = found.filter(identities__contains=[asked["identity"]])
        return found.filter(action=asked["action"]) if "action" in asked else found

    def get_serializer_class(self) -> type[ChangeSerializer]:
        return ChangeSerializer if self.action == "list" else ChangeDetailSerializer

    @extend_schema(parameters=[CHANGE_ID], request=None, responses=ChangeDetailSerializer)
    @action(detail=True, methods=["post"])
    def undo(self, request: Request, pk: str) -> Response:
        """Take a change back; the answer is the change that does it. Undoing that one does it again."""
        change = get_object_or_404(self.get_queryset(), pk=pk)
        undone = journal.undo(change=change, actor=journal.actor_of(principal_of(request)))
        return Response(ChangeDetailSerializer(self.get_queryset().get(pk=undone.pk)).data)


class EditAnswerSerializer(serializers.Serializer[Any]):
    """An edit that was made."""

    change = serializers.IntegerField(allow_null=True, help_text="See /api/v1/changes/{id}; null: nothing was changed")
    job = serializers.UUIDField(allow_null=True, help_text="The job that brings the history after it, if one has to")


class DeletionSerializer(StrictFilterSerializer):
    """Query parameters of a deletion."""

    erase = serializers.BooleanField(default=False, help_text="At once and for good, with all that was seen of them")


class DeletedSerializer(EditAnswerSerializer):
    restore = serializers.CharField(help_text="Where a POST takes the deletion back")
    until = serializers.DateTimeField(help_text="After this nothing can be restored")


def edit_json(change: Change | None) -> dict[str, Any]:
    """What an answer tells of the edit that was made."""
    job = change.job_id if change is not None else None
    return {"change": change.pk if change is not None else None, "job": str(job) if job else None}
