"""`/api/v1/identities/{id}/merge`, `split`, `reject` and `naming`: edits that take the history along."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from portrait.core.auth import principal_of
from portrait.core.errors import NotFoundError
from portrait.core.models import Scope
from portrait.core.principal import Principal
from portrait.core.strict import StrictSerializer
from portrait.gallery.api.changes import EditAnswerSerializer, edit_json
from portrait.gallery.api.identities import IdentitySerializer
from portrait.gallery.models import Change, Identity, Portrait
from portrait.gallery.selectors import find_identity, visible_portraits
from portrait.gallery.services import editing
from portrait.gallery.services.journal import actor_of
from portrait.sightings.api.shapes import MAX_CHOSEN, CameraRefSerializer
from portrait.sightings.models import Detection, Sighting
from portrait.sightings.selectors import visible_sightings
from portrait.sightings.services import history
from portrait.sightings.services.history_plan import Preview

IDENTITY = [OpenApiParameter("identity", OpenApiTypes.UUID, OpenApiParameter.PATH)]


class PlannedMoveSerializer(serializers.Serializer[Any]):
    """Tracks of one camera, and the sightings they are in, that go from one person to another; null is nobody."""

    camera = CameraRefSerializer()
    before = serializers.UUIDField(allow_null=True)
    after = serializers.UUIDField(allow_null=True)
    tracks = serializers.IntegerField()
    sightings = serializers.IntegerField()


class PreviewSerializer(serializers.Serializer[Preview]):
    """What an edit would do to the history, and to portraits and watches. Nothing was written."""

    portraits = serializers.IntegerField(help_text="Portraits that would be somebody else's")
    watches = serializers.IntegerField(help_text="Watches that would be for somebody else")
    tracks = serializers.IntegerField()
    sightings = serializers.IntegerField()
    at_most = serializers.BooleanField(help_text="Some of them are judged only when it is done: it may be fewer")
    moves = PlannedMoveSerializer(many=True)


class EditedSerializer(EditAnswerSerializer):
    """An edit that was made, or its preview: then `change` and `identity` are null."""

    identity = IdentitySerializer(allow_null=True, help_text="Whose it is now")
    preview = PreviewSerializer(allow_null=True)


class ChosenField(serializers.ListField):
    """Ids of rows."""

    child = serializers.UUIDField()

    def __init__(self, **values: Any) -> None:
        super().__init__(**{"max_length": MAX_CHOSEN, **values})


class MergeSerializer(StrictSerializer):
    """Who becomes a part of this person."""

    identities = ChosenField(min_length=1)
    preview = serializers.BooleanField(default=False, help_text="Only tell what would happen")


class SplitSerializer(StrictSerializer):
    """What leaves this person, and for whom: `to` somebody there is, or somebody new, called `name` or unknown."""

    portraits = ChosenField(required=False)
    sightings = ChosenField(required=False)
    to = serializers.UUIDField(required=False, allow_null=True)
    name = serializers.CharField(required=False, max_length=200, allow_blank=True)
    preview = serializers.BooleanField(default=False, help_text="Only tell what would happen")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs.get("to") and attrs.get("name"):
            raise serializers.ValidationError({"name": "Send either 'to' or 'name'."})
        if not attrs.get("portraits") and not attrs.get("sightings"):
            raise serializers.ValidationError({"portraits": "Send 'portraits', 'sightings' or both."})
        return attrs


class RejectSerializer(StrictSerializer):
    """A portrait, a sighting or a face (the id of a detection) that is not this person."""

    portrait = serializers.UUIDField(required=False)
    sighting = serializers.UUIDField(required=False)
    face = serializers.IntegerField(required=False, min_value=1, max_value=2**63 - 1)
    to = serializers.UUIDField(required=False, allow_null=True, help_text="Whose portrait it is, if that is known")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if len({"portrait", "sighting", "face"} & set(attrs)) != 1:
            raise serializers.ValidationError({"portrait": "Send one of 'portrait', 'sighting' and 'face'."})
        if attrs.get("to") and "portrait" not in attrs:
            raise serializers.ValidationError({"to": "Only of a portrait; sightings are moved by their own address."})
        return attrs


def edited(principal: Principal, change: Change, identity_id: Any) -> Response:
    """The answer to an edit, with the person it is about."""
    row = find_identity(principal, str(identity_id)) if identity_id else None
    told = {"identity": IdentitySerializer(row).data if row else None, "preview": None}
    return Response(edit_json(change) | told)


def previewed(preview: Preview) -> Response:
    """The answer to the question what an edit would do."""
    return Response({"change": None, "job": None, "identity": None, "preview": PreviewSerializer(preview).data})


def chosen_portraits(principal: Principal, keys: Sequence[UUID]) -> list[Portrait]:
    """Portraits within the caller's reach.

    Raises:
        NotFoundError: one is not.
    """
    rows = list(visible_portraits(principal).filter(pk__in=keys))
    if len(rows) != len(set(keys)):
        raise NotFoundError("There is no such portrait.", field="portraits")
    return rows


def chosen_sightings(principal: Principal, keys: Sequence[UUID]) -> list[Sighting]:
    """Sightings within the caller's reach.

    Raises:
        NotFoundError: one is not.
    """
    rows = list(visible_sightings(principal).filter(pk__in=keys))
    if len(rows) != len(set(keys)):
        raise NotFoundError("There is no such sighting.", field="sightings")
    return rows


class EditView(APIView):
    """Base: edits of one person need a key that enrols; one that is bound to cameras has no say."""

    required_scope = Scope.ENROL

    def person(self, request: Request) -> Identity:
        return find_identity(principal_of(request), self.kwargs["identity"])

    def asked(self, request: Request, kind: type[StrictSerializer]) -> dict[str, Any]:
        serializer = kind(data=request.data)
        serializer.is_valid(raise_exception=True)
        return dict(serializer.validated_data)


def _other(principal: Principal, key: UUID | None) -> Identity | None:
    return find_identity(principal, str(key)) if key is not None else None


class MergeView(EditView):
    """Several people who are one."""

    @extend_schema(
        operation_id="identities_merge", parameters=IDENTITY, request=MergeSerializer, responses=EditedSerializer
    )
    def post(self, request: Request, identity: str) -> Response:
        """Make other people a part of this one: portraits, watches, what was said of them, and their history.

        An unknown person takes the name of the known one. The external_id of somebody who was merged finds this person.
        """
        principal, target = principal_of(request), self.person(request)
        asked = self.asked(request, MergeSerializer)
        sources = [find_identity(principal, str(key)) for key in dict.fromkeys(asked["identities"])]
        if asked["preview"]:
            return previewed(history.preview_merge(target=target, sources=sources))
        change = editing.merge(target=target, sources=sources, actor=actor_of(principal))
        return edited(principal, change, target.pk)


class SplitView(EditView):
    """Portraits and sightings that are somebody else's."""

    @extend_schema(
        operation_id="identities_split", parameters=IDENTITY, request=SplitSerializer, responses=EditedSerializer
    )
    def post(self, request: Request, identity: str) -> Response:
        """Give portraits and sightings of this person to a new or another one, whom the answer tells."""
        principal, owner = principal_of(request), self.person(request)
        asked = self.asked(request, SplitSerializer)
        to = _other(principal, asked.get("to"))
        sightings = chosen_sightings(principal, asked.get("sightings", ()))
        if asked["preview"]:
            moved = history.preview_reassign(sightings=sightings, to=to) if sightings else Preview([])
            return previewed(replace(moved, portraits=len(chosen_portraits(principal, asked.get("portraits", ())))))
        change = history.split(
            identity=owner,
            actor=actor_of(principal),
            portraits=chosen_portraits(principal, asked.get("portraits", ())),
            sightings=sightings,
            to=to,
            name=asked.get("name") or None,
        )
        return edited(principal, change, change.details["to"])


