"""Writing a text token by token: greedy, and beam search, for several pictures that advance in one step.

Token for token what `generate()` of transformers 5 writes (sampling off, `early_stopping` False): the rules below are
its rules, put down anew in NumPy. In particular the repetition penalty acts on raw logits without beams and on
log-likelihoods with them, lengths count the prompt, and a score divides by the length without it.

One thing is not taken over. There, a score of -1e9 means that no text has ended yet; where the length penalty is very
negative, true scores of long texts fall below it, and the answer is the bare prompt.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from inference.types import FloatArray

Ids = NDArray[np.int64]
_NEVER = np.float32(-1e9)
"""What marks an impossible choice, as in transformers: finite, so that sums of it can still be compared."""


class Decoder(Protocol):
    """The network with what it remembers: keys and values of the pictures and of the tokens so far."""

    def step(self, ids: Ids, rows: Ids) -> FloatArray:
        """One step. ids (images, beams, tokens); rows (images * beams): which row of the step before each row
        continues. Answers logits (images * beams, vocabulary) after each row's last token."""

    def keep(self, images: Sequence[int]) -> None:
        """Go on with these of the pictures only, by their places in the step before."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked for one picture: the tokens that the text begins with (the first is the beginning-of-sentence
    token), and the settings, as in `CaptionSettings`."""

    prompt: tuple[int, ...]
    min_length: int
    max_length: int
    repetition_penalty: float = 1.0
    length_penalty: float = 1.0


@dataclass(frozen=True, slots=True)
class Written:
    """A text: its tokens, prompt and separator included, and its score, as in `Caption`."""

    token_ids: tuple[int, ...]
    score: float


def _nobody_left(_: int) -> bool:
    return False


def write(
    decoder: Decoder,
    wishes: Sequence[Wish],
    *,
    beams: int,
    sep_id: int,
    gone: Callable[[int], bool] = _nobody_left,
) -> list[Written | None]:
    """A text for each wish. All prompts have the same number of tokens, fewer than any `max_length`.

    gone: whether nobody waits for a wish any more; it is then dropped, and its text is None.
    """
    lengths = {len(wish.prompt) for wish in wishes}
    if len(lengths) != 1 or min(wish.max_length for wish in wishes) <= max(lengths):
        raise ValueError("the prompts of one group have one length, and leave room for a token")
    searches: list[_Greedy | _Beams] = [_Greedy(wish) if beams == 1 else _Beams(wish, beams) for wish in wishes]
    logits = decoder.step(np.array([[wish.prompt] for wish in wishes], dtype=np.int64), np.arange(len(wishes)))
    live, width = list(range(len(wishes))), 1
    while True:
        _advance([searches[place] for place in live], logits, beams=beams, sep_id=sep_id)
        staying = [at for at, place in enumerate(live) if not searches[place].done and not gone(place)]
        if not staying:
            return [search.result() for search in searches]
        if len(staying) < len(live):
            decoder.keep(staying)
        live = [live[at] for at in staying]
        # in the step before, a picture had `width` rows: one for its prompt, later one a beam
        rows = [
            at * width + origin % width
            for at, place in zip(staying, live, strict=True)
            for origin in searches[place].origins
        ]
        tokens = np.array([[[text[-1]] for text in searches[place].texts] for place in live], dtype=np.int64)
        logits, width = decoder.step(tokens, np.array(rows, dtype=np.int64)), beams


