"""`/api/v1/caption`: a sentence about a picture, and who is in it."""

from collections.abc import Sequence
from typing import Any

from drf_spectacular.utils import PolymorphicProxySerializer, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from inference.codec import probe
from inference.config import SceneTask
from inference.types import CaptionSettings
from portrait.audit.models import Action
from portrait.audit.services import record
from portrait.core.auth import principal_of
from portrait.core.errors import NotFoundError
from portrait.core.models import Scope
from portrait.core.pictures import PICTURE_PARSERS, picture_request
from portrait.core.pipelines import codec_limits
from portrait.core.principal import Principal
from portrait.gallery.models import Collection
from portrait.gallery.selectors import find_collection
from portrait.jobs.api import JobDetailSerializer
from portrait.jobs.models import Job
from portrait.jobs.selectors import with_counts
from portrait.scenes.api.shapes import (
    CaptionAnswerSerializer,
    EitherAnswerSerializer,
    FiniteField,
    LenientPictureField,
    OptionalTrueField,
    SceneRequestSerializer,
)
from portrait.scenes.selectors import Person, Subject, captions_of, find_subject
from portrait.scenes.services import answers, looking
from portrait.scenes.services.cameras import check_model
from portrait.scenes.services.keeping import GONE, keep, picture_of
from portrait.scenes.services.looking import How, Picture, Told
from portrait.scenes.tasks import start_captions

MAX_IMAGES = 32
MAX_PROMPT_CHARS = 200
MAX_TOKENS = 512


class CaptionRequestSerializer(SceneRequestSerializer):
    """One picture, several, or one that the database holds; and how the sentence is looked for.

    Of `portrait` and `frame` the caption is stored with it. Lengths are in tokens.
    """

    images = serializers.ListField(child=LenientPictureField(), required=False, max_length=MAX_IMAGES)
    prompt = serializers.CharField(
        required=False,
        allow_blank=True,
        max_length=MAX_PROMPT_CHARS,
        help_text="The caption begins with it. Not where it is stored",
    )
    num_beams = serializers.IntegerField(required=False, min_value=1, max_value=10, help_text="3; 1 is greedy")
    min_length = serializers.IntegerField(required=False, min_value=0, max_value=MAX_TOKENS, help_text="5")
    max_length = serializers.IntegerField(required=False, min_value=1, max_value=MAX_TOKENS, help_text="20")
    repetition_penalty = FiniteField(required=False, min_value=0.01, max_value=10, help_text="1 is none")
    length_penalty = FiniteField(required=False, min_value=-5, max_value=5)
    people = OptionalTrueField(help_text="Whether to look who is in the picture; true, unless it is said to be false")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        names = ("num_beams", "min_length", "max_length", "repetition_penalty", "length_penalty")
        asked = {name: attrs.pop(name) for name in names if name in attrs}
        asked["prompt"] = attrs.pop("prompt", None)  # empty: none, even where the model has one of its own
        if "min_length" not in asked and "max_length" in asked:
            asked["min_length"] = min(CaptionSettings().min_length, asked["max_length"])
        try:
            attrs["settings"] = CaptionSettings(**asked)
        except ValueError as error:
            raise serializers.ValidationError({"max_length": str(error)}) from None
        attrs["people"] = attrs["people"] is not False
        if asked["prompt"] and (attrs.get("portrait") or attrs.get("frame")):
            raise serializers.ValidationError({"prompt": "What is stored begins with nobody's words: leave it out."})
        return super().validate(attrs)


class CaptionsAnswerSerializer(serializers.Serializer[Any]):
    """In the order of the pictures."""

    results = EitherAnswerSerializer(many=True)


ANSWER = PolymorphicProxySerializer(
    component_name="CaptionOrCaptions",
    serializers=[CaptionAnswerSerializer, CaptionsAnswerSerializer],
    resource_type_field_name=None,
)


