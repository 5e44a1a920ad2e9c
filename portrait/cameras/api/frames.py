"""`POST /api/v1/cameras/{id}/frames`: frames that are pushed, one or up to a hundred a call."""

import io
import json
from collections.abc import Mapping
from datetime import UTC
from typing import Any, ClassVar

from django.http import QueryDict
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, PolymorphicProxySerializer, extend_schema
from rest_framework import serializers
from rest_framework.exceptions import ParseError, ValidationError
from rest_framework.parsers import FormParser, JSONParser, MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from inference.errors import ImageError
from portrait.cameras.incoming import MAX_SEQUENCE, IncomingFrame
from portrait.cameras.models import Camera, FrameState
from portrait.cameras.selectors import find_camera
from portrait.cameras.services.accept import Accepted, Outcome, accept_frame, accept_frames
from portrait.core.api_errors import first_problem
from portrait.core.auth import principal_of
from portrait.core.database import release_connection
from portrait.core.errors import ConflictError, PortraitError, problem_json
from portrait.core.models import Scope
from portrait.core.pictures import PictureField, PictureFileField
from portrait.core.throttling import FrameThrottle
from portrait.gallery.api.identities import MetadataField

MAX_FRAMES = 100
MAX_JSON_BYTES = 10 * 2**20


class RequestTooLargeError(PortraitError):
    """The body is larger than this call takes."""

    code: ClassVar[str] = "request_too_large"
    status: ClassVar[int] = 413


class NothingAcceptedError(PortraitError):
    """None of several frames could be taken; `details` tell why, a frame an entry."""

    code: ClassVar[str] = "nothing_accepted"
    status: ClassVar[int] = 422


class CameraIsReadError(ConflictError):
    """Portrait reads this camera's source itself: pushed frames would mix with those, out of their time."""

    code: ClassVar[str] = "camera_is_read"


class FrameError(PortraitError):
    """What is said of a frame is wrong."""

    code: ClassVar[str] = "invalid"


class FrameJSONParser(JSONParser):
    """JSON of at most `MAX_JSON_BYTES`: its pictures are held in memory several times."""

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Mapping[str, Any] | None = None) -> Any:
        body = stream.read(MAX_JSON_BYTES + 1)
        if len(body) > MAX_JSON_BYTES:
            raise RequestTooLargeError(
                f"A JSON body has at most {MAX_JSON_BYTES // 2**20} MB: send fewer or smaller frames, or send them as "
                "multipart, which takes a third less room and may be larger."
            )
        try:
            return super().parse(io.BytesIO(body), media_type, parser_context)
        except RecursionError:
            raise ParseError("The JSON is nested too deeply.") from None


class FrameFieldsSerializer(serializers.Serializer[dict[str, Any]]):
    """What is said of a frame."""

    captured_at = serializers.DateTimeField(
        required=False,
        allow_null=True,
        default_timezone=UTC,
        help_text="ISO 8601; a time without a zone is taken as UTC. Left out: now.",
    )
    sequence = serializers.IntegerField(
        required=False,
        allow_null=True,
        min_value=0,
        max_value=MAX_SEQUENCE,
        error_messages={
            "max_value": f"A sequence is at most {MAX_SEQUENCE} (2**53): count frames, or leave it out.",
        },
        help_text="The camera's own count: the same frame sent again with it is accepted once. Left out: counted here.",
    )
    metadata = MetadataField(required=False, help_text="A JSON object of at most 64 KB, kept with the frame")


class FrameSerializer(FrameFieldsSerializer):
    """One frame."""

    image = PictureField()


class PushSerializer(FrameFieldsSerializer):
    """One frame as `image`, or a batch: `frames`, each with its `image`."""

    image = PictureField(required=False)
    frames = serializers.ListField(child=FrameSerializer(), required=False, max_length=MAX_FRAMES)


class PushFormSerializer(FrameFieldsSerializer):
    """One frame as `image`, or a batch: several `images` and, parallel to them, `frames`."""

    image = PictureFileField(required=False)
    images = serializers.ListField(child=PictureFileField(), required=False, max_length=MAX_FRAMES)
    frames = serializers.CharField(
        required=False, help_text="JSON text: a list with captured_at, sequence, metadata of each of `images`"
    )


class FrameAnswerSerializer(serializers.Serializer[Any]):
    """An accepted frame: it is stored, and will be processed."""

    frame = serializers.IntegerField(help_text="See /api/v1/frames/{id}")
    state = serializers.ChoiceField(choices=FrameState.choices)
    sequence = serializers.IntegerField()
    duplicate = serializers.BooleanField(help_text="It was accepted before")


class FrameProblemSerializer(serializers.Serializer[Any]):
    code = serializers.CharField()
    message = serializers.CharField()


class FrameResultSerializer(serializers.Serializer[Any]):
    """What became of one frame of a batch: accepted, or the reason."""

    index = serializers.IntegerField()
    frame = serializers.IntegerField(required=False)
    state = serializers.ChoiceField(choices=FrameState.choices, required=False)
    sequence = serializers.IntegerField(required=False)
    duplicate = serializers.BooleanField(required=False)
    error = FrameProblemSerializer(required=False)


class BatchAnswerSerializer(serializers.Serializer[Any]):
    results = FrameResultSerializer(many=True)


