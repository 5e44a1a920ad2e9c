"""`/api/v1/retention-rules`: how long what is kept."""

from typing import Any

from django.db import IntegrityError
from django.db.models import QuerySet
from rest_framework import mixins, serializers, viewsets

from portrait.core.auth import principal_of
from portrait.core.errors import ConflictError
from portrait.core.models import Scope
from portrait.core.strict import StrictSerializer
from portrait.gallery.selectors import find_collection
from portrait.privacy.models import OF_THE_INSTALLATION, RetentionRule
from portrait.privacy.selectors import visible_rules
from portrait.privacy.services.rules import remove_rule, save_rule

MOST_DAYS = 36_500


class RetentionRuleSerializer(StrictSerializer, serializers.ModelSerializer[RetentionRule]):
    """How long something is kept. `collection` null: in all collections that have no rule of their own."""

    collection = serializers.CharField(required=False, allow_null=True, default=None, help_text="Name or id")
    days = serializers.IntegerField(min_value=1, max_value=MOST_DAYS)

    class Meta:
        model = RetentionRule
        fields = ["id", "collection", "purpose", "days", "created_at"]
        read_only_fields = ["id", "created_at"]
        validators: list[Any] = []  # the database sees to it that there is one rule a purpose

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        wanted = attrs.get("collection")
        if wanted is not None and attrs["purpose"] in OF_THE_INSTALLATION:
            raise serializers.ValidationError(
                {"collection": "Of this purpose there is one rule for all collections: leave the collection out."}
            )
        principal = principal_of(self.context["request"])
        if wanted is None:
            principal.require_all_collections()
        attrs["collection"] = find_collection(principal, wanted) if wanted is not None else None
        return attrs

    def create(self, validated_data: dict[str, Any]) -> RetentionRule:
        rule = RetentionRule(**validated_data)
        try:
            save_rule(rule=rule, principal=principal_of(self.context["request"]))
        except IntegrityError:
            raise ConflictError("There is a rule for this purpose already: delete it first.", field="purpose") from None
        return rule


class RetentionRuleViewSet(
    mixins.ListModelMixin,
    mixins.CreateModelMixin,
    mixins.DestroyModelMixin,
    viewsets.GenericViewSet[RetentionRule],
):
    """How long what is kept, by purpose: in one collection, or in all."""

    queryset = RetentionRule.objects.none()
    serializer_class = RetentionRuleSerializer
    required_scope = Scope.ADMIN
    lookup_value_regex = r"[0-9a-fA-F-]{36}"

    def get_queryset(self) -> "QuerySet[RetentionRule]":
        return visible_rules(principal_of(self.request))

    def perform_destroy(self, instance: RetentionRule) -> None:
        if instance.collection_id is None:
            principal_of(self.request).require_all_collections()
        remove_rule(rule=instance, principal=principal_of(self.request))
