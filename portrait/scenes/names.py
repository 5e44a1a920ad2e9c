"""Names of people in a sentence that a network wrote: put in only where it is plain whom it speaks of. Pure.

The sentence is read as English. A phrase that speaks of a person is replaced only if it is the only one that does, and
the picture shows exactly as many faces, all of people who are known. Everything else is refused, with the reason.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

_MALE = {"man", "boy", "guy", "gentleman"}
_FEMALE = {"woman", "girl", "lady"}
_EITHER = {"person", "child", "kid", "baby", "toddler", "adult", "teenager"}
_SINGULAR = _MALE | _FEMALE | _EITHER
_PLURAL = {
    *("men", "boys", "guys", "gentlemen", "women", "girls", "ladies"),
    *("people", "persons", "children", "kids", "babies", "toddlers", "adults", "teenagers"),
}
# Words that speak of somebody too, or of several: with one of them it is not plain any more who is meant.
_OTHERS = {
    *("he", "she", "him", "they", "them", "himself", "herself", "themselves", "someone", "somebody", "everyone"),
    *("everybody", "anyone", "anybody", "nobody", "i", "me", "we", "us", "you", "other", "others", "another", "each"),
    *("couple", "group", "crowd", "family", "team", "audience", "pair", "twins", "trio", "band", "crew", "pedestrian"),
    *("pedestrians", "mother", "father", "mom", "dad", "parent", "parents", "son", "sons", "daughter", "daughters"),
    *("brother", "brothers", "sister", "sisters", "wife", "husband", "friend", "friends", "bride", "groom", "infant"),
    *("male", "female", "males", "females", "human", "humans", "student", "students", "teacher", "doctor", "nurse"),
    *("worker", "workers", "player", "players", "surfer", "surfers", "skier", "skiers", "snowboarder", "rider"),
    *("riders", "driver", "skateboarder", "batter", "pitcher", "catcher", "umpire", "chef", "cook", "officer"),
    *("policeman", "police", "soldier", "soldiers", "fireman", "businessman", "cowboy", "king", "queen", "president"),
    *("actor", "actress", "singer", "musician", "dancer", "dancers", "model", "tourist", "tourists", "passenger"),
    *("passengers", "shopper", "shoppers", "customer", "customers", "vendor", "waiter", "waitress", "athlete"),
    *("athletes", "astronaut", "priest", "judge", "politician", "farmer", "hiker", "hikers", "cyclist", "cyclists"),
    *("biker", "bikers", "jockey", "spectator", "spectators", "fan", "fans", "sir", "women's", "elderly", "youth"),
}
_ARTICLES = {"a", "an", "one", "the"}
_ADJECTIVES = {
    *("young", "younger", "old", "older", "middle-aged", "little", "small", "tall", "big", "bald", "bearded"),
    *("beautiful", "pretty", "handsome", "smiling", "happy", "cute", "adult", "blond", "blonde", "single"),
}
# What may follow the phrase. Anything else may belong to it ("a baby elephant"), and then it is no person.
_FOLLOWERS = {
    *("in", "on", "at", "with", "without", "by", "near", "next", "behind", "beside", "under", "over", "from", "of"),
    *("inside", "outside", "between", "against", "above", "below", "into", "through", "across", "along", "around"),
    *("is", "are", "was", "were", "and", "who", "that", "has", "have", "while", "as", "to", "up", "down", "out"),
    *("wears", "wear", "holds", "hold", "sits", "sit", "stands", "stand", "walks", "walk", "rides", "ride", "looks"),
    *("look", "plays", "play", "smiles", "smile", "eats", "eat", "poses", "pose", "talks", "talk", "runs", "run"),
    *("dressed", "seated", "posed", "surrounded", "covered", "wrapped", "sitting", "standing", "wearing", "holding"),
    *("walking", "riding", "looking", "playing", "smiling", "eating", "posing", "talking", "running", "laying"),
    *("lying", "taking", "making", "using", "cutting", "working", "reading", "drinking", "jumping", "swinging"),
    *("flying", "carrying", "driving", "sleeping", "throwing", "hitting", "catching", "surfing", "skiing", "leaning"),
    *("speaking", "singing", "dancing", "cooking", "giving", "showing", "touching", "feeding", "petting", "watching"),
    *("having", "being", "doing", "getting", "waiting", "crossing", "kneeling", "laughing", "pointing", "preparing"),
}
_HIS = {"his": _FEMALE, "her": _MALE}
"""Whose they may not be."""

_WORD = re.compile(r"[A-Za-z]+(?:['’-][A-Za-z]+)*")
_STOP = re.compile(r"\s*(?:$|[.,;:!?)])")
_POSSESSIVE = re.compile(r"\s*['’]\s*s\b")


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
    """Words of the sentence that speak of people, by their places in it."""

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


@dataclass(frozen=True, slots=True)
class _Words:
    """The words of a sentence: their places, and as they are compared, with and without "'s"."""

    sentence: str
    places: tuple[tuple[int, int], ...]
    plain: tuple[str, ...]
    bases: tuple[str, ...]

    def joined(self, index: int) -> bool:
        """Whether nothing but space stands between this word and the one before."""
        return index > 0 and self.sentence[self.places[index - 1][1] : self.places[index][0]].isspace()


def _words(sentence: str) -> _Words:
    found = list(_WORD.finditer(sentence))
    plain = tuple(word.group().lower() for word in found)
    bases = tuple(re.sub(r"['’]s$", "", word) for word in plain)
    return _Words(sentence, tuple(word.span() for word in found), plain, bases)


def _only_phrase(sentence: str) -> _Phrase | str:
    """The one phrase that speaks of people; or why there is none that can be replaced."""
    words = _words(sentence)
    nouns = [place for place, base in enumerate(words.bases) if base in _SINGULAR | _PLURAL]
    if not nouns:
        return "The sentence does not speak of a person in words that are known here."
    if len(nouns) > 1 or any(base in _OTHERS for base in words.bases):
        return "The sentence speaks of several people, or in words that may mean somebody else."
    noun = words.bases[nouns[0]]
    if any(whose in words.plain and noun in not_theirs for whose, not_theirs in _HIS.items()):
        return "The sentence speaks of somebody else too."
    if not _may_end(words, nouns[0]):
        return "It is not plain whether the sentence speaks of a person there."
    return _phrase(words, nouns[0])


def _end(words: _Words, noun: int) -> int:
    """Where the noun ends, a "'s" left out."""
    return words.places[noun][1] - (len(words.plain[noun]) - len(words.bases[noun]))


def _may_end(words: _Words, noun: int) -> bool:
    rest = words.sentence[_end(words, noun) :]
    following = words.bases[noun + 1] if noun + 1 < len(words.bases) else None
    return bool(_STOP.match(rest) or _POSSESSIVE.match(rest)) or following in _FOLLOWERS


def _phrase(words: _Words, noun: int) -> _Phrase | str:
    """Back from the noun over its adjectives to the word that says how many."""
    first = noun
    while words.joined(first) and words.plain[first - 1] in _ADJECTIVES:
        first -= 1
    before = words.plain[first - 1] if words.joined(first) else ""
    singular, end = words.bases[noun] in _SINGULAR, _end(words, noun)
    if singular and before in _ARTICLES:
        return _Phrase(words.places[first - 1][0], end, 1)
    if singular and first == 0 and not words.sentence[: words.places[0][0]].strip():
        return _Phrase(words.places[0][0], end, 1)
    if not singular and before == "two" and words.plain[max(0, first - 2)] not in ("the", "of"):
        return _Phrase(words.places[first - 1][0], end, 2)
    return "The sentence does not say plainly how many people it speaks of."


def _spelt(count: int) -> str:
    return "one person" if count == 1 else "two people"


def _faces(count: int) -> str:
    return "one face" if count == 1 else f"{count} faces"
