"""`/api/v1/frames/{id}/scene`, `/api/v1/portraits/{id}/scene`: what is stored of the database's pictures."""

from typing import Any
from uuid import UUID

from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from portrait.core.auth import principal_of
from portrait.core.models import Scope
from portrait.gallery.api.faces import SizeSerializer
from portrait.gallery.selectors import as_uuid
from portrait.scenes.api.shapes import (
    MAX_ID,
    CaptionAnswerSerializer,
    ObjectSerializer,
    PersonSerializer,
    PictureOrJsonView,
    png_answer,
)
from portrait.scenes.selectors import (
    Subject,
    captions_of,
    find_subject,
    identities,
    objects_of,
    people_of,
    segmentations_of,
)
from portrait.scenes.services import answers, painting
from portrait.scenes.services.keeping import picture_of

FRAME_ID = OpenApiParameter("id", OpenApiTypes.INT, OpenApiParameter.PATH)
PORTRAIT_ID = OpenApiParameter("id", OpenApiTypes.UUID, OpenApiParameter.PATH)


class StoredCaptionSerializer(CaptionAnswerSerializer):
    """A stored caption; who is in the picture stands beside it. `score`: mean log-likelihood of its tokens."""

    score = serializers.FloatField(allow_null=True)
    created_at = serializers.DateTimeField()

    def get_fields(self) -> "dict[str, serializers.Field[Any, Any, Any, Any]]":
        return {name: field for name, field in super().get_fields().items() if name != "people"}


class StoredObjectSerializer(ObjectSerializer):
    model = serializers.CharField()
    domain = serializers.CharField(required=False)


class SceneSerializer(serializers.Serializer[Any]):
    """What is stored of a picture: of each model the newest. `people`: who is in it, as far as is known now.
    `segmented_by`: the models that looked for objects, be it in vain."""

    frame = serializers.IntegerField(allow_null=True)
    portrait = serializers.UUIDField(allow_null=True)
    image = SizeSerializer()
    people = PersonSerializer(many=True)
    captions = StoredCaptionSerializer(many=True)
    segmented_by = serializers.ListField(child=serializers.CharField())
    objects = StoredObjectSerializer(many=True)


class SceneView(PictureOrJsonView):
    """Base: what is stored, or drawn."""

    required_scope = Scope.READ

    def answer(self, subject: Subject) -> Response | HttpResponse:
        return png_answer(_png(subject)) if self.wants_picture() else Response(_json(subject))


class FrameSceneView(SceneView):
    """Captions, people and objects of a frame.

    With `Accept: image/png` the picture with them drawn; 410 `expired` once it is no longer kept.
    """

    for_cameras = True

    @extend_schema(
        operation_id="frames_scene",
        parameters=[FRAME_ID],
        responses={200: SceneSerializer, **PictureOrJsonView.PNG_ANSWER},
    )
    def get(self, request: Request, id: str) -> Response | HttpResponse:
        number = int(id) if id.isascii() and id.isdigit() and len(id) < 20 else 0
        return self.answer(find_subject(principal_of(request), frame=number if number <= MAX_ID else 0))


class PortraitSceneView(SceneView):
    """Captions and objects of a portrait. With `Accept: image/png` the picture with them drawn."""

    @extend_schema(
        operation_id="portraits_scene",
        parameters=[PORTRAIT_ID],
        responses={200: SceneSerializer, **PictureOrJsonView.PNG_ANSWER},
    )
    def get(self, request: Request, id: str) -> Response | HttpResponse:
        return self.answer(find_subject(principal_of(request), portrait=as_uuid(id) or UUID(int=0)))


def _json(subject: Subject) -> dict[str, Any]:
    people = people_of(subject)
    captions, segmentations = list(captions_of(subject)), list(segmentations_of(subject))
    kept = [answers.caption_json(caption, subject, people) for caption in captions]
    told = answers.presented(kept)
    return {
        "frame": subject.frame and subject.frame.pk,
        "portrait": subject.portrait and str(subject.portrait.pk),
        "image": {"width": subject.row.width, "height": subject.row.height},
        "people": answers.people_json([person.as_json() for person in people]),
        "captions": [
            {name: value for name, value in each.items() if name != "people"}
            | {"score": caption.score, "created_at": caption.created_at}
            for each, caption in zip(told, captions, strict=True)
        ],
        "segmented_by": [each.model for each in segmentations],
        "objects": [answers.stored_object_json(each) for each in objects_of(segmentations)],
    }


def _png(subject: Subject) -> bytes:
    people = people_of(subject)
    newest = segmentations_of(subject)[:1]
    return painting.stored_png(
        data=picture_of(subject),
        objects=objects_of(newest),
        people=people,
        known=identities(person.identity_id for person in people if person.identity_id),
    )