def _advance(searches: "Sequence[_Greedy | _Beams]", logits: FloatArray, *, beams: int, sep_id: int) -> None:
    """One token more for all: penalties and choices for all pictures at once, bookkeeping for each."""
    log_likelihoods = _log_softmax(logits.reshape(len(searches), -1, logits.shape[-1]))
    # the prompt's step has one row for all beams of a picture, which are still the same
    log_likelihoods = np.repeat(log_likelihoods, beams // log_likelihoods.shape[1], axis=1)
    scores = logits.reshape(log_likelihoods.shape).copy() if beams == 1 else log_likelihoods.copy()
    for at, search in enumerate(searches):
        _restrict(scores[at], search, sep_id)
    if beams == 1:
        chosen = scores[:, 0].argmax(axis=1)
        for at, search in enumerate(searches):
            token = chosen[at : at + 1]
            search.advance(token, log_likelihoods[at, 0, token], sep_id, vocabulary=scores.shape[-1])
        return
    flat = (scores + np.stack([search.totals for search in searches])[:, :, None]).reshape(len(searches), -1)
    # twice as many as beams, as each beam may end with one of them; a partial sort of 3 x 30524 costs a tenth
    some = np.argpartition(-flat, 2 * beams - 1, axis=1)[:, : 2 * beams]
    order = np.argsort(-np.take_along_axis(flat, some, axis=1), axis=1, kind="stable")
    best = np.take_along_axis(some, order, axis=1)
    values = np.take_along_axis(flat, best, axis=1)
    for at, search in enumerate(searches):
        search.advance(best[at], values[at], sep_id, vocabulary=scores.shape[-1])


def _log_softmax(logits: FloatArray) -> FloatArray:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    result: FloatArray = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return result


def _restrict(scores: FloatArray, search: "_Greedy | _Beams", sep_id: int) -> None:
    """In place: what was written is repeated less readily (Keskar et al. 2019, arXiv 1909.05858), and no text ends
    before its least length."""
    wish = search.wish
    if wish.repetition_penalty != 1.0:
        for row, text in zip(scores, search.texts, strict=True):
            written = np.unique(text)
            old = row[written]
            row[written] = np.where(old < 0, old * wish.repetition_penalty, old / wish.repetition_penalty)
    if len(search.texts[0]) < wish.min_length:
        scores[:, sep_id] = -np.inf


@dataclass(slots=True)
class _Greedy:
    """The text that always goes on with the best token."""

    wish: Wish
    texts: list[tuple[int, ...]] = field(init=False)
    origins: tuple[int, ...] = (0,)
    totals: FloatArray = field(default_factory=lambda: np.zeros(1, dtype=np.float32))
    done: bool = False

    def __post_init__(self) -> None:
        self.texts = [self.wish.prompt]

    def advance(self, chosen: Ids, values: FloatArray, sep_id: int, *, vocabulary: int) -> None:
        self.texts = [(*self.texts[0], int(chosen[0]))]
        self.totals = self.totals + values
        self.done = bool(chosen[0] == sep_id) or len(self.texts[0]) >= self.wish.max_length

    def result(self) -> Written | None:
        if not self.done:
            return None
        return Written(self.texts[0], float(self.totals[0]) / (len(self.texts[0]) - len(self.wish.prompt)))


@dataclass(slots=True)
class _Beams:
    """Several texts at once: the running ones, and the best that ended.

    ended: at most `beams` scores and texts, best first.
    """

    wish: Wish
    beams: int
    texts: list[tuple[int, ...]] = field(init=False)
    origins: tuple[int, ...] = field(init=False)
    totals: FloatArray = field(init=False)
    ended: list[tuple[np.float32, tuple[int, ...]]] = field(default_factory=list)
    done: bool = False

    def __post_init__(self) -> None:
        self.texts = [self.wish.prompt] * self.beams
        self.origins = (0,) * self.beams
        # all beams begin alike: only the first counts, or all would write the same
        self.totals = np.array([0.0] + [_NEVER] * (self.beams - 1), dtype=np.float32)

    def advance(self, chosen: Ids, values: FloatArray, sep_id: int, *, vocabulary: int) -> None:
        """chosen: the 2 * beams best continuations, best first, as beam * vocabulary + token. values: their sums."""
        origins, tokens = chosen // vocabulary, chosen % vocabulary
        texts = [(*self.texts[origin], int(token)) for origin, token in zip(origins, tokens, strict=True)]
        length = len(texts[0])
        ends = (tokens == sep_id) | (length >= self.wish.max_length)
        self._note_ended(texts, values, ends)
        running = np.where(ends, values + _NEVER, values)
        best = np.argsort(-running, kind="stable")[: self.beams]
        self.texts = [texts[place] for place in best]
        self.origins = tuple(int(origins[place]) for place in best)
        self.totals = running[best]
        self.done = bool(ends.all()) or not self._can_improve()

    def _divisor(self, length: int) -> float:
        return float((length - len(self.wish.prompt)) ** self.wish.length_penalty)

    def _note_ended(self, texts: Sequence[tuple[int, ...]], values: FloatArray, ends: NDArray[np.bool_]) -> None:
        """Only the first `beams` continuations may end; the others are there to go on."""
        scores = values / np.float32(self._divisor(len(texts[0])))
        merged = [*self.ended, *((scores[place], texts[place]) for place in range(self.beams) if ends[place])]
        order = np.argsort([-score for score, _ in merged], kind="stable")[: self.beams]
        self.ended = [merged[place] for place in order]

    def _can_improve(self) -> bool:
        """Whether the best running text, if it ended now, would be better than the worst that ended."""
        if len(self.ended) < self.beams:
            return True
        hoped = self.totals[0] / np.float32(self._divisor(len(self.texts[0])))
        return bool(hoped > self.ended[-1][0])

    def result(self) -> Written | None:
        if not self.done:
            return None
        score, text = self.ended[0]
        return Written(text, float(score))
