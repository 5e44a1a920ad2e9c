"""Which face of a picture is meant. Pure."""

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

from inference.geometry import intersection_over_union
from inference.types import Box
from portrait.core.errors import NoFaceError, PortraitError, SeveralFacesError

LARGEST = "largest"
MIN_OVERLAP = 0.3


class HasBox(Protocol):
    @property
    def box(self) -> Box: ...


F = TypeVar("F", bound=HasBox)


class InvalidFaceChoiceError(PortraitError):
    """The `face` of the request is neither 'largest' nor a box."""

    code = "invalid"


def parse_choice(text: str | None) -> str | Box | None:
    """`largest`, or `x,y,width,height` in pixels; None or empty: the picture must hold one face only.

    Raises:
        InvalidFaceChoiceError: anything else.
    """
    if not text:
        return None
    if text == LARGEST:
        return LARGEST
    try:
        x, y, width, height = (float(part) for part in text.split(","))
        return Box(x, y, width, height)
    except ValueError:
        raise InvalidFaceChoiceError(
            "'face' is 'largest' or a box 'x,y,width,height' in pixels, as detect answers it.", field="face"
        ) from None


def choose_face(faces: Sequence[F], choice: str | Box | None) -> F:
    """The one face that is meant; `faces` come largest first.

    Raises:
        NoFaceError: there is none, or none at the chosen box.
        SeveralFacesError: several and no choice; the error's details list their boxes.
    """
    boxes: dict[str, Any] = {"faces": [{"box": face.box.as_list()} for face in faces]}
    if not faces:
        raise NoFaceError("No face was found in the picture.", field="image")
    if choice == LARGEST:
        return faces[0]
    if isinstance(choice, Box):
        best = max(faces, key=lambda face: intersection_over_union(face.box, choice))
        if intersection_over_union(best.box, choice) < MIN_OVERLAP:
            raise NoFaceError("No face was found at the box that 'face' names.", field="face", details=boxes)
        return best
    if len(faces) > 1:
        message = (
            f"The picture holds {len(faces)} faces. Say which one is meant: "
            "'face' = 'largest', or the box 'x,y,width,height' of one of them."
        )
        raise SeveralFacesError(message, field="image", details=boxes)
    return faces[0]