class RejectView(EditView):
    """Not this person."""

    @extend_schema(
        operation_id="identities_reject", parameters=IDENTITY, request=RejectSerializer, responses=EditedSerializer
    )
    def post(self, request: Request, identity: str) -> Response:
        """Say that a portrait, a sighting or a face is not this person: it, and faces like it, are not named so again.

        A portrait leaves for a new unknown person, or for `to`; the history of a face is judged anew.
        """
        principal, person = principal_of(request), self.person(request)
        asked, actor = self.asked(request, RejectSerializer), actor_of(principal)
        if "portrait" in asked:
            (portrait,) = chosen_portraits(principal, [asked["portrait"]])
            to = _other(principal, asked.get("to"))
            change = editing.reject(identity=person, actor=actor, portrait=portrait, to=to)
            return edited(principal, change, change.details.get("to") or person.pk)
        if "sighting" in asked:
            (sighting,) = chosen_sightings(principal, [asked["sighting"]])
            if sighting.identity_id != person.pk:
                raise NotFoundError("This sighting is not this person's.", field="sighting")
            return edited(principal, history.reject_sighting(sighting=sighting, actor=actor), person.pk)
        face = Detection.objects.filter(pk=asked["face"], camera__collection=person.collection_id).first()
        if face is None:
            raise NotFoundError("There is no such face.", field="face")
        return edited(principal, history.reject_face(detection=face, identity=person, actor=actor), person.pk)


class NamingView(EditView):
    """What a name would do."""

    required_scope = Scope.READ

    @extend_schema(operation_id="identities_naming", parameters=IDENTITY, responses=PreviewSerializer)
    def get(self, request: Request, identity: str) -> Response:
        """Tell which past tracks would become this person's if they got a name (PATCH). Nothing is written."""
        return Response(PreviewSerializer(history.preview_name(identity=self.person(request))).data)


class MoveSerializer(StrictSerializer):
    """Who is to be seen there; null: nobody whom we know."""

    identity = serializers.UUIDField(allow_null=True)
    preview = serializers.BooleanField(default=False, help_text="Only tell what would happen")


class SightingMoveView(EditView):
    """Who is to be seen in a sighting."""

    @extend_schema(
        operation_id="sightings_move",
        parameters=[OpenApiParameter("sighting", OpenApiTypes.UUID, OpenApiParameter.PATH)],
        request=MoveSerializer,
        responses=EditedSerializer,
    )
    def post(self, request: Request, sighting: str) -> Response:
        """Say who is to be seen in a sighting: it stays so, whatever frames come in."""
        principal = principal_of(request)
        asked = self.asked(request, MoveSerializer)
        to = _other(principal, asked["identity"])
        rows = chosen_sightings(principal, [_uuid(sighting)])
        if asked["preview"]:
            return previewed(history.preview_reassign(sightings=rows, to=to))
        change = history.reassign(sightings=rows, to=to, actor=actor_of(principal))
        return edited(principal, change, to.pk if to else None)


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise NotFoundError("There is no such sighting.") from None
