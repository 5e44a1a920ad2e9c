"""An imported BLIP model (Li et al. 2022, arXiv 2201.12086): two graphs, a vocabulary and the loop, by ONNX Runtime.

`encoder.onnx` makes of a picture the keys and values at which the decoder's cross-attentions look, once;
`decoder.onnx` is one step for prompt and tokens alike. Both lie beside `blip.json` and `vocab.txt`. Keys and values
never leave the process: Triton runs this class in its Python backend (`inference.scenes.triton_model`).

Needs NumPy, ONNX Runtime and tokenizers, nothing else: the model server's environment has no more.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from inference.errors import InvalidInferenceRequestError, ServerError
from inference.runtime import onnxruntime
from inference.scenes.generation import Ids, Wish, Written, write
from inference.scenes.vocabulary import Vocabulary
from inference.scenes.wire import GROUP, Answer, Task
from inference.types import FloatArray, Image

ENCODER = "encoder.onnx"
DECODER = "decoder.onnx"
NUMBERS = "blip.json"
VOCABULARY = "vocab.txt"
_MOST_ROWS = 24
"""So many texts advance in one step at most, a beam each: eight pictures with three beams."""


@dataclass(frozen=True, slots=True)
class BlipNumbers:
    """What the graphs alone do not say (`blip.json`). layers, heads, head_width: of the text decoder."""

    size_px: int
    max_tokens: int
    layers: int
    heads: int
    head_width: int
    vocabulary: int
    bos_id: int
    sep_id: int
    lower_case: bool = True

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1, sort_keys=True) + "\n"


def state_names(kind: str, layers: int) -> list[str]:
    """Names of the graphs' keys and values, in their order. kind: `cross` (of a picture), `past`, `now` (of tokens)."""
    return [f"{kind}_{part}_{layer:02}" for layer in range(layers) for part in ("k", "v")]


