"""Sentences as caption networks write them: which are named, word for word, and which are left alone."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.weights.yolact.architecture import COCO_LABELS
from portrait.scenes import names, words
from portrait.scenes.names import Face, with_names

ONE = [Face("Alice", 5.0)]
TWO = [Face("Alice", 5.0), Face("Bob", 50.0)]

NAMED = {
    "a man": "Alice",
    "there is a man in a hat": "there is Alice in a hat",
    "a man in a suit and tie": "Alice in a suit and tie",
    "a man in a suit and tie smiling": "Alice in a suit and tie smiling",
    "a man wearing glasses and a blue shirt": "Alice wearing glasses and a blue shirt",
    "a man riding a horse on a beach": "Alice riding a horse on a beach",
    "a man riding a wave on top of a surfboard": "Alice riding a wave on top of a surfboard",
    "a man riding a motorcycle down a street.": "Alice riding a motorcycle down a street.",
    "a man flying a kite on a beach": "Alice flying a kite on a beach",
    "a man swinging a tennis racket on a tennis court": "Alice swinging a tennis racket on a tennis court",
    "a man holding a cell phone in front of a fire hydrant": "Alice holding a cell phone in front of a fire hydrant",
    "a man sitting on a couch with a laptop computer": "Alice sitting on a couch with a laptop computer",
    "a man standing in a kitchen preparing food": "Alice standing in a kitchen preparing food",
    "a man is standing in the snow with his skis": "Alice is standing in the snow with his skis",
    "a man with a long white beard and sunglasses": "Alice with a long white beard and sunglasses",
    "a man in a red t - shirt": "Alice in a red t - shirt",
    "a man in black and white": "Alice in black and white",
    "a man surrounded by sheep": "Alice surrounded by sheep",
    "a man playing a game of frisbee in a park": "Alice playing a game of frisbee in a park",
    "a man next to a parking meter and a stop sign": "Alice next to a parking meter and a stop sign",
    "a bald man talking on a cell phone": "Alice talking on a cell phone",
    "an old man feeding pigeons in a park": "Alice feeding pigeons in a park",
    "a woman with blonde hair": "Alice with blonde hair",
    "a woman with long hair and a smile": "Alice with long hair and a smile",
    "a woman posing for a picture": "Alice posing for a picture",
    "a woman holding an umbrella in the rain": "Alice holding an umbrella in the rain",
    "a picture of a woman holding an umbrella": "a picture of Alice holding an umbrella",
    "a portrait of a woman": "a portrait of Alice",
    "a close - up of a woman ' s face": "a close - up of Alice ' s face",
    "a close up of a baby's smile": "a close up of Alice's smile",
    "a black and white photo of a woman in a dress": "a black and white photo of Alice in a dress",
    "a woman walking her dog on a leash": "Alice walking her dog on a leash",
    "a young boy eating a slice of pizza": "Alice eating a slice of pizza",
    "a smiling girl with a teddy bear": "Alice with a teddy bear",
    "a little girl sitting at a dining table, eating cake": "Alice sitting at a dining table, eating cake",
    "a child and a dog": "Alice and a dog",
    "a person on skis on a snowy slope": "Alice on skis on a snowy slope",
    "man on a bench": "Alice on a bench",
    "one person in a boat": "Alice in a boat",
    "a dog sitting next to a man": "a dog sitting next to Alice",
    "a black and white cat with a woman": "a black and white cat with Alice",
    "two men": "Alice and Bob",
    "two men and a dog": "Alice and Bob and a dog",
    "two men sitting at a table": "Alice and Bob sitting at a table",
    "there are two women standing in front of a house": "there are Alice and Bob standing in front of a house",
    "a picture of two people on a beach": "a picture of Alice and Bob on a beach",
    "a photo of two men in suits": "a photo of Alice and Bob in suits",
    "a close up of two women": "a close up of Alice and Bob",
    "two women talking to each other": "Alice and Bob talking to each other",
    "two young boys with their bicycles": "Alice and Bob with their bicycles",
}

OTHERS = """a man standing next to a firefighter
a man talking to officers
a man talking to drivers
a man talking to policemen
a man with nurses
a man being examined by doctors
a man and his grandfather
a girl with her boyfriend
a man and a clown
a man with 3 guests
a man and two kings
a man with two dogs
a man looking at obama
a man looking at Rose
a man next to tiger woods
a man next to the old
a man and several in suits
a man with some on a beach
a man and his on a bench
a man and a woman
a man and a
a man and his
a man in a group
a man surrounded by fans
a man cutting hair
a man kissing a bride
a man with another
a person watching him
a woman with his dog
a child with his mother and her dog
the back of a man's head
a man's shoes on a floor
a man's dog
a person's hand holding a phone
a man with a head
the shoes of a man
a shirt with a man on it
a man of war jellyfish
a baby on board sign
a baby sleeping bag
a baby elephant
a baby stroller
a child play area
a child changing table
a woman walking shoe
a ladybug on a leaf
a lady in waiting
there is not a man in sight
no man
a street without a man
nobody but a man
a man without a hat
a painting of a man
a statue of a man
a man on a poster
a man in a mirror
a man watching tv
a man standing next to a statue
a man holding a drawing
a man made of snow
a toy man
a man (left) on a bench
a man on a bench with a ☃
a man on a bench. a dog
a man; a dog
is this a man?
forty two men
twenty - two men
more than two people
one or two people
the two men
two of the men
two men standing next to firefighters
two men and their families
two men with his dog
two men in two boats
two men's shoes
two men shaking hands with a third
three men in a boat
men in a boat""".splitlines()


@pytest.mark.parametrize(("sentence", "expected"), NAMED.items())
def test_a_sentence_of_known_words_is_named(sentence: str, expected: str) -> None:
    assert with_names(sentence, TWO if "two" in sentence else ONE).text == expected


@pytest.mark.parametrize("sentence", OTHERS)
@pytest.mark.parametrize("faces", [ONE, TWO])
def test_a_sentence_that_may_speak_of_somebody_else_is_left(sentence: str, faces: list[Face]) -> None:
    named = with_names(sentence, faces)
    assert named.text is None
    assert named.reason.endswith(".")


def test_the_table_is_large() -> None:
    assert len(NAMED) >= 40
    assert len(OTHERS) >= 40


KNOWN = {
    *(words.VOCABULARY | words.FEATURES | words.OF | words.OF_ONLY | words.OF_A_PERSON | words.OWN),
    *(word for phrase in words.PHRASES for word in phrase),
    *(names._SINGULAR | names._PLURAL | names._ADJECTIVES | names._ARTICLES),
    *re.findall("[a-z]+", names._OPENING.pattern + names._COMPANION.pattern),
    *("of", "two", "each", "other", "s", *"'’,.-"),
}
STRANGE = [
    *("firefighter", "kings", "mother", "obama", "alice", "3", "seven", "no", "not", "without", "statue", "mirror"),
    *("hand", "head", "another", "him", "crowd", "board", "like", "2", "&", "?", "ß", "two-man"),
]


def is_strange(text: str) -> bool:
    return any(token.lower() not in KNOWN for token in names._TOKEN.findall(text))


@given(
    sentence=st.sampled_from(sorted(NAMED)),
    strange=st.one_of(st.sampled_from(STRANGE), st.from_regex(r"[a-z]{1,9}", fullmatch=True), st.text(max_size=9)),
    data=st.data(),
)
def test_one_word_that_is_not_known_is_enough_for_nobody_to_be_named(
    sentence: str, strange: str, data: st.DataObject
) -> None:
    parts = sentence.split()
    parts.insert(data.draw(st.integers(0, len(parts))), strange)
    told = with_names(" ".join(parts), TWO if "two" in sentence else ONE).text
    assert told is None or not is_strange(strange)


@pytest.mark.parametrize("strange", STRANGE)
def test_the_strange_words_are_strange_everywhere(strange: str) -> None:
    assert is_strange(strange)
    for sentence in NAMED:
        parts = sentence.split()
        for place in range(len(parts) + 1):
            told = " ".join([*parts[:place], strange, *parts[place:]])
            assert with_names(told, ONE).text is None, told
            assert with_names(told, TWO).text is None, told


@pytest.mark.parametrize("label", sorted(set(COCO_LABELS) - {"person", "tv"}))
def test_every_thing_that_a_segmenter_finds_may_stand_beside_a_person(label: str) -> None:
    assert with_names(f"a man next to a {label}", ONE).text == f"Alice next to a {label}"
    assert with_names(f"a man with {words.plural(label)}", ONE).text == f"Alice with {words.plural(label)}"


PEOPLE_AND_PICTURES = """
actor actress artist aunt author baker band batter bishop boss boyfriend bride brother captain
catcher chef chief clown coach cook couple cousin cowboy crew crowd customer dad dancer daughter doctor doll driver
dummy emperor family fan farmer father figure fireman firefighter friend girlfriend grandfather grandma grandmother
groom group guard guest guide host hunter husband king knight leader mannequin mate mayor model mom monk mother
musician neighbor nephew niece nun nurse officer painting parent passenger patient photo picture pilot pitcher player
policeman politician portrait poster president priest prince princess prisoner puppet queen referee rider robot sailor
santa scarecrow screen sculpture server singer sister skier snowman soldier son stranger student surfer tailor teacher
team trainer tv twin uncle umpire vendor victim waiter waitress wife witch worker arm back body chest ear elbow eye
face finger foot hand head knee leg lip mouth neck nose shoulder thumb toe tooth none nobody never without other
another someone everyone three four ten hundred
"""


@pytest.mark.parametrize("word", PEOPLE_AND_PICTURES.split())
def test_people_bodies_and_pictures_are_not_in_the_list(word: str) -> None:
    for told in (word, words.plural(word)):
        assert told not in words.VOCABULARY
        assert with_names(f"a man next to a {told}", ONE).text is None
        assert with_names(f"two men with {told} on a beach", TWO).text is None
