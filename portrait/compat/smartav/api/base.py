"""What the addresses of the first-generation API have in common: keys only, and errors in the shape of then."""

from typing import Any, ClassVar

from drf_spectacular.utils import OpenApiParameter, PolymorphicProxySerializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from portrait.core.api_errors import exception_handler
from portrait.core.auth import ApiKeyAuthentication, principal_of
from portrait.core.strict import StrictSerializer
from portrait.gallery.models import Collection
from portrait.gallery.selectors import find_collection

TAG = "smartav (first generation)"


class CollectionFieldSerializer(StrictSerializer):
    """Old clients know no collections; whoever has a key for several adds this one to the address.

    A misspelt, empty or repeated one is refused: what was meant for X must not happen to `default`.
    """

    also = frozenset({"format"})

    collection = serializers.CharField(
        required=False, max_length=60, help_text="Name or id; else the key's only one, or `default`"
    )


COLLECTION: list[OpenApiParameter | type[serializers.Serializer[Any]]] = [CollectionFieldSerializer]


class SmartavErrorSerializer(serializers.Serializer[Any]):
    """`error` is a text, as it was; `code` is ours."""

    error = serializers.CharField()
    code = serializers.CharField()


ERRORS = {"4XX": SmartavErrorSerializer, "5XX": SmartavErrorSerializer}


class SmartavView(APIView):
    """No session is taken: two of these addresses change things by GET, which a foreign page could make a browser
    call. HEAD is not answered, as it would be taken for GET."""

    authentication_classes = [ApiKeyAuthentication]
    http_method_names = ["get", "post", "options"]
    failure: ClassVar[dict[str, Any]] = {}
    """What an error's answer has besides."""

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        _query(request)

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        answer = super().finalize_response(request, response, *args, **kwargs)
        answer["Cache-Control"] = "no-store"  # nobody on the way may answer a GET that changes something
        return answer

    def get_exception_handler(self) -> Any:
        return self._told

    def _told(self, error: Exception, context: dict[str, Any]) -> Response | None:
        """`{"error": text, "code", ...}`, with the status that we give everywhere."""
        answer = exception_handler(error, context)
        if answer is not None:
            problem = dict(answer.data["error"])
            answer.data = {**self.failure, "error": problem.pop("message"), **problem}
        return answer


def collection_of(request: Request) -> Collection:
    """The collection that a call is about."""
    return find_collection(principal_of(request), _query(request).get("collection"))


def _query(request: Request) -> dict[str, Any]:
    """What stands in the address after "?"; refused where nobody here reads it."""
    told = request.query_params
    if len(told.getlist("collection")) > 1:
        raise serializers.ValidationError({"collection": "Name one collection."})
    query = CollectionFieldSerializer(data=told.dict())  # of a QueryDict an empty one would count as none
    query.is_valid(raise_exception=True)
    return dict(query.validated_data)


def one_or_many(serializer: type[serializers.Serializer[Any]]) -> PolymorphicProxySerializer:
    """For the OpenAPI document: an object, or a list of such."""
    name = f"{serializer.__name__.removesuffix('Serializer')}OneOrMany"
    return PolymorphicProxySerializer(
        component_name=name,
        serializers=[serializer, serializer(many=True)],
        resource_type_field_name=None,
        many=False,
    )
