"""Names and boxes drawn into pictures."""

import numpy as np
import pytest

from inference.types import Box, Image, Mask
from portrait.core.drawing import KNOWN, DrawnObject, LabelledFace, colour_of, draw_faces, draw_objects

CANVAS = np.full((240, 320, 3), 90, dtype=np.uint8)
MIDDLE = Box(100, 100, 60, 60)


def drawn(text: str, box: Box = MIDDLE, canvas: Image = CANVAS) -> Image:
    return draw_faces(canvas, [LabelledFace(box, text, KNOWN)])


@pytest.mark.parametrize("letters", ["Łż", "Шя", "山田", "김철", "λη", "عم"])
def test_letters_of_many_scripts_are_drawn_as_themselves(letters: str) -> None:
    """A font without them would draw the same sign for each."""
    one, other = (drawn(letter * 3) for letter in letters)
    assert (one != other).any()
    assert (one != drawn("???")).any()


def test_a_name_is_inside_the_picture_wherever_the_face_is() -> None:
    for box in (Box(0, 0, 40, 40), Box(300, 2, 40, 40), Box(-10, 220, 40, 40), Box(310, 230, 40, 40)):
        assert (drawn("Mia", box) == 255).all(axis=2).any(), box
    long = drawn("a name without end " * 20)
    assert (long == 255).all(axis=2).any()


def test_the_picture_itself_is_left_alone() -> None:
    before = CANVAS.copy()
    result = drawn("two\nlines\x00", canvas=CANVAS)
    assert (before == CANVAS).all()
    assert (result[101, 99:102] == KNOWN).all()


def test_the_smallest_pictures_do() -> None:
    assert drawn("Mia 0.93", Box(0, 0, 1, 1), np.zeros((1, 1, 3), np.uint8)).shape == (1, 1, 3)


def test_a_mask_is_tinted_where_it_is_and_nowhere_else() -> None:
    image: Image = np.full((200, 300, 3), 128, dtype=np.uint8)
    bits = np.zeros((100, 60), dtype=bool)
    bits[10:, 20:] = True
    thing = DrawnObject(Box(150, 90, 60, 100), "", colour_of(0), Mask.of((200, 300), 150, 90, bits))
    drawn = draw_objects(image, [thing])
    changed = (drawn != image).any(axis=2)
    assert changed[100:190, 170:210].all()
    assert not changed[110:180, 160:167].any(), "in the box, outside of the mask"
    assert not changed[:60].any()
    assert (image == 128).all()


def test_the_surest_object_is_uppermost_and_an_empty_mask_is_drawn_too() -> None:
    image: Image = np.zeros((120, 120, 3), dtype=np.uint8)
    full, none = np.ones((100, 100), dtype=bool), np.zeros((0, 0), dtype=bool)
    box = Box(10, 10, 100, 100)
    first = DrawnObject(box, "", (200, 0, 0), Mask.of((120, 120), 10, 10, full))
    second = DrawnObject(box, "", (0, 200, 0), Mask.of((120, 120), 10, 10, full))
    empty = DrawnObject(box, "", (0, 0, 200), Mask.of((120, 120), 0, 0, none))
    red, green, blue = draw_objects(image, [first, second, empty])[60, 60]
    assert red > green > blue
