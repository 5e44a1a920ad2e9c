"""`/api/v1/segment`: the objects of a picture, with their masks."""

from typing import Any

from django.http import HttpResponse
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from inference.config import SceneTask
from portrait.core.auth import principal_of
from portrait.core.models import Scope
from portrait.core.pictures import PICTURE_PARSERS, picture_request
from portrait.jobs.api import JobDetailSerializer
from portrait.scenes.api.caption import asked_collection, asked_subject, job_answer, parsed, queued
from portrait.scenes.api.shapes import (
    FiniteField,
    PictureOrJsonView,
    SceneRequestSerializer,
    SegmentAnswerSerializer,
    png_answer,
)
from portrait.scenes.selectors import Subject
from portrait.scenes.services import answers, looking, painting
from portrait.scenes.services.keeping import keep, picture_of
from portrait.scenes.services.looking import SCORE_THRESHOLD, TOP_K, Segmented
from portrait.scenes.tasks import start_segmentation

MAX_TOP_K = 100


class SegmentRequestSerializer(SceneRequestSerializer):
    """A picture, and how many objects are wanted. Of `portrait` and `frame` they are stored with it."""

    top_k = serializers.IntegerField(default=TOP_K, min_value=1, max_value=MAX_TOP_K)
    score_threshold = FiniteField(default=SCORE_THRESHOLD, min_value=0, max_value=1)


class SegmentView(PictureOrJsonView):
    """Find the objects of a picture, with boxes and masks.

    With `Accept: image/png` the answer is the picture with masks, boxes and labels drawn.
    """

    parser_classes = PICTURE_PARSERS
    required_scope = Scope.READ

    @extend_schema(
        operation_id="segment",
        request=picture_request(SegmentRequestSerializer),
        responses={
            200: SegmentAnswerSerializer,
            **PictureOrJsonView.PNG_ANSWER,
            (202, "application/json"): JobDetailSerializer,
        },
    )
    def post(self, request: Request) -> Response | HttpResponse:
        asked, principal = parsed(request, SegmentRequestSerializer), principal_of(request)
        subject = asked_subject(principal, asked)
        how = {"model": asked.get("model") or None, "top_k": asked["top_k"]}
        how["score_threshold"] = asked["score_threshold"]
        if asked["async"] or asked.get("collection"):  # whose job it is; else it makes no difference
            collection = asked_collection(principal, asked, subject)
        if asked["async"]:
            of = queued(principal, asked, subject, SceneTask.SEGMENTATION)
            return job_answer(start_segmentation(collection=collection, parameters=how, **of))
        found = _segmented(subject, asked, how)
        return png_answer(painting.segmented_png(found)) if self.wants_picture() else _answer(found)


def _segmented(subject: Subject | None, asked: dict[str, Any], how: dict[str, Any]) -> Segmented:
    found = looking.segment(data=picture_of(subject) if subject else asked["pictures"][0], **how)
    if subject is not None:
        keep(subject=subject, segmented=found)
    return found


def _answer(found: Segmented) -> Response:
    return Response(answers.segmented_json(found))
