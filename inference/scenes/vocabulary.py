"""Text <-> tokens for BLIP: BERT's WordPiece (Devlin et al. 2018, arXiv 1810.04805) by the library tokenizers."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
"""Never part of a text."""
_BLIPS = ("[DEC]", "[ENC]")
"""What BLIP adds; some files list these two as well."""
_UNKNOWN = "[UNK]"


class Vocabulary:
    """The words of a model's `vocab.txt`; a word's number is its line, from 0.

    Numbers beyond the file (most often [DEC] and [ENC], which BLIP adds) are never part of a text, nor are those of
    `signs`, whatever the file calls them: what begins and ends a text.
    """

    def __init__(self, words: Sequence[str], *, lower_case: bool = True, signs: Iterable[int] = ()) -> None:
        self._words = tuple(words)
        self._signs = {place for place, word in enumerate(words) if word in (*SPECIAL, *_BLIPS)} | set(signs)
        self._tokenizer = Tokenizer(
            models.WordPiece({word: place for place, word in enumerate(words)}, unk_token=_UNKNOWN)
        )
        self._tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lower_case)
        self._tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        self._decoder = decoders.WordPiece(prefix="##", cleanup=True)

    @classmethod
    def read(cls, path: Path, *, lower_case: bool = True, signs: Iterable[int] = ()) -> "Vocabulary":
        """
        Raises:
            ValueError: the file is no vocabulary.
        """
        words = read_words(path.read_bytes())
        return cls(words, lower_case=lower_case, signs=signs)

    def encode(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: Iterable[int]) -> str:
        told = [token for token in ids if 0 <= token < len(self._words) and token not in self._signs]
        text: str = self._decoder.decode([self._words[token] for token in told])
        return text


def read_words(content: bytes) -> list[str]:
    """The lines of a `vocab.txt`.

    Raises:
        ValueError: it is no text in UTF-8, or lacks the words that WordPiece needs.
    """
    words = content.decode("utf-8").split("\n")
    if words and not words[-1]:
        words.pop()
    words = [word.removesuffix("\r") for word in words]
    missing = [word for word in (_UNKNOWN, "[SEP]") if word not in words]
    if missing:
        raise ValueError(f"the vocabulary has no {' and no '.join(missing)}")
    return words