class CaptionView(APIView):
    """Tell what a picture shows, and who is in it.

    Of one picture the answer is its caption, of `images` it is `results`. The model `describe` needs no network for
    sentences: it tells by rules which people and objects were found.
    """

    parser_classes = PICTURE_PARSERS
    required_scope = Scope.READ

    @extend_schema(
        operation_id="caption",
        request=picture_request(CaptionRequestSerializer),
        responses={200: ANSWER, 202: JobDetailSerializer},
    )
    def post(self, request: Request) -> Response:
        asked, principal = parsed(request, CaptionRequestSerializer), principal_of(request)
        subject = asked_subject(principal, asked)
        collection = asked_collection(principal, asked, subject)
        how = How(asked.get("model") or None, asked["settings"], collection if asked["people"] else None)
        if asked["async"]:
            about = queued(principal, asked, subject, SceneTask.CAPTIONING)
            if how.collection and not subject:
                for picture in asked["pictures"]:
                    _log(principal, collection, picture, {"later": True})
            return job_answer(start_captions(collection=collection, how=how, **about))
        return Response(_stored(subject, how) if subject else _told(asked, how, principal))


def _log(
    principal: Principal,
    collection: Collection,
    picture: Picture,
    details: dict[str, Any],
    people: Sequence[Person] = (),
) -> None:
    """Somebody asks who is in a picture. later: a job looks, whose result has who was found."""
    if isinstance(picture, bytes):
        who = [person.identity_id for person in people if person.identity_id is not None]
        record(
            principal=principal,
            action=Action.CAPTION,
            collection_id=collection.pk,
            probe=picture,
            details=details,
            identities=who,
        )


def parsed(request: Request, kind: type[SceneRequestSerializer]) -> dict[str, Any]:
    """The body, checked."""
    serializer = kind(data=request.data)
    serializer.is_valid(raise_exception=True)
    return dict(serializer.validated_data)


def asked_subject(principal: Principal, asked: dict[str, Any]) -> Subject | None:
    """The picture of the database that a request names. Whoever stores something, be it a job, may more than read."""
    named = {name: asked[name] for name in ("portrait", "frame") if asked.get(name) is not None}
    if named or asked["async"]:
        principal.require_scope(Scope.ENROL)
    return find_subject(principal, **named) if named else None


def asked_collection(principal: Principal, asked: dict[str, Any], subject: Subject | None) -> Collection:
    """The collection that a request names, or that its subject is of."""
    name = asked.get("collection") or None
    collection = find_collection(principal, str(subject.collection_id) if subject and name is None else name)
    if subject is not None and subject.collection_id != collection.pk:
        raise serializers.ValidationError({"collection": "The picture is of another collection."})
    return collection


def queued(principal: Principal, asked: dict[str, Any], subject: Subject | None, task: SceneTask) -> dict[str, Any]:
    """What a job is about, and whose it is. A single picture that is none is refused at once.

    Raises:
        PortraitError, ImageError: the first such.
    """
    check_model(asked.get("model") or "", task, field="model")
    for picture in asked.get("pictures", ()):
        if not isinstance(picture, bytes):
            raise picture
        if asked["single"]:
            probe(picture, limits=codec_limits())
    return {"uploads": asked.get("pictures", ()), "subject": subject, "api_key_id": principal.api_key_id}


def job_answer(job: Job) -> Response:
    """202, with the job as `GET /api/v1/jobs/{id}` tells it."""
    return Response(JobDetailSerializer(with_counts(Job.objects.filter(pk=job.pk)).get()).data, status=202)


def _told(asked: dict[str, Any], how: How, principal: Principal) -> dict[str, Any]:
    told = looking.tell(pictures=asked["pictures"], how=how)
    for picture, each in zip(asked["pictures"], told, strict=True):
        if how.collection and isinstance(each, Told):
            people = each.people or ()
            _log(principal, how.collection, picture, {"faces": len(people)}, people)
    if asked["single"] and not isinstance(told[0], Told):
        raise told[0]
    shown = answers.presented([answers.told_json(each) for each in told])
    return shown[0] if asked["single"] else {"results": shown}


def _stored(subject: Subject, how: How) -> dict[str, Any]:
    """Who is in a picture of the database is known already: only portraits' faces are counted."""
    without_people = How(how.model, how.settings)
    pictures: list[Picture] = [picture_of(subject)]
    told = looking.tell(pictures=pictures, how=without_people, count_faces=subject.portrait is not None)[0]
    if not isinstance(told, Told):
        raise told
    keep(subject=subject, told=told)
    caption = captions_of(subject).filter(model=told.model).first()
    if caption is None:
        raise NotFoundError(GONE)
    kept = answers.stored_json(caption, subject)
    return answers.presented([kept if how.collection else kept | {"people": None, "reason": ""}])[0]
