"""Names of people in a sentence that a network wrote: put in only where it is plain whom it speaks of. Pure.

The sentence is read as English. A phrase that speaks of a person is replaced only if the picture shows exactly as many
faces, all of people who are known, and if every other word of the sentence is known to speak of nobody else
(`portrait.scenes.words`). Everything else is refused, with the reason: a sentence without names is no lie.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from portrait.scenes import words

_MALE = {"man", "boy", "guy", "gentleman"}
_FEMALE = {"woman", "girl", "lady"}
_EITHER = {"person", "child", "kid", "baby", "toddler", "adult", "teenager"}
_SINGULAR = _MALE | _FEMALE | _EITHER
_PLURAL = {
    *("men", "boys", "guys", "gentlemen", "women", "girls", "ladies"),
    *("people", "persons", "children", "kids", "babies", "toddlers", "adults", "teenagers"),
}
_ARTICLES = {"a", "an", "one", "the"}
_ADJECTIVES = {
    *("young", "younger", "old", "older", "middle-aged", "elderly", "little", "small", "tall", "big", "bald"),
    *("bearded", "beautiful", "pretty", "handsome", "smiling", "happy", "cute", "adult", "blond", "blonde", "single"),
}

_KIND = r"(?:(?:blurry|blurred|old|color|colour|vintage|close ?-? ?up|black and white) )?"
_PICTURE = rf"(?:an? |the )?{_KIND}(?:picture|photo|photograph|image|portrait|shot|snapshot|selfie|close ?-? ?up) of"
_OPENING = re.compile(rf"(?:|{_PICTURE}|there is|there are|this is|these are|it is)")
_ANIMAL = "|".join(sorted(words.ANIMALS | words.VEHICLES))
_LOOKS = "|".join(sorted(words.LOOKS))
_BESIDE = r"next to|beside|behind|near|in front of|with|by"
_COMPANION = re.compile(
    rf"(?:there is )?(?:an?|the) (?:(?:{_LOOKS}) (?:and )?)*(?:{_ANIMAL}) "
    rf"(?:(?:is |that is )?(?:sitting|standing|walking|running|lying|laying|sleeping|parked) )?(?:{_BESIDE})"
)
"""What else may come before one person: "a dog sitting next to ". """

_TOKEN = re.compile(r"[A-Za-z]+(?:-[A-Za-z]+)*|[^\sA-Za-z]")
_LONGEST = max(map(len, words.PHRASES))
_NO_SAYING = "The sentence does not say plainly how many people it speaks of."
_NO_PERSON = "It is not plain whether the sentence speaks of a person there."


@dataclass(frozen=True, slots=True)
class Face:
    """A face in the picture. name: None unless it is a known person who may be named. x: where it is, in pixels."""

    name: str | None
    x: float


@dataclass(frozen=True, slots=True)
class Named:
    """The sentence with names; or None, and the reason in words."""

    text: str | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class _Phrase:
    """Words of the sentence that speak of people. first, last: tokens; start, end: characters."""

    first: int
    last: int
    start: int
    end: int
    count: int


def with_names(sentence: str, faces: Sequence[Face]) -> Named:
    """The sentence with the names of these people in the places of the words for them."""
    if not faces:
        return Named(None, "No face was found in the picture.")
    names = [face.name for face in sorted(faces, key=lambda face: face.x) if face.name]
    if not names:
        return Named(None, "Nobody in the picture is known.")
    phrase = _only_phrase(sentence)
    if isinstance(phrase, str):
        return Named(None, phrase)
    if len(faces) != phrase.count:
        return Named(None, f"The sentence speaks of {_spelt(phrase.count)}, the picture shows {_faces(len(faces))}.")
    if len(names) != len(faces):
        return Named(None, "Not everybody in the picture is known.")
    # Put together, not replaced by a pattern: a name is never read as one.
    return Named(sentence[: phrase.start] + " and ".join(names) + sentence[phrase.end :])


def _only_phrase(sentence: str) -> _Phrase | str:
    """The one phrase that speaks of people; or why there is none that can be replaced."""
    places = [match.span() for match in _TOKEN.finditer(sentence)]
    tokens = [sentence[start:end].lower() for start, end in places]
    nouns = [place for place, token in enumerate(tokens) if token in _SINGULAR | _PLURAL]
    if not nouns:
        return "The sentence does not speak of a person in words that are known here."
    if len(nouns) > 1:
        return "The sentence speaks of several people, or in words that may mean somebody else."
    phrase = _phrase(tokens, places, nouns[0])
    if isinstance(phrase, str):
        return phrase
    return _problem_before(tokens, phrase) or _problem_after(tokens, phrase) or phrase


def _phrase(tokens: list[str], places: list[tuple[int, int]], noun: int) -> _Phrase | str:
    """Back from the noun over its adjectives to the word that says how many."""
    first = noun
    while first > 0 and tokens[first - 1] in _ADJECTIVES:
        first -= 1
    before = tokens[first - 1] if first else ""
    one, end = tokens[noun] in _SINGULAR, places[noun][1]
    if one and first == 0:
        return _Phrase(0, noun, places[0][0], end, 1)
    if before in _ARTICLES if one else before == "two":
        return _Phrase(first - 1, noun, places[first - 1][0], end, 1 if one else 2)
    return _NO_SAYING


def _problem_before(tokens: list[str], phrase: _Phrase) -> str | None:
    told = " ".join(tokens[: phrase.first])
    if _OPENING.fullmatch(told) or (phrase.count == 1 and _COMPANION.fullmatch(told)):
        return None
    return f'It is not plain what "{told[-60:]}" says of the people.'


def _problem_after(tokens: list[str], phrase: _Phrase) -> str | None:
    rest = tokens[phrase.last + 1 :]
    if rest[:1] in (["'"], ["’"]):
        if phrase.count != 1 or rest[1:2] != ["s"] or not words.OF_A_PERSON.intersection(rest[2:3]):
            return "The sentence speaks of what is somebody's, and not plainly of the person."
        rest = rest[3:]
    if rest and rest != ["."] and rest[0] != "," and rest[0] not in words.FOLLOWERS:
        return _NO_PERSON
    if phrase.count == 1 and rest and rest[0] in words.BASE_FORMS:
        return _NO_PERSON
    if _breaks_off(rest):
        return "The sentence breaks off."
    unplain = _unplain(rest, tokens[phrase.last], phrase.count)
    return None if unplain is None else f'It is not plain whom or what "{unplain[:60]}" means in the sentence.'


def _unplain(rest: list[str], noun: str, count: int) -> str | None:
    """The first word after the person of which it is not known that it speaks of nobody else."""
    place = 0
    while place < len(rest):
        length = _phrase_length(rest, place)
        if not length and not _harmless(rest, place, noun, count):
            return rest[place]
        place += length or 1
    return None


def _phrase_length(rest: list[str], place: int) -> int:
    """How many words from here on are one known expression, such as "fire hydrant"."""
    lengths = range(_LONGEST, 1, -1)
    return next((length for length in lengths if tuple(rest[place : place + length]) in words.PHRASES), 0)


def _harmless(rest: list[str], place: int, noun: str, count: int) -> bool:
    word, before, after = rest[place], "".join(rest[max(0, place - 1) : place]), "".join(rest[place + 1 : place + 2])
    rules = {
        ",": True,
        ".": place == len(rest) - 1,
        "of": before in words.OF,
        "each": count == 2 and after == "other",
        "other": count == 2 and before == "each",
        **{whose: whose in _own(noun, count) and not _hangs(rest, place) for whose in words.OWN},
        **dict.fromkeys(words.OF_ONLY, after == "of"),
    }
    if word in rules:
        return rules[word]
    if word in words.FEATURES:
        return _is_own_feature(rest, place)
    return word in words.VOCABULARY and not _may_be_a_name(word, before) and not _hangs(rest, place)


def _own(noun: str, count: int) -> set[str]:
    """Whose: words that mean the very people of the phrase."""
    if count == 2:
        return {"their"}
    return {"his"} if noun in _MALE else {"her"} if noun in _FEMALE else {"his", "her", "their"}


def _is_own_feature(rest: list[str], place: int) -> bool:
    """Whether nothing but looks, and other features, lies between "with" and this one."""
    allowed = words.FEATURES | words.LOOKS | words.OWN | {"a", "and", ","}
    for word in reversed(rest[:place]):
        if word == "with":
            return True
        if word not in allowed:
            return False
    return False


def _may_be_a_name(word: str, before: str) -> bool:
    """Whether a thing stands without an article where English wants one, or a verb where it wants a thing."""
    if before == "in" and word in words.VERBS:  # "a lady in waiting"
        return True
    if before in words.POSTURES and word in words.NOUNS:
        return True
    if before in words.ACTIONS and word in words.COUNTABLE:
        return True
    return word in words.NAMELIKE and (not before or before == "," or before in words.FOLLOWERS)


def _hangs(rest: list[str], place: int) -> bool:
    """Whether this is "old" of "the old", or "several" of "several in suits": of nothing, so perhaps of somebody."""
    if rest[place] in words.DETERMINERS:
        return not (words.OBJECTS.intersection(rest[place + 1 : place + 2]) or _phrase_length(rest, place + 1))
    if rest[place] not in words.LOOKS - words.NOUNS:
        return False
    first = place
    while first and rest[first - 1] in words.LOOKS | {"and"}:
        first -= 1
    if not first or rest[first - 1] not in words.DETERMINERS:
        return False
    following = rest[place + 1 : place + 2]
    if following and following[0] in ("and", ","):
        following = rest[place + 2 : place + 3]
        return not (following and following[0] in words.LOOKS)
    return not (words.OBJECTS.intersection(following) or _phrase_length(rest, place + 1))


def _breaks_off(rest: list[str]) -> bool:
    """Whether the network stopped before its sentence was complete: "a man and a"."""
    last = next((word for word in reversed(rest) if word != "."), "")
    return last == "," or last in words.GO_ON


def _spelt(count: int) -> str:
    return "one person" if count == 1 else "two people"


def _faces(count: int) -> str:
    return "one face" if count == 1 else f"{count} faces"
