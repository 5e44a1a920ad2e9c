"""Which faces are one person's, frame to frame."""

from random import Random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from portrait.sightings.linking import Spots, groups, links


def spots(*rows: tuple[int, float, tuple[float, ...], bool, float]) -> Spots:
    """Rows of frame, second, box, good, and the angle that stands for the face."""
    return Spots(
        frame=np.array([row[0] for row in rows], dtype=np.int64),
        at=np.array([row[1] for row in rows], dtype=np.float64),
        box=np.array([row[2] for row in rows], dtype=np.float64).reshape(-1, 4),
        good=np.array([row[3] for row in rows], dtype=np.bool_),
        vector=np.array([[np.cos(row[4]), np.sin(row[4])] for row in rows], dtype=np.float32).reshape(-1, 2),
    )


HERE, BESIDE, FAR = (0.0, 0.0, 50.0, 60.0), (10.0, 5.0, 50.0, 60.0), (300.0, 0.0, 50.0, 60.0)
NOBODY = spots()


def test_the_same_face_a_little_later_is_linked() -> None:
    assert links(spots((2, 0.2, BESIDE, True, 0.3)), spots((1, 0.0, HERE, True, 0.0))) == [(0, 1)]


def test_another_face_in_the_same_place_is_not() -> None:
    assert links(spots((2, 0.2, HERE, True, 1.0)), spots((1, 0.0, HERE, True, 0.0))) == []


def test_a_face_much_later_is_not() -> None:
    assert links(spots((2, 1.5, HERE, True, 0.0)), spots((1, 0.0, HERE, True, 0.0))) == []


def test_two_faces_of_one_frame_are_two_people() -> None:
    assert links(spots((1, 0.0, HERE, True, 0.0), (1, 0.0, BESIDE, True, 0.0)), NOBODY) == []


def test_a_person_who_moved_across_the_picture_is_known_again_if_the_faces_are_good() -> None:
    assert links(spots((2, 0.5, FAR, True, 0.1)), spots((1, 0.0, HERE, True, 0.0))) == [(0, 1)]
    assert links(spots((2, 0.5, FAR, False, 0.1)), spots((1, 0.0, HERE, True, 0.0))) == []


def test_a_poor_face_is_linked_by_its_place_and_only_if_it_looks_alike() -> None:
    assert links(spots((2, 0.2, BESIDE, False, 0.3)), spots((1, 0.0, HERE, True, 0.0))) == [(0, 1)]
    assert links(spots((2, 0.2, BESIDE, False, 0.45)), spots((1, 0.0, HERE, True, 0.0))) == []


def test_nothing_new_links_nothing() -> None:
    assert links(NOBODY, spots((1, 0.0, HERE, True, 0.0))) == []


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=15), st.randoms())
def test_groups_do_not_depend_on_the_order_of_links(pairs: list[tuple[int, int]], random: Random) -> None:
    shuffled = [pair if random.random() < 0.5 else pair[::-1] for pair in pairs]
    random.shuffle(shuffled)
    assert groups(10, pairs) == groups(10, shuffled)
    assert sorted(index for group in groups(10, pairs) for index in group) == list(range(10))
