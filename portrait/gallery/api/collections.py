"""`/api/v1/collections`: tenants."""

from typing import Any, cast

from django.db.models import QuerySet
from rest_framework import serializers, viewsets
from rest_framework.serializers import BaseSerializer

from portrait.audit.models import Action
from portrait.audit.services import record
from portrait.core.auth import principal_of
from portrait.core.models import Scope
from portrait.core.pagination import NewestFirstPagination
from portrait.gallery.models import DEFAULT_COLLECTION, Collection
from portrait.gallery.selectors import find_collection, visible_collections
from portrait.gallery.services import identities


class CollectionSerializer(serializers.ModelSerializer[Collection]):
    """`threshold`: the distance that counts as similarity 0.5; null: the embedding model's own."""

    active_model = serializers.StringRelatedField[Any](read_only=True)
    threshold = serializers.FloatField(required=False, allow_null=True, min_value=0.01, max_value=2)

    class Meta:
        model = Collection
        fields = ["id", "name", "description", "threshold", "active_model", "created_at", "updated_at"]
        # The database decides about uniqueness; the service says so.
        extra_kwargs = {"name": {"validators": []}, "description": {"max_length": 2000}}

    def validate_name(self, name: str) -> str:
        return str(serializers.SlugField(max_length=60).run_validation(name))


class CollectionViewSet(viewsets.ModelViewSet[Collection]):
    """Collections within the key's reach, by name or id."""

    queryset = Collection.objects.none()
    serializer_class = CollectionSerializer
    pagination_class = NewestFirstPagination
    lookup_field = "name"
    lookup_value_regex = "[^/]+"
    http_method_names = ["get", "head", "options", "post", "patch", "delete"]
    required_scopes = {"GET": Scope.READ, "HEAD": Scope.READ, "OPTIONS": Scope.READ}

    def get_queryset(self) -> "QuerySet[Collection]":
        return visible_collections(principal_of(self.request))

    def get_object(self) -> Collection:
        return find_collection(principal_of(self.request), self.kwargs["name"])

    def perform_create(self, serializer: BaseSerializer[Collection]) -> None:
        principal_of(self.request).require_all_collections()
        serializer.instance = identities.create_collection(**serializer.validated_data)

    def perform_update(self, serializer: BaseSerializer[Collection]) -> None:
        collection = cast(Collection, serializer.instance)
        serializer.instance = identities.update_collection(collection=collection, **serializer.validated_data)

    def perform_destroy(self, instance: Collection) -> None:
        if instance.name != DEFAULT_COLLECTION:
            record(
                principal=principal_of(self.request),
                action=Action.ERASE,
                collection_id=instance.pk,
                details={"everybody": True},
            )
        identities.delete_collection(collection=instance)
