"""The pure rules: similarity and the choice of a face."""

from dataclasses import dataclass

import pytest

from inference.types import Box
from portrait.core.errors import NoFaceError, SeveralFacesError
from portrait.gallery.face_choice import InvalidFaceChoiceError, choose_face, parse_choice


@dataclass(frozen=True)
class _Face:
    box: Box


LARGE, SMALL = _Face(Box(100, 100, 80, 90)), _Face(Box(300, 90, 40, 50))


def test_one_face_needs_no_choice() -> None:
    assert choose_face([SMALL], None) is SMALL


def test_several_faces_need_one() -> None:
    with pytest.raises(SeveralFacesError) as caught:
        choose_face([LARGE, SMALL], None)
    assert caught.value.details == {"faces": [{"box": [100, 100, 80, 90]}, {"box": [300, 90, 40, 50]}]}
    assert choose_face([LARGE, SMALL], "largest") is LARGE
    assert choose_face([LARGE, SMALL], Box(305, 95, 40, 50)) is SMALL
    with pytest.raises(NoFaceError):
        choose_face([LARGE, SMALL], Box(0, 0, 50, 50))


@pytest.mark.parametrize("choice", [None, "largest", Box(0, 0, 1, 1)])
def test_no_face(choice: str | Box | None) -> None:
    with pytest.raises(NoFaceError):
        choose_face([], choice)


@pytest.mark.parametrize(
    "text", ["biggest", "1,2,3", "1,2,3,4,5", "a,b,c,d", "1,2,0,4", "1,2,-3,4", "nan,1,nan,1", ","]
)
def test_choices_that_are_none(text: str) -> None:
    with pytest.raises(InvalidFaceChoiceError):
        parse_choice(text)


def test_choices_that_are_one() -> None:
    assert parse_choice(None) is parse_choice("") is None
    assert parse_choice("largest") == "largest"
    assert parse_choice("1, 2,3.5 ,4") == Box(1, 2, 3.5, 4)
