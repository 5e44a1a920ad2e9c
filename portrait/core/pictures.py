"""How a picture comes into the API: a multipart file, base64 in JSON, or a guarded address -> its bytes."""

import base64
import binascii
from dataclasses import replace
from typing import Any

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.http import QueryDict
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.parsers import BaseParser, FormParser, JSONParser, MultiPartParser

from inference.errors import ImageTooLargeError
from portrait.core.database import release_connection
from portrait.core.fetch import FetchLimits, fetch_image
from portrait.core.pipelines import codec_limits

PICTURE_PARSERS: list[type[BaseParser]] = [JSONParser, MultiPartParser, FormParser]


def _too_large(limit: int) -> ImageTooLargeError:
    return ImageTooLargeError(f"The picture has more than {limit / 2**20:g} MB; send a smaller one.")


@extend_schema_field({"type": "string", "description": "The picture in base64, or a data URI"})
class PictureField(serializers.Field[bytes, Any, str, Any]):
    """An uploaded file or a base64 text -> bytes, at most the codec's limit of them."""

    default_error_messages = {
        "invalid": "Send a file, or the picture in base64 or as a data URI.",
        "base64": "This is not base64: check that the picture was encoded and that nothing was cut off.",
    }

    def to_internal_value(self, data: Any) -> bytes:
        limit = codec_limits().max_bytes
        if isinstance(data, UploadedFile):
            if (data.size or 0) > limit:
                raise _too_large(limit)
            return bytes(data.read())
        if not isinstance(data, str):
            self.fail("invalid")
        text = data.partition(",")[2] if data.startswith("data:") else data
        if len(text) > limit * 4 // 3 + 4096:
            raise _too_large(limit)
        try:
            return base64.b64decode("".join(text.split()), validate=True)
        except (binascii.Error, ValueError):
            self.fail("base64")

    def to_representation(self, value: bytes) -> str:
        raise NotImplementedError("pictures are only taken in")


@extend_schema_field({"type": "string", "format": "binary"})
class PictureFileField(PictureField):
    """The same field as the OpenAPI document shows it for multipart."""


def picture_from_url(url: str) -> bytes:
    """The guarded fetch, with this deployment's limits. Meanwhile no connection to the database is held."""
    limits = FetchLimits(max_bytes=codec_limits().max_bytes)
    if settings.PORTRAIT.image_url_private:
        limits = replace(limits, allow_private=True, ports=None)
    release_connection()
    return fetch_image(url, limits=limits)


class PictureSerializer(serializers.Serializer[dict[str, Any]]):
    """Base of requests with one picture. `validated_data["picture"]` holds its bytes."""

    image = PictureField(required=False)
    image_url = serializers.CharField(required=False, allow_blank=True, max_length=2048)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        refuse_several(self, "image")
        attrs["picture"] = take_picture(attrs, "image")
        return attrs


def refuse_several(serializer: serializers.Serializer[Any], *names: str) -> None:
    """A form may hold a field several times, of which only the last would count: that is never meant."""
    for name in names:
        if isinstance(serializer.initial_data, QueryDict) and len(serializer.initial_data.getlist(name)) > 1:
            raise serializers.ValidationError({name: f"Send one '{name}'; several pictures of a person are 'images'."})


def take_picture(attrs: dict[str, Any], name: str) -> bytes:
    """The picture that the fields `name` or `name_url` carry; exactly one must."""
    picture, url = attrs.pop(name, None), str(attrs.pop(f"{name}_url", ""))
    if (picture is None) == (not url):
        raise serializers.ValidationError({name: f"Send exactly one of '{name}' and '{name}_url'."})
    return picture if picture is not None else picture_from_url(url)


def picture_request(serializer: type[serializers.Serializer[Any]]) -> dict[str, Any]:
    """Both forms of a request body for `extend_schema(request=...)`."""
    files: dict[str, Any] = {}
    for name, field in serializer._declared_fields.items():
        if isinstance(field, PictureField):
            files[name] = PictureFileField(required=field.required)
        elif isinstance(field, serializers.ListField) and isinstance(field.child, PictureField):
            files[name] = serializers.ListField(child=PictureFileField(), required=field.required)
    multipart = type(f"{serializer.__name__.removesuffix('Serializer')}FormSerializer", (serializer,), files)
    return {"application/json": serializer, "multipart/form-data": multipart}
