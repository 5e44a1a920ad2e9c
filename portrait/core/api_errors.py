"""Every error of the API, as `{"error": {"code", "message", "field"?}}`: the one place that maps them."""

import logging
from collections.abc import Callable
from typing import Any

from django.core.exceptions import (
    BadRequest,
    PermissionDenied,
    RequestDataTooBig,
    TooManyFieldsSent,
    TooManyFilesSent,
)
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.utils.html import escape
from psycopg_pool import PoolTimeout
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import set_rollback

from inference import errors as inference_errors
from portrait.core.errors import PortraitError

logger = logging.getLogger(__name__)

RETRY_AFTER_S = "5"
SERVER_AWAY = "The inference server does not answer; try again shortly. Its log says more."
KEY_NEEDED = "A key is needed: send the header 'Authorization: Api-Key KEY', the words 'Api-Key' included."

# Most specific first: the first class that fits decides.
_STATUS_BY_INFERENCE_ERROR: tuple[tuple[type[inference_errors.InferenceError], int], ...] = (
    (inference_errors.ImageTooLargeError, 413),
    (inference_errors.UnsupportedImageError, 415),
    (inference_errors.ImageError, 400),
    (inference_errors.DeadlineExceededError, 504),
    (inference_errors.ServerUnavailableError, 503),
    (inference_errors.ServerBusyError, 503),
    (inference_errors.ModelNotInstalledError, 503),
    (inference_errors.ModelNotLoadedError, 503),
    (inference_errors.InferenceError, 502),
)


def error_body(code: str, message: str, field: str | None = None, **details: Any) -> dict[str, Any]:
    """The body of every error answer."""
    error: dict[str, Any] = {"code": code, "message": message}
    if field:
        error["field"] = field
    return {"error": error | details}


def first_problem(detail: Any, path: str = "") -> tuple[str, str]:
    """The first field and message of DRF's nested validation details."""
    if isinstance(detail, dict) and detail:
        key, value = next(iter(detail.items()))
        return first_problem(value, path if key == "non_field_errors" else f"{path}.{key}".strip("."))
    if isinstance(detail, list) and detail:
        return first_problem(next((item for item in detail if item), ""), path)
    return path, str(detail)


def _readable(view: Any) -> str:
    """What a view reads, in words."""
    media = dict.fromkeys(parser.media_type for parser in getattr(view, "parser_classes", ()))
    return f"Send {' or '.join(media)}." if media else ""


def _from_drf(error: exceptions.APIException, view: Any) -> Response:
    headers: dict[str, str] = {}
    if isinstance(error, exceptions.ValidationError):
        field, message = first_problem(error.detail)
        return Response(error_body("invalid", f"{field}: {message}" if field else message, field), 400)
    if header := getattr(error, "auth_header", None):
        headers["WWW-Authenticate"] = header
    if (wait_s := getattr(error, "wait", None)) is not None:
        headers["Retry-After"] = str(int(wait_s) + 1)
    if isinstance(error, exceptions.UnsupportedMediaType):
        return Response(error_body("unsupported_media_type", f"{error.detail} {_readable(view)}".strip()), 415)
    if isinstance(error, exceptions.NotAuthenticated):
        return Response(error_body("not_authenticated", KEY_NEEDED), error.status_code, headers=headers)
    code = error.get_codes()
    return Response(
        error_body(code if isinstance(code, str) else "error", str(error.detail)), error.status_code, headers=headers
    )


def _from_inference(error: inference_errors.InferenceError) -> Response:
    status = next(status for kind, status in _STATUS_BY_INFERENCE_ERROR if isinstance(error, kind))
    field = "image" if isinstance(error, inference_errors.ImageError) else None
    if status >= 500:
        logger.warning("inference failed: %s: %s", error.code, " ".join([str(error), *getattr(error, "__notes__", ())]))
    headers = {"Retry-After": RETRY_AFTER_S} if error.retryable else {}
    # What gRPC says of a server that is away has its address.
    told = SERVER_AWAY if isinstance(error, inference_errors.ServerUnavailableError) else str(error)
    return Response(error_body(error.code, told, field), status, headers=headers)


def exception_handler(error: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's hook: an exception raised in a view -> its answer; None lets Django answer 500."""
    set_rollback()
    match error:
        case PortraitError():
            return Response(error_body(error.code, error.message, error.field, **error.details), error.status)
        case inference_errors.InferenceError():
            return _from_inference(error)
        case exceptions.APIException():
            return _from_drf(error, context.get("view"))
        case _:
            return _from_django(error)


def _from_django(error: Exception) -> Response | None:
    match error:
        case OperationalError() | InterfaceError() | PoolTimeout():
            logger.error("the database does not answer: %s", error)
            body = error_body("database_unavailable", "The database does not answer; try again shortly.")
            return Response(body, 503, headers={"Retry-After": RETRY_AFTER_S})
        case RequestDataTooBig() | TooManyFilesSent() | TooManyFieldsSent():
            return Response(error_body("request_too_large", str(error)), 413)
        case Http404():
            return Response(error_body("not_found", "There is no such object."), 404)
        case PermissionDenied() | BadRequest():
            status = 403 if isinstance(error, PermissionDenied) else 400
            return Response(error_body("refused", str(error) or "This is not allowed."), status)
        case _:
            return None


_BODIES: dict[str, Callable[[str, str], dict[str, Any]]] = {"api": error_body}


def tell_errors_below(root: str, body: Callable[[str, str], dict[str, Any]]) -> None:
    """Below `/root`, what Django itself refuses is told as JSON too: body(code, message). Apps call it when loaded."""
    _BODIES[root] = body


def _answer(request: HttpRequest, status: int, code: str, message: str) -> HttpResponse:
    if body := _BODIES.get(request.path.strip("/").partition("/")[0]):
        return JsonResponse(body(code, message), status=status)
    return HttpResponse(f"<!doctype html><title>{status}</title><h1>{escape(message)}</h1>", status=status)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _answer(request, 400, "bad_request", "The request cannot be read.")


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _answer(request, 403, "forbidden", "This is not allowed.")


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _answer(request, 404, "not_found", "There is nothing at this address.")


def server_error(request: HttpRequest) -> HttpResponse:
    return _answer(request, 500, "internal_error", "Something went wrong here; the server's log says what.")
