"""The sentence that needs no caption model: who and what is in a picture, by rules. Pure.

It says no more than was found: people by their faces, and objects that a segmentation model named.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from portrait.scenes.words import plural

PERSON = "person"
"""The label of people in COCO's list."""
_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_MUTE_H = ("hour", "honest", "honour", "heir")
_LIKE_Y = ("uni", "use", "euro", "one", "ukulele", "ute")
"""Beginnings that sound otherwise than their first letter: "an hourglass", "a unicycle"."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a sentence is made of. people: how many are in the picture, by their faces or as objects, whichever are
    more. objects: (label, how many), most first; None: nobody looked for objects."""

    people: int
    objects: tuple[tuple[str, int], ...] | None

    def as_json(self) -> dict[str, Any]:
        return {
            "people": self.people,
            "objects": None if self.objects is None else [list(each) for each in self.objects],
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Plan":
        objects = value["objects"]
        return cls(int(value["people"]), None if objects is None else tuple((str(a), int(b)) for a, b in objects))


def plan_of(faces: int, labels: Sequence[str] | None) -> Plan:
    """labels: of the objects that were found; None where nobody looked for any."""
    if labels is None:
        return Plan(faces, None)
    counts = Counter(labels)
    seen = counts.pop(PERSON, 0)
    return Plan(max(faces, seen), tuple(sorted(counts.items(), key=lambda each: (-each[1], each[0]))))


def describe(plan: Plan, names: Sequence[str] = ()) -> str:
    """The sentence; with the names of those who are known, the others counted."""
    parts = [*names]
    left = max(0, plan.people - len(names))
    if left and names:
        parts.append("another person" if left == 1 else f"{_number(left)} other people")
    elif left:
        parts.append(counted(PERSON, left))
    parts += [counted(label, count) for label, count in plan.objects or ()]
    if not parts:
        return "No face was found." if plan.objects is None else "No person and no known object was found."
    text = f"{_listed(parts)}."
    return text if names else text[0].upper() + text[1:]


def counted(label: str, count: int) -> str:
    """ "a dog", "two dogs"."""
    if count > 1:
        return f"{_number(count)} {plural(label)}"
    if label in ("skis", "scissors"):
        return label
    return f"{_article(label.lower())} {label}"


def _article(label: str) -> str:
    vowel = label.startswith((*"aeiou", *_MUTE_H)) and not label.startswith(_LIKE_Y)
    return "an" if vowel else "a"


def _number(count: int) -> str:
    return _NUMBERS[count] if count < len(_NUMBERS) else str(count)


def _listed(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
