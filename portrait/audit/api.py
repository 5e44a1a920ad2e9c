"""`GET /api/v1/audit`: who asked what about whom."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.db.models import Q, QuerySet
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from portrait.audit.models import Action, ActorKind, AuditEntry
from portrait.audit.selectors import entries_about, people_in, visible_entries
from portrait.audit.services import record
from portrait.core.auth import principal_of
from portrait.core.models import Scope
from portrait.core.pagination import NewestFirstPagination
from portrait.core.strict import StrictFilterSerializer


class AuditPagination(NewestFirstPagination):
    """Newest first, by the order in which entries were written."""

    ordering = ("-id",)  # type: ignore[assignment]


class AuditFilterSerializer(StrictFilterSerializer):
    """Query parameters of the list."""

    collection = serializers.UUIDField(required=False, help_text="Its id")
    actor = serializers.CharField(required=False, max_length=200, help_text="Name or id of a key or user")
    action = serializers.ChoiceField(required=False, choices=Action.choices)
    identity = serializers.UUIDField(required=False, help_text="Requests that named this person or were about them")
    since = serializers.DateTimeField(required=False)
    until = serializers.DateTimeField(required=False)

    def validate_actor(self, value: str) -> str:
        return value.replace("\0", "")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if "since" in attrs and "until" in attrs and attrs["since"] > attrs["until"]:
            raise serializers.ValidationError({"since": "It lies after 'until'."})
        return attrs


class ActorSerializer(serializers.Serializer[Any]):
    kind = serializers.ChoiceField(choices=ActorKind.choices)
    id = serializers.CharField(allow_blank=True)
    name = serializers.CharField()


class AuditEntrySerializer(serializers.ModelSerializer[AuditEntry]):
    """One answered request. `identities`: those whom the answer named or who were asked about; `erased`: how many more
    there were who are erased by now. `probe_sha256`: of the picture's bytes as they were sent."""

    actor = serializers.SerializerMethodField()
    collection = serializers.UUIDField(source="collection_id", allow_null=True)
    identities = serializers.SerializerMethodField()
    erased = serializers.SerializerMethodField()
    details = serializers.DictField()

    class Meta:
        model = AuditEntry
        fields = [
            "id",
            "at",
            "action",
            "actor",
            "collection",
            "probe_sha256",
            "identities",
            "erased",
            "details",
            "address",
            "request_id",
        ]

    @extend_schema_field(ActorSerializer)
    def get_actor(self, entry: AuditEntry) -> dict[str, str]:
        return {"kind": entry.actor_kind, "id": entry.actor_id, "name": entry.actor}

    @extend_schema_field(serializers.ListField(child=serializers.UUIDField()))
    def get_identities(self, entry: AuditEntry) -> list[str]:
        people: Mapping[UUID, UUID] = self.context["people"]
        return sorted(str(people[each]) for each in entry.subjects if each in people)

    def get_erased(self, entry: AuditEntry) -> int:
        return sum(each not in self.context["people"] for each in entry.subjects)


class AuditView(ListAPIView[AuditEntry]):
    """Who asked what about whom, newest first. Reading it is logged as well.

    It has no name of anybody who was found, no picture and no vector. A key that is bound to collections sees what was
    asked about these.
    """

    queryset = AuditEntry.objects.none()
    serializer_class = AuditEntrySerializer
    pagination_class = AuditPagination
    required_scope = Scope.ADMIN

    @extend_schema(operation_id="audit_list", parameters=[AuditFilterSerializer])
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        asked = AuditFilterSerializer(data=request.query_params.dict())
        asked.is_valid(raise_exception=True)
        told = dict(asked.validated_data)
        page = self.paginate_queryset(filtered(visible_entries(principal_of(request)), **told)) or []
        record(
            principal=principal_of(request),
            action=Action.READ,
            collection_id=told.get("collection"),
            details={"entries": len(page), "asked": sorted(told.keys() - {"identity"})},
            identities=[told["identity"]] if page and "identity" in told else (),
        )
        serializer = AuditEntrySerializer(page, many=True, context={"people": people_in(page)})
        return self.get_paginated_response(serializer.data)


def filtered(
    entries: "QuerySet[AuditEntry]",
    *,
    collection: UUID | None = None,
    actor: str | None = None,
    action: str | None = None,
    identity: UUID | None = None,
    since: Any = None,
    until: Any = None,
) -> "QuerySet[AuditEntry]":
    """Those entries that fit."""
    if identity is not None:
        entries = entries & entries_about([identity])
    if actor is not None:
        entries = entries.filter(Q(actor=actor) | Q(actor_id=actor))
    wanted = {"collection_id": collection, "action": action, "at__gte": since, "at__lt": until}
    return entries.filter(**{name: value for name, value in wanted.items() if value is not None})
