"""`/api/v1/sightings`: who was where, and when."""

from typing import Any

from django.db.models import QuerySet
from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view
from rest_framework import mixins, serializers, viewsets
from rest_framework.decorators import action
from rest_framework.request import Request

from portrait.core.auth import principal_of
from portrait.core.errors import NotFoundError
from portrait.core.models import Scope
from portrait.core.pagination import NewestFirstPagination
from portrait.core.principal import Principal
from portrait.gallery.models import Identity
from portrait.gallery.selectors import find_collection, visible_identities
from portrait.sightings.api.shapes import MAX_CHOSEN, SightingSerializer, TimeFilterSerializer, asked_of, jpeg_answer
from portrait.sightings.models import Sighting
from portrait.sightings.selectors import find_cameras, overlapping, visible_sightings
from portrait.sightings.services import erasure, pictures

SIGHTING_ID = OpenApiParameter("id", OpenApiTypes.UUID, OpenApiParameter.PATH)


class SightingFilterSerializer(TimeFilterSerializer):
    """Query parameters of the list. `since` and `until` find what lasts into that stretch of time."""

    identity = serializers.ListField(
        child=serializers.UUIDField(), required=False, max_length=MAX_CHOSEN, help_text="Repeat it for several"
    )
    kind = serializers.ChoiceField(required=False, choices=Identity.Kind.choices)
    name = serializers.CharField(required=False, max_length=200, help_text="Part of the person's name")
    open = serializers.BooleanField(required=False, allow_null=True, default=None)
    min_hits = serializers.IntegerField(required=False, min_value=1, max_value=2**31 - 1)
    hidden = serializers.BooleanField(
        required=False,
        allow_null=True,
        default=None,
        help_text="Of hidden people, who are left out unless this or `identity` asks for them",
    )


class SightingPagination(NewestFirstPagination):
    """Newest first, by the time of capture."""

    ordering = ("-first_seen", "-id")


def filtered(sightings: "QuerySet[Sighting]", principal: Principal, asked: dict[str, Any]) -> "QuerySet[Sighting]":
    """What fits all that is asked.

    Raises:
        NotFoundError: a collection, camera or identity is out of reach.
    """
    collection = find_collection(principal, asked["collection"]) if "collection" in asked else None
    cameras = find_cameras(principal, asked.get("camera", ()), collection)
    wanted = set(asked.get("identity", ()))
    # A key that is bound to cameras is not even told whom there is.
    if principal.camera_ids is None and visible_identities(principal).filter(pk__in=wanted).count() != len(wanted):
        raise NotFoundError("There is no such identity.", field="identity")
    hidden = asked["hidden"] if asked["hidden"] is not None or wanted else False
    lookups: dict[str, Any] = {
        "collection": collection,
        "camera__in": cameras or None,
        "identity__in": wanted or None,
        "identity__kind": asked.get("kind"),
        "identity__name__icontains": asked.get("name"),
        "identity__hidden": hidden,
        "hits__gte": asked.get("min_hits"),
        "open": asked["open"],
    }
    found = sightings.filter(overlapping(asked.get("since"), asked.get("until")))
    return found.filter(**{lookup: value for lookup, value in lookups.items() if value is not None})


@extend_schema_view(
    list=extend_schema(parameters=[SightingFilterSerializer]),
    retrieve=extend_schema(parameters=[SIGHTING_ID]),
    destroy=extend_schema(parameters=[SIGHTING_ID]),
)
class SightingViewSet(
    mixins.ListModelMixin, mixins.RetrieveModelMixin, mixins.DestroyModelMixin, viewsets.GenericViewSet[Sighting]
):
    """Sightings: who was where, and when. They are made out of frames, never by a call.

    Deleting one takes it back: its faces are nobody's any more, until they expire."""

    queryset = Sighting.objects.none()
    serializer_class = SightingSerializer
    pagination_class = SightingPagination
    for_cameras = True
    required_scopes = {"GET": Scope.READ, "HEAD": Scope.READ, "OPTIONS": Scope.READ, "DELETE": Scope.ENROL}

    def get_queryset(self) -> "QuerySet[Sighting]":
        principal = principal_of(self.request)
        found = visible_sightings(principal)
        if self.action != "list":
            return found
        return filtered(found, principal, asked_of(self.request, SightingFilterSerializer))

    def perform_destroy(self, instance: Sighting) -> None:
        erasure.delete_sighting(sighting=instance)

    @extend_schema(parameters=[SIGHTING_ID], responses={(200, "image/jpeg"): OpenApiTypes.BINARY})
    @action(detail=True)
    def picture(self, request: Request, pk: str) -> HttpResponse:
        """The best face with its surroundings, as JPEG; other people's faces in it are made coarse."""
        return jpeg_answer(pictures.sighting_picture(self.get_object()))