class FramesView(APIView):
    """Frames that are pushed. Accepted means stored for good: 202, and it will be processed."""

    parser_classes = [FrameJSONParser, MultiPartParser, FormParser]
    throttle_classes = [FrameThrottle]
    required_scope = Scope.ENROL
    for_cameras = True

    @extend_schema(
        operation_id="push_frames",
        parameters=[OpenApiParameter("camera", OpenApiTypes.UUID, OpenApiParameter.PATH)],
        request={"application/json": PushSerializer, "multipart/form-data": PushFormSerializer},
        responses={
            202: PolymorphicProxySerializer(
                "Pushed", [FrameAnswerSerializer, BatchAnswerSerializer], resource_type_field_name=None
            )
        },
    )
    def post(self, request: Request, camera: str) -> Response:
        """Push one frame, or a batch of up to 100.

        The answer comes once the frame is stored for good. Sending the same frame with the same `sequence` again
        changes nothing: do so whenever no answer came. In a batch each frame has its own result.
        """
        found = find_camera(principal_of(request), camera)
        require_pushed(found)
        batch = batch_of(request.data)
        release_connection()  # pictures may have to be decoded
        if batch is None:
            accepted = accept_frame(camera=found, incoming=read_frame(request.data))
            return Response(accepted_json(accepted), status=202)
        read = [try_read(each) for each in batch]
        incoming = [each for each in read if isinstance(each, IncomingFrame)]
        outcomes = iter(accept_frames(camera=found, incoming=incoming))
        results = [next(outcomes) if isinstance(each, IncomingFrame) else each for each in read]
        return Response({"results": results_json(results)}, status=202)


def require_pushed(camera: Camera) -> None:
    """Raises:
    CameraIsReadError: Portrait reads it.
    """
    if camera.source:
        raise CameraIsReadError(
            f"Portrait reads the camera {camera.name!r} itself, from its 'source': make a camera without a source, and "
            "push the frames to that one."
        )


def batch_of(data: Any) -> list[Any] | None:
    """The frames of a batch, as they were sent; None where the request is a single frame.

    Raises:
        ValidationError: the two forms are mixed, or the lists do not fit together.
    """
    if not isinstance(data, Mapping):
        raise ValidationError({"image": "Send an object with an 'image', or with 'frames'."})
    if "frames" not in data and "images" not in data:
        if isinstance(data, QueryDict) and len(data.getlist("image")) > 1:
            raise ValidationError({"image": "Send one 'image'; several are 'images'."})
        return None
    if mixed := sorted({"image", "captured_at", "sequence", "metadata"} & set(data)):
        raise ValidationError({mixed[0]: f"In a batch, '{mixed[0]}' belongs into the frames of 'frames'."})
    batch = _of_form(data) if isinstance(data, QueryDict) else data.get("frames")
    if not isinstance(batch, list) or not 1 <= len(batch) <= MAX_FRAMES:
        raise ValidationError({"frames": f"Send a list of 1 to {MAX_FRAMES} frames, each with its 'image'."})
    return batch


def _of_form(form: QueryDict) -> list[Any]:
    """Several `images` with, parallel to them, what `frames` says of each."""
    images: list[Any] = form.getlist("images")
    try:
        said = json.loads(str(form.get("frames") or "[]")) or [{}] * len(images)
    except (ValueError, RecursionError):
        raise ValidationError({"frames": "This is not JSON: send a list of objects as its text."}) from None
    if not isinstance(said, list) or len(said) != len(images):
        raise ValidationError({"frames": "Send a list with an entry for each of 'images', in their order."})
    return [
        each | {"image": image} if isinstance(each, dict) else each for each, image in zip(said, images, strict=True)
    ]


def read_frame(data: Any) -> IncomingFrame:
    """One frame out of what was sent.

    Raises:
        ValidationError, ImageError: it cannot be read.
    """
    serializer = FrameSerializer(data=data)
    serializer.is_valid(raise_exception=True)
    asked = serializer.validated_data
    return IncomingFrame(asked["image"], asked.get("captured_at"), asked.get("sequence"), asked.get("metadata") or {})


def try_read(data: Any) -> "IncomingFrame | FrameError | ImageError":
    try:
        return read_frame(data)
    except ImageError as error:
        return error
    except ValidationError as error:
        field, message = first_problem(error.detail)
        return FrameError(f"{field}: {message}" if field else message, field=field or None)


def accepted_json(accepted: Accepted) -> dict[str, Any]:
    frame = accepted.frame
    return {
        "frame": frame.pk,
        "state": str(frame.state),
        "sequence": frame.sequence,
        "duplicate": not accepted.created,
    }


def results_json(results: "list[Outcome | FrameError]") -> list[dict[str, Any]]:
    """The answer to a batch.

    Raises:
        NothingAcceptedError: every frame was refused.
    """
    told: list[dict[str, Any]] = []
    for index, each in enumerate(results):
        told.append(
            {"index": index} | (accepted_json(each) if isinstance(each, Accepted) else {"error": problem_json(each)})
        )
    if not any(isinstance(each, Accepted) for each in results):
        raise NothingAcceptedError("None of the frames could be taken.", details={"results": told})
    return told
