"""`/api/v1/captions`, `/api/v1/objects`: pictures by what they show."""

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.generics import ListAPIView

from portrait.core.auth import principal_of
from portrait.core.errors import NotFoundError
from portrait.core.models import Scope
from portrait.core.pagination import NewestFirstPagination
from portrait.core.principal import Principal
from portrait.gallery.api.faces import BoxField
from portrait.gallery.selectors import find_collection, visible_identities
from portrait.scenes.api.shapes import FiniteField
from portrait.scenes.models import LABEL_CHARS, MODEL_CHARS, Caption, Method, SceneObject, Shown
from portrait.scenes.selectors import filtered, matching, visible_captions, visible_objects
from portrait.sightings.api.shapes import MAX_CHOSEN, CameraRefSerializer, TimeFilterSerializer, asked_of
from portrait.sightings.selectors import find_cameras

KINDS = ["frame", "portrait"]
MAX_QUERY_CHARS = 200


class ShownPagination(NewestFirstPagination):
    """Newest first, by the frame's capture time, or by when the portrait was enrolled."""

    ordering = ("-shown_at", "-id")


class ShownFilterSerializer(TimeFilterSerializer):
    """Query parameters of both lists. Times are capture times of frames, and of portraits when they were enrolled."""

    identity = serializers.ListField(
        child=serializers.UUIDField(), required=False, max_length=MAX_CHOSEN, help_text="Pictures that show this person"
    )
    kind = serializers.ChoiceField(required=False, choices=KINDS)
    model = serializers.CharField(required=False, max_length=MODEL_CHARS)


class CaptionFilterSerializer(ShownFilterSerializer):
    """Query parameters of the list."""

    q = serializers.CharField(
        required=False, max_length=MAX_QUERY_CHARS, help_text='Words of it, as people type: dog "red car" or -bus'
    )


class ObjectFilterSerializer(ShownFilterSerializer):
    """Query parameters of the list."""

    min_score = FiniteField(required=False, min_value=0, max_value=1)

    def get_fields(self) -> "dict[str, serializers.Field[Any, Any, Any, Any]]":
        # A field of the name `label` would hide an argument of the base.
        label = serializers.CharField(required=False, max_length=LABEL_CHARS, help_text="`dog`: as the model names it")
        return super().get_fields() | {"label": label}


class ShownSerializer(serializers.Serializer[Any]):
    """What was found, and where: in a camera's frame or in a portrait. `scene_url`: all that is known of it."""

    model = serializers.CharField()
    domain = serializers.CharField(required=False)
    kind = serializers.ChoiceField(choices=KINDS)
    frame = serializers.IntegerField(allow_null=True)
    camera = CameraRefSerializer(allow_null=True)
    portrait = serializers.UUIDField(allow_null=True)
    identity = serializers.UUIDField(allow_null=True)
    shown_at = serializers.DateTimeField()
    scene_url = serializers.CharField()

    def subject_of(self, row: Shown) -> dict[str, Any]:
        portrait = row.portrait
        path = f"portraits/{row.portrait_id}" if portrait else f"frames/{row.frame_id}"
        told = {"model": row.model} | ({"domain": row.domain} if row.domain else {})
        return told | {
            "kind": "portrait" if portrait else "frame",
            "frame": row.frame_id,
            "camera": {"id": str(row.camera_id), "name": row.camera.name} if row.camera else None,
            "portrait": portrait and str(portrait.pk),
            "identity": portrait and str(portrait.identity_id),
            "shown_at": self.fields["shown_at"].to_representation(row.shown_at),
            "scene_url": f"/api/v1/{path}/scene",
        }


class FoundCaptionSerializer(ShownSerializer):
    """A caption and its picture."""

    id = serializers.IntegerField()
    caption = serializers.CharField()
    method = serializers.ChoiceField(choices=Method.choices)

    def to_representation(self, instance: Caption) -> dict[str, Any]:
        told = {"id": instance.pk, "caption": instance.text, "method": instance.method}
        return told | self.subject_of(instance)


class FoundObjectSerializer(ShownSerializer):
    """An object and its picture; its mask is in the scene."""

    id = serializers.IntegerField()
    score = serializers.FloatField()
    box = BoxField()

    def get_fields(self) -> "dict[str, serializers.Field[Any, Any, Any, Any]]":
        return {"label": serializers.CharField()} | super().get_fields()

    def to_representation(self, instance: SceneObject) -> dict[str, Any]:
        told = {"id": instance.pk, "label": instance.label, "score": instance.score, "box": instance.box}
        return told | self.subject_of(instance.segmentation)


def filters_of(principal: Principal, asked: dict[str, Any]) -> dict[str, Any]:
    """What is asked, within the caller's reach.

    Raises:
        NotFoundError: a collection, camera or identity is out of reach.
    """
    collection = find_collection(principal, asked["collection"]) if "collection" in asked else None
    wanted = set(asked.get("identity", ()))
    # A key that is bound to cameras is not even told whom there is.
    if principal.camera_ids is None and visible_identities(principal).filter(pk__in=wanted).count() != len(wanted):
        raise NotFoundError("There is no such identity.", field="identity")
    return {
        "collection": collection,
        "cameras": find_cameras(principal, asked.get("camera", ()), collection),
        "identity_ids": wanted,
        **{name: asked.get(name) for name in ("since", "until", "kind")},
    }


class CaptionListView(ListAPIView[Caption]):
    """Search captions by their words, newest first.

    `q` is read as people type: all words, `"a phrase"`, `or`, `-not`; words are compared by their stems. Without `q`
    all captions are listed.
    """

    queryset = Caption.objects.none()
    serializer_class = FoundCaptionSerializer
    pagination_class = ShownPagination
    for_cameras = True
    required_scope = Scope.READ

    @extend_schema(operation_id="captions_list", parameters=[CaptionFilterSerializer])
    def get(self, *args: Any, **kwargs: Any) -> Any:
        return super().get(*args, **kwargs)

    def get_queryset(self) -> "QuerySet[Caption]":
        principal, asked = principal_of(self.request), asked_of(self.request, CaptionFilterSerializer)
        found = filtered(visible_captions(principal), **filters_of(principal, asked), model=asked.get("model"))
        return matching(found, asked["q"]) if "q" in asked else found


def _as_models_write(label: str) -> set[str]:
    """However somebody types a label, it is found as models usually have it; the index serves all of these."""
    return {label, label.lower(), label.capitalize(), label.title()}


class ObjectListView(ListAPIView[SceneObject]):
    """Which frames and portraits show a thing, newest first."""

    queryset = SceneObject.objects.none()
    serializer_class = FoundObjectSerializer
    pagination_class = ShownPagination
    for_cameras = True
    required_scope = Scope.READ

    @extend_schema(operation_id="objects_list", parameters=[ObjectFilterSerializer])
    def get(self, *args: Any, **kwargs: Any) -> Any:
        return super().get(*args, **kwargs)

    def get_queryset(self) -> "QuerySet[SceneObject]":
        principal, asked = principal_of(self.request), asked_of(self.request, ObjectFilterSerializer)
        return filtered(
            visible_objects(principal),
            **filters_of(principal, asked),
            label__in=_as_models_write(asked["label"]) if "label" in asked else None,
            score__gte=asked.get("min_score"),
            segmentation__model=asked.get("model"),
        )
