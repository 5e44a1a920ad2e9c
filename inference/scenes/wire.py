"""What travels between `inference.scenes.caption` and a served BLIP model, both directions, in one place.

Inputs: `image` uint8 (n, side, side, 3), `prompt` bytes (n, 1) in UTF-8, `settings` float64 (n, 6): num_beams,
min_length, max_length, repetition_penalty, length_penalty, and 1 where the text keeps the prompt, else 0.
Outputs: `text` bytes (n, 1), `token_ids` int32 (n, max_tokens) filled up with -1, `score` float32 (n, 1).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from inference.client import Tensor
from inference.errors import InvalidInferenceRequestError, InvalidInferenceResponseError
from inference.types import CaptionSettings, Image

INPUTS = ("image", "prompt", "settings")
OUTPUTS = ("text", "token_ids", "score")
SETTINGS = 6
GROUP = 8
"""So many pictures advance together at most: keys and values of one are 42 MB in the base model."""
_NO_TOKEN = -1
_MOST_PROMPT_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Task:
    """One picture (uint8, size_px squared) and what is asked for. keeps_prompt: whether the text begins with it."""

    image: Image
    settings: CaptionSettings
    prompt: str = ""
    keeps_prompt: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """A caption's text, and its tokens and score as in `inference.types.Caption`."""

    text: str
    token_ids: tuple[int, ...]
    score: float


def pack_tasks(tasks: Sequence[Task]) -> dict[str, Tensor]:
    """The inputs."""
    numbers = [
        (
            task.settings.num_beams,
            task.settings.min_length,
            task.settings.max_length,
            task.settings.repetition_penalty,
            task.settings.length_penalty,
            float(task.keeps_prompt),
        )
        for task in tasks
    ]
    return {
        "image": np.stack([task.image for task in tasks]),
        "prompt": np.array([[task.prompt.encode()] for task in tasks], dtype=np.object_),
        "settings": np.array(numbers, dtype=np.float64),
    }


def unpack_tasks(inputs: Mapping[str, Tensor]) -> list[Task]:
    """
    Raises:
        InvalidInferenceRequestError: they are not what this module says.
    """
    missing = [name for name in INPUTS if name not in inputs]
    if missing:
        raise InvalidInferenceRequestError(f"the request lacks {', '.join(missing)}")
    image, prompt, settings = (inputs[name] for name in INPUTS)
    if settings.shape != (len(image), SETTINGS) or prompt.shape != (len(image), 1):
        raise InvalidInferenceRequestError(
            f"prompt {prompt.shape} and settings {settings.shape} do not fit {len(image)} pictures"
        )
    return [
        Task(picture, _settings(row), _text(words[0]), bool(row[5]))
        for picture, words, row in zip(image, prompt, settings, strict=True)
    ]


def _settings(row: Tensor) -> CaptionSettings:
    if not np.isfinite(row).all() or (row[:3] % 1).any():
        raise InvalidInferenceRequestError(f"settings {row.tolist()} are no numbers of beams, lengths and penalties")
    try:
        return CaptionSettings(
            num_beams=int(row[0]),
            min_length=int(row[1]),
            max_length=int(row[2]),
            repetition_penalty=float(row[3]),
            length_penalty=float(row[4]),
        )
    except ValueError as error:
        raise InvalidInferenceRequestError(str(error)) from error


def _text(value: object) -> str:
    if not isinstance(value, bytes) or len(value) > _MOST_PROMPT_BYTES:
        raise InvalidInferenceRequestError(f"a prompt is text of at most {_MOST_PROMPT_BYTES} bytes")
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise InvalidInferenceRequestError(f"a prompt is no UTF-8: {error}") from error


def pack_answers(answers: Sequence[Answer], max_tokens: int) -> dict[str, Tensor]:
    """The outputs."""
    tokens = np.full((len(answers), max_tokens), _NO_TOKEN, dtype=np.int32)
    for row, answer in zip(tokens, answers, strict=True):
        row[: len(answer.token_ids)] = answer.token_ids
    return {
        "text": np.array([[answer.text.encode()] for answer in answers], dtype=np.object_),
        "token_ids": tokens,
        "score": np.array([[answer.score] for answer in answers], dtype=np.float32),
    }


def unpack_answers(outputs: Mapping[str, Tensor], count: int) -> list[Answer]:
    """
    Raises:
        InvalidInferenceResponseError: they are not what this module says.
    """
    text, tokens, score = (outputs[name] for name in OUTPUTS)
    if text.shape != (count, 1) or score.shape != (count, 1) or tokens.ndim != 2 or len(tokens) != count:
        raise InvalidInferenceResponseError(
            f"captions came as text {text.shape}, token_ids {tokens.shape}, score {score.shape} for {count} pictures"
        )
    try:
        return [
            Answer(words[0].decode(), tuple(int(token) for token in row if token != _NO_TOKEN), float(number[0]))
            for words, row, number in zip(text, tokens, score, strict=True)
        ]
    except (AttributeError, UnicodeDecodeError) as error:
        raise InvalidInferenceResponseError(f"a caption is no text: {error}") from error
