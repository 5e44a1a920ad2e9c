"""Errors of our own rules. `portrait.core.api_errors` turns them into answers; tasks record code and message."""

from collections.abc import Sequence
from typing import Any, ClassVar

from inference.errors import ImageError


class PortraitError(Exception):
    """A request that cannot be done, said so that the caller can mend it.

    `code` is stable and machine-readable, the message says what is wrong and what to do, `field` names the
    part of the request, `details` are added to the error's answer.
    """

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 400

    def __init__(self, message: str, *, field: str | None = None, details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.details = details or {}


def problem_json(error: "PortraitError | ImageError") -> dict[str, Any]:
    """The reason against a picture, as `error` of an answer carries it."""
    details = error.details if isinstance(error, PortraitError) else {}
    return {"code": error.code, "message": str(error)} | details


class NotFoundError(PortraitError):
    """It does not exist, or the caller may not know that it does."""

    code = "not_found"
    status = 404


class ForbiddenError(PortraitError):
    """The caller's key does not reach so far."""

    code = "forbidden"
    status = 403


class ConflictError(PortraitError):
    """It would break a rule of uniqueness or of state."""

    code = "conflict"
    status = 409


class NoFaceError(PortraitError):
    """A face is needed and none was found."""

    code = "no_face"
    status = 422


class SeveralFacesError(PortraitError):
    """One face is needed and the caller has not said which."""

    code = "several_faces"
    status = 422


class PoorQualityError(PortraitError):
    """The face is too poor to be a portrait."""

    code = "poor_quality"
    status = 422


class NothingEnrolledError(PortraitError):
    """None of several pictures could be enrolled; `details` tell why, a picture an entry."""

    code = "nothing_enrolled"
    status = 422

    def __init__(self, message: str, *, refused: Sequence[PortraitError | ImageError]) -> None:
        results = [{"index": index} | problem_json(error) for index, error in enumerate(refused)]
        super().__init__(message, details={"results": results})


class ImageUrlError(PortraitError):
    """The picture behind `image_url` cannot be had, or must not be fetched."""

    code = "image_url_refused"
    status = 400