def together(beams: int) -> int:
    """So many pictures advance in one step."""
    return max(1, min(GROUP, _MOST_ROWS // beams))


def _open(path: Path, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Threads that spin while they wait take the cores from the loop between the steps, and from all other models: of
    # the base model on two cores, others working too, a step of 3 beams took 25 ms without and 56 ms with spinning.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # The runtime's arena never gives back what the largest group once needed: 0.4 to 0.5 GB of the base model. Without
    # it captions of that took 1 to 3 % longer.
    options.enable_cpu_mem_arena = False
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


class BlipModel:
    """The model in the folder `folder`. threads: what one call may use, 0 is all cores. May be shared by threads.

    Raises:
        ServerError: the folder holds no such model.
    """

    def __init__(self, folder: Path, *, threads: int = 0) -> None:
        try:
            self.numbers = BlipNumbers(**json.loads((folder / NUMBERS).read_text(encoding="utf-8")))
            self._vocabulary = Vocabulary.read(
                folder / VOCABULARY,
                lower_case=self.numbers.lower_case,
                signs=(self.numbers.bos_id, self.numbers.sep_id),
            )
            self._encoder = _open(folder / ENCODER, threads)
            self._decoder = _open(folder / DECODER, threads)
        except Exception as error:  # the runtime's own classes have no common base
            raise ServerError(f"{folder} holds no BLIP model that can be opened: {error}") from error

    def prompt_ids(self, prompt: str) -> tuple[int, ...]:
        """What a text with this prompt begins with."""
        return (self.numbers.bos_id, *self._vocabulary.encode(prompt))

    def check(self, task: Task) -> None:
        """Raises `InvalidInferenceRequestError` where a task cannot be done, and says why."""
        size, limit = self.numbers.size_px, self.numbers.max_tokens
        if task.image.shape != (size, size, 3) or task.image.dtype != np.uint8:
            raise InvalidInferenceRequestError(
                f"a picture must be {size} x {size} x 3 bytes, not {task.image.shape} of {task.image.dtype}"
            )
        if task.settings.max_length > limit:
            raise InvalidInferenceRequestError(
                f"max_length is {task.settings.max_length}, but this model writes at most {limit} tokens"
            )
        begun = len(self.prompt_ids(task.prompt))
        if begun >= task.settings.max_length:
            raise InvalidInferenceRequestError(
                f"the prompt is {begun} tokens long (beginning included), which leaves no room within a max_length of "
                f"{task.settings.max_length}: shorten it, or allow a longer text"
            )
        if 2 * task.settings.num_beams > self.numbers.vocabulary:
            raise InvalidInferenceRequestError(f"num_beams is more than half of {self.numbers.vocabulary} words")

    def captions(self, tasks: Sequence[Task], gone: Callable[[int], bool] | None = None) -> list[Answer | None]:
        """An answer for each task; those that fit together (as many beams, as long a prompt) advance in one step.

        gone: whether nobody waits for a task any more; it is then dropped, and its answer is None.

        Raises:
            InvalidInferenceRequestError: a task cannot be done (see `check`).
        """
        groups: dict[tuple[int, int], list[int]] = defaultdict(list)
        for place, task in enumerate(tasks):
            self.check(task)
            groups[task.settings.num_beams, len(self.prompt_ids(task.prompt))].append(place)
        answers: list[Answer | None] = [None] * len(tasks)
        for (beams, _), members in groups.items():
            count = together(beams)
            for start in range(0, len(members), count):
                part = members[start : start + count]
                waiting = [place for place in part if gone is None or not gone(place)]
                for place, answer in zip(waiting, self._group(tasks, waiting, beams, gone), strict=True):
                    answers[place] = answer
        return answers

    def _group(
        self, tasks: Sequence[Task], places: Sequence[int], beams: int, gone: Callable[[int], bool] | None
    ) -> list[Answer | None]:
        if not places:
            return []
        wishes = [self._wish(tasks[place]) for place in places]
        written = write(
            self.decoding([tasks[place].image for place in places]),
            wishes,
            beams=beams,
            sep_id=self.numbers.sep_id,
            gone=lambda at: gone is not None and gone(places[at]),
        )
        return [
            None if text is None else self._answer(tasks[place], wish, text)
            for place, wish, text in zip(places, wishes, written, strict=True)
        ]

    def _wish(self, task: Task) -> Wish:
        settings = task.settings
        return Wish(
            prompt=self.prompt_ids(task.prompt),
            min_length=settings.min_length,
            max_length=settings.max_length,
            repetition_penalty=settings.repetition_penalty,
            length_penalty=settings.length_penalty,
        )

    def _answer(self, task: Task, wish: Wish, written: Written) -> Answer:
        text = self._vocabulary.decode(written.token_ids)
        if not task.keeps_prompt:
            # cut from the text, not from the tokens: the first new token may be the end of a word
            text = text.removeprefix(self._vocabulary.decode(wish.prompt)).strip()
        return Answer(text, written.token_ids, written.score)

    def decoding(self, images: Sequence[Image]) -> "Decoding":
        """Ready for the first step. Pictures go through the encoder one by one: a batch is no faster on a CPU, and
        needs so many times the memory."""
        seen = [self._encoder.run(None, {"image": image[None]}) for image in images]
        # one after the other is taken out of the lists: else all would be held twice
        crosses = [np.concatenate([parts.pop(0) for parts in seen]) for _ in range(2 * self.numbers.layers)]
        return Decoding(self._decoder, self.numbers, crosses)


class Decoding:
    """A `Decoder` (see `inference.scenes.generation`): the second graph, and what it remembers."""

    def __init__(self, session: Any, numbers: BlipNumbers, crosses: Sequence[FloatArray]) -> None:
        self._session = session
        self._crosses = dict(zip(state_names("cross", numbers.layers), crosses, strict=True))
        self._pasts = state_names("past", numbers.layers)
        self._outputs = ["logits", *state_names("now", numbers.layers)]
        rows, heads, width = len(crosses[0]), numbers.heads, numbers.head_width
        none = [np.zeros((rows, heads, width, 0), np.float32), np.zeros((rows, heads, 0, width), np.float32)]
        self._state = [_value(array) for array in none] * numbers.layers
        self._seen = {name: _value(array) for name, array in self._crosses.items()}

    def step(self, ids: Ids, rows: Ids) -> FloatArray:
        feeds = {
            "ids": _value(ids),
            "rows": _value(rows),
            **dict(zip(self._pasts, self._state, strict=True)),
            **self._seen,
        }
        logits, *self._state = self._session.run_with_ort_values(self._outputs, feeds)
        scores: FloatArray = logits.numpy()
        return scores

    def keep(self, images: Sequence[int]) -> None:
        for name, array in self._crosses.items():  # one by one: all at once would be held twice
            self._crosses[name] = array[list(images)]
            self._seen[name] = _value(self._crosses[name])


def _value(array: Any) -> Any:
    """For the runtime, not copied; `run` would copy every answer."""
    return onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array))
