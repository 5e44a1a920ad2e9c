"""Names in a sentence: only where it is plain whom it speaks of, and literally."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portrait.scenes.names import Face, with_names

ALICE, BOB = Face("Alice", 5.0), Face("Bob", 50.0)


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("a man in a suit and tie", "Alice in a suit and tie"),
        ("a smiling young woman with glasses", "Alice with glasses"),
        ("the person is sitting on a bench", "Alice is sitting on a bench"),
        ("man riding a wave on a surfboard", "Alice riding a wave on a surfboard"),
        ("a photo of a woman.", "a photo of Alice."),
        ("A child", "Alice"),
        ("a close up of a woman's face", "a close up of Alice's face"),
        ("a close up of a woman ' s face", "a close up of Alice ' s face"),
        ("a woman with her dog", "Alice with her dog"),
        ("a boy holding his bat", "Alice holding his bat"),
    ],
)
def test_one_person_in_one_phrase_is_named(sentence: str, expected: str) -> None:
    assert with_names(sentence, [ALICE]).text == expected


@pytest.mark.parametrize("sentence", ["two men on a bench", "two women and a dog", "two young people in a room"])
def test_two_known_people_are_named_from_left_to_right(sentence: str) -> None:
    named = with_names(sentence, [BOB, ALICE])
    assert named.text is not None
    assert named.text.startswith("Alice and Bob ")
    assert with_names(sentence, [ALICE]).text is None
    assert with_names(sentence, [ALICE, Face(None, 9.0)]).text is None


@pytest.mark.parametrize(
    "sentence",
    [
        "a man and a woman",
        "a group of people standing around a man",
        "a man looking at another man",
        "a man with her dog",
        "a woman taking a picture of him",
        "a man and his son",
        "a baby elephant in a zoo",
        "a man-made lake",
        "a snowman in a garden",
        "a dog on a sofa",
        "three men in a boat",
        "two men",
        "a couple of men",
        "some man in a hat",
        "a man made of snow",
        "a mannequin in a shop",
        "a tennis player swinging a racket",
        "the two men",
        "",
    ],
)
def test_what_is_not_plain_is_left_and_the_reason_told(sentence: str) -> None:
    named = with_names(sentence, [ALICE])
    assert named.text is None
    assert named.reason.endswith(".")


def test_unknown_people_stay_unknown() -> None:
    assert with_names("a man in a hat", [Face(None, 1.0)]).text is None
    assert with_names("a man in a hat", [ALICE, Face(None, 1.0)]).text is None
    assert with_names("a man in a hat", []).text is None


@given(name=st.text(min_size=1, max_size=60), other=st.text(min_size=1, max_size=60))
def test_a_name_comes_through_as_it_is_whatever_it_looks_like(name: str, other: str) -> None:
    assert with_names("a man in a hat", [Face(name, 0.0)]).text == f"{name} in a hat"
    two = with_names("two men in a boat", [Face(other, 7.0), Face(name, 3.0)]).text
    assert two == f"{name} and {other} in a boat"


@pytest.mark.parametrize("name", ["$1", "\\1", "\\g<0>", "{0}", "%s", "A man. Two women", "<b>x</b>", "a man", "李 明"])
def test_names_that_look_like_something_else(name: str) -> None:
    assert with_names("there is a man in a hat", [Face(name, 0.0)]).text == f"there is {name} in a hat"


WORDS = [
    "a",
    "the",
    "two",
    "man",
    "men",
    "woman",
    "her",
    "his",
    "of",
    "and",
    "dog",
    "in",
    "another",
    "group",
    ".",
    "'s",
    "people",
]


@given(
    sentence=st.one_of(st.text(max_size=80), st.lists(st.sampled_from(WORDS), max_size=9).map(" ".join)),
    names=st.lists(st.one_of(st.none(), st.just("Ŋ1"), st.just("Ŋ2")), max_size=3),
)
def test_nobody_is_named_but_everybody_or_nobody(sentence: str, names: list[str | None]) -> None:
    """Whatever the sentence: an answer holds all names once, and the rest of the sentence as it was."""
    named = with_names(sentence, [Face(name, float(place)) for place, name in enumerate(names)])
    if named.text is None:
        assert named.reason
        return
    assert None not in names
    assert len(names) in (1, 2)
    put_in = " and ".join(str(name) for name in names)
    assert named.text.count(put_in) == 1
    before, after = named.text.split(put_in)
    assert sentence.startswith(before)
    assert sentence.endswith(after)
    assert len(before) + len(after) < len(sentence)
