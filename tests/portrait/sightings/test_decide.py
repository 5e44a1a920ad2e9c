"""Who is this, is it new: the rules, case by case."""

import numpy as np
import pytest

from inference.types import Quality, QualityReason
from portrait.sightings.decide import Decision, Grade, Likeness, Standing, decide, deciding, grade, template

ADA = Likeness("ada", 0.8, named=True)
NOBODY: list[Likeness[str]] = []


def face(faces: int = 5, steady: bool = True, of: Grade = Grade.GOOD) -> Standing:
    return Standing(faces, of, steady)


def ask(
    which: Standing, *likenesses: Likeness[str], taken: dict[str, float] | None = None, frames: int = 9
) -> Decision[str]:
    return decide(which, likenesses, taken=taken or {}, frames=frames, min_frames=4)


def quality(*reasons: QualityReason, size_px: float = 80, sharpness: float = 30) -> Quality:
    return Quality(0.4, size_px, sharpness, 100.0, 0.9, 0.0, 0.0, 1.0, reasons)


def test_the_most_similar_person_is_named() -> None:
    assert ask(face(), Likeness("bob", 0.6, named=True), ADA) == Decision("ada", 0.8)


def test_nobody_near_is_a_stranger_if_the_track_is_steady() -> None:
    assert ask(face()) == Decision(stranger=True)


@pytest.mark.parametrize(
    "which",
    [face(steady=False), face(of=Grade.FAINT)],
    ids=["few faces, or faces that differ", "small or blurred faces"],
)
def test_a_track_that_is_not_steady_makes_no_stranger(which: Standing) -> None:
    assert ask(which) == Decision()


def test_a_passing_face_makes_no_stranger() -> None:
    assert ask(face(), frames=3) == Decision()


def test_somewhat_similar_is_neither_known_nor_new() -> None:
    assert ask(face(), Likeness("ada", 0.4, named=True)) == Decision()


def test_one_good_face_alone_has_to_be_sure() -> None:
    assert ask(face(faces=1), Likeness("ada", 0.6, named=True)) == Decision()
    assert ask(face(faces=1), ADA) == Decision("ada", 0.8)


def test_poor_faces_name_only_who_is_clearly_ahead() -> None:
    faint = face(of=Grade.FAINT)
    assert ask(faint, Likeness("ada", 0.55, named=True)) == Decision("ada", 0.55)
    assert ask(faint, Likeness("ada", 0.55, named=True), Likeness("bob", 0.4, named=True)) == Decision()
    assert ask(faint, Likeness("ada", 0.55, named=True), Likeness("stranger", 0.4, named=False)).key == "ada"
    assert ask(face(steady=False, of=Grade.FAINT), ADA) == Decision()


def test_a_known_person_goes_before_the_unknown_one_the_track_itself_made() -> None:
    own = Likeness("unknown", 1.0, named=False, own=True)
    assert ask(face(), own, Likeness("ada", 0.55, named=True)) == Decision("ada", 0.55)
    assert ask(face(), own, Likeness("other unknown", 0.9, named=False)) == Decision("unknown", 1.0)
    assert ask(face(faces=1), own) == Decision("unknown", 1.0)


def test_nobody_is_in_two_places_at_once() -> None:
    assert ask(face(), ADA, taken={"ada": 0.9}) == Decision(stranger=True)
    assert ask(face(), ADA, Likeness("bob", 0.6, named=True), taken={"ada": 0.9}) == Decision("bob", 0.6)
    assert ask(face(), ADA, taken={"ada": 0.7}) == Decision("ada", 0.8)


def test_the_mean_of_faces_is_the_same_in_any_order_and_as_long_as_they_are() -> None:
    rows = [np.array(row, np.float32) for row in ([1.0, 0.0], [0.6, 0.8], [0.8, 0.6])]
    one = template(rows, [Grade.GOOD] * 3)
    other = template(rows[::-1], [Grade.GOOD] * 3)
    assert np.array_equal(one.vector, other.vector)
    assert np.linalg.norm(one.vector) == pytest.approx(1.0)
    assert one.spread == pytest.approx(max(np.linalg.norm(row - one.vector) for row in rows), abs=1e-6)
    assert one.standing == Standing(3, Grade.GOOD, steady=False)
    assert template(rows[:1], [Grade.FAINT]).standing == Standing(1, Grade.FAINT, steady=False)
    assert template(rows[:1] * 3, [Grade.GOOD] * 3).standing.steady


def test_good_faces_decide_alone_once_there_are_two() -> None:
    assert deciding([Grade.GOOD, Grade.GOOD, Grade.FAINT]) == 2
    assert deciding([Grade.GOOD, Grade.TURNED, Grade.FAINT]) == 3
    assert deciding([]) == 0


def test_grades() -> None:
    assert grade(quality()) is Grade.GOOD
    assert grade(quality(QualityReason.TURNED_AWAY)) is Grade.TURNED
    assert grade(quality(QualityReason.BLURRED, QualityReason.TOO_SMALL, size_px=24, sharpness=5)) is Grade.FAINT
    assert grade(quality(QualityReason.TOO_SMALL, size_px=15)) is Grade.POOR
    assert grade(quality(QualityReason.TURNED_AWAY, QualityReason.BLURRED)) is Grade.POOR
    assert grade(quality(QualityReason.TOO_DARK)) is Grade.POOR
