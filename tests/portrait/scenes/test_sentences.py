"""The sentence by rules: what was found, counted, and no more."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portrait.scenes.sentences import Plan, counted, describe, plan_of


@pytest.mark.parametrize(
    ("faces", "labels", "expected"),
    [
        (0, None, "No face was found."),
        (0, [], "No person and no known object was found."),
        (1, None, "A person."),
        (13, None, "13 people."),
        (1, ["person", "person", "dog"], "Two people and a dog."),
        (2, ["dog", "dog", "apple", "person"], "Two people, two dogs and an apple."),
        (0, ["bus", "bus", "knife", "knife", "sheep", "sheep"], "Two buses, two knives and two sheep."),
        (0, ["skis"], "Skis."),
    ],
)
def test_what_was_found_is_counted(faces: int, labels: list[str] | None, expected: str) -> None:
    assert describe(plan_of(faces, labels)) == expected


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("hour glass", "an hour glass"),
        ("apple", "an apple"),
        ("Umbrella", "an Umbrella"),
        ("unicycle", "a unicycle"),
        ("uniform", "a uniform"),
        ("horse", "a horse"),
        ("skis", "skis"),
    ],
)
def test_the_article_is_as_the_word_sounds(label: str, expected: str) -> None:
    assert counted(label, 1) == expected


def test_who_is_known_is_named_and_the_others_are_counted() -> None:
    plan = plan_of(3, ["dog"])
    assert describe(plan, ["Alice"]) == "Alice, two other people and a dog."
    assert describe(plan, ["Alice", "Bob"]) == "Alice, Bob, another person and a dog."
    assert describe(plan, ["Alice", "Bob", "$1"]) == "Alice, Bob, $1 and a dog."


@given(faces=st.integers(0, 40), labels=st.none() | st.lists(st.sampled_from(["dog", "person", "bus"]), max_size=9))
def test_a_plan_survives_being_stored(faces: int, labels: list[str] | None) -> None:
    plan = plan_of(faces, labels)
    assert Plan.from_json(plan.as_json()) == plan
    assert describe(plan).endswith(".")
