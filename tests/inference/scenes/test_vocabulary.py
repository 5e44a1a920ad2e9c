"""Text <-> tokens, compared with the tokenizer of transformers on the same words."""

from pathlib import Path

import pytest

from inference.scenes.vocabulary import Vocabulary, read_words
from tests.inference.tiny_blip import REASON, WORDS

TEXTS = [
    "",
    "a picture of",
    "A Picture OF a red circle",
    "  two   spaces\tand\nlines ",
    'it\'s, a: "test"! 42 % ok?',
    "naïve café Ångström",
    "日本 text",
    "re-red redcircle of.",
    "[SEP] [CLS] [PAD]",
    "\u200bzero\u00adwidth\x00",
    "x" * 120,
]


@pytest.mark.parametrize("text", TEXTS)
def test_tokens_are_those_of_transformers(text: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason=REASON)
    (tmp_path / "vocab.txt").write_text("".join(f"{word}\n" for word in WORDS))
    theirs = transformers.BertTokenizer(vocab=str(tmp_path / "vocab.txt"), do_lower_case=True)
    ours = Vocabulary(WORDS)
    special = [word for word in ("[SEP]", "[CLS]", "[PAD]") if word in text]
    if not special:  # theirs takes these as what they name; of a caller's prompt they are only text
        assert list(ours.encode(text)) == theirs.encode(text, add_special_tokens=False)
    else:
        assert not {0, 2, 3} & set(ours.encode(text))


@pytest.mark.parametrize("seed", range(20))
def test_texts_are_those_of_transformers(seed: int, tmp_path: Path) -> None:
    import numpy as np

    transformers = pytest.importorskip("transformers", reason=REASON)
    (tmp_path / "vocab.txt").write_text("".join(f"{word}\n" for word in WORDS))
    theirs = transformers.BertTokenizer(vocab=str(tmp_path / "vocab.txt"), do_lower_case=True)
    ids = np.random.default_rng(seed).integers(0, len(WORDS), 15).tolist()
    expected = theirs.decode(ids, skip_special_tokens=True)
    assert Vocabulary(WORDS).decode(ids) == expected


def test_numbers_beyond_the_file_are_no_text() -> None:
    red = WORDS.index("red")
    assert Vocabulary(WORDS).decode([len(WORDS), red, len(WORDS) + 1, 3, -1]) == "red"


def test_signs_that_the_file_lists_are_no_text() -> None:
    words = [*WORDS, "[DEC]", "[ENC]", "[begin]"]
    ids = [words.index(word) for word in ("[begin]", "[DEC]", "a", "red", "[ENC]", "[SEP]")]
    assert Vocabulary(words).decode(ids) == "[begin] a red"
    assert Vocabulary(words, signs=[ids[0]]).decode(ids) == "a red"


def test_case_is_kept_where_the_model_wants_it() -> None:
    words = [*WORDS, "Red"]
    assert Vocabulary(words, lower_case=False).encode("Red red") == (len(WORDS), WORDS.index("red"))


@pytest.mark.parametrize(
    ("content", "told"), [(b"", "no \\[UNK\\]"), (b"[UNK]\na\n", "no \\[SEP\\]"), (b"\xff\xfe", "utf-8")]
)
def test_what_is_no_vocabulary_is_refused(content: bytes, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        read_words(content)


def test_lines_may_end_as_windows_ends_them() -> None:
    assert read_words(b"[UNK]\r\n[SEP]\r\n\r\nx") == ["[UNK]", "[SEP]", "", "x"]
