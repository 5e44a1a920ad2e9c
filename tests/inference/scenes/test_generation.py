"""Our loop over our graphs writes, token for token, what `generate()` of transformers writes on the same weights."""

from collections.abc import Sequence

import numpy as np
import pytest

from inference.errors import InvalidInferenceRequestError
from inference.scenes.blip import BlipModel, Decoding, together
from inference.scenes.generation import Ids, Wish, write
from inference.scenes.wire import GROUP, Answer, Task
from inference.types import CaptionSettings, FloatArray, Image
from tests.inference.scenes.conftest import Imported
from tests.inference.tiny_blip import MEAN, STD, pictures

SEP, PAD = 3, 0
VARIANTS = {
    "plain": CaptionSettings(min_length=0),
    "min length": CaptionSettings(min_length=9),
    "repetition": CaptionSettings(min_length=0, repetition_penalty=1.5),
    "encouraged repetition": CaptionSettings(min_length=0, repetition_penalty=0.7),
    "length": CaptionSettings(min_length=0, length_penalty=2.0),
    "short": CaptionSettings(min_length=0, length_penalty=-1.0),
    "all": CaptionSettings(min_length=5, repetition_penalty=1.3, length_penalty=0.6, max_length=15),
    "one token": CaptionSettings(min_length=0, max_length=5),
}


def _expected(imported: Imported, model: BlipModel, images: Sequence[Image], way: CaptionSettings) -> list[list[int]]:
    import torch

    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255
    pixels = (pixels - torch.tensor(MEAN).reshape(1, 3, 1, 1)) / torch.tensor(STD).reshape(1, 3, 1, 1)
    # generate() drops the last token, which its tokenizer makes the separator
    ids = torch.tensor([[*model.prompt_ids(way.prompt or ""), SEP]] * len(images))
    with torch.no_grad():
        found = imported.reference.generate(
            pixel_values=pixels,
            input_ids=ids,
            do_sample=False,
            num_beams=way.num_beams,
            min_length=way.min_length,
            max_length=way.max_length,
            repetition_penalty=way.repetition_penalty,
            length_penalty=way.length_penalty,
        )
    rows: list[list[int]] = found.tolist()
    return rows


def _same(answer: Answer | None, row: list[int]) -> bool:
    """`generate()` fills shorter texts up."""
    assert answer is not None
    end = len(answer.token_ids)
    return list(answer.token_ids) == row[:end] and not set(row[end:]) - {PAD, SEP}


@pytest.mark.parametrize("prompt", ["", "a picture of"])
@pytest.mark.parametrize("beams", [1, 2, 3, 6])
@pytest.mark.parametrize("way", VARIANTS.values(), ids=list(VARIANTS))
def test_tokens_are_those_of_transformers(
    imported: Imported, model: BlipModel, way: CaptionSettings, beams: int, prompt: str
) -> None:
    settings = CaptionSettings(
        prompt, beams, way.min_length, way.max_length, way.repetition_penalty, way.length_penalty
    )
    images = pictures(6, seed=10 + beams)
    answers = model.captions([Task(image, settings, prompt) for image in images])
    rows = _expected(imported, model, images, settings)
    assert all(_same(answer, row) for answer, row in zip(answers, rows, strict=True))


def test_different_wishes_advance_together_and_change_nothing(model: BlipModel) -> None:
    """More than fit one group; different lengths and penalties, prompts and beams."""
    ways = [
        CaptionSettings(num_beams=beams, min_length=least, max_length=most, repetition_penalty=penalty)
        for beams in (1, 3)
        for least, most in ((0, 6), (5, 20), (12, 30))
        for penalty in (1.0, 1.4)
    ]
    tasks = [
        Task(image, way, prompt)
        for image, way in zip(pictures(len(ways), seed=3), ways, strict=True)
        for prompt in ("", "a red circle", "a picture of")
    ]
    assert len(tasks) > 2 * GROUP
    together = model.captions(tasks)
    alone = [model.captions([task])[0] for task in tasks]
    assert [answer and answer.token_ids for answer in together] == [answer and answer.token_ids for answer in alone]
    scores = [[answer.score for answer in answers if answer is not None] for answers in (together, alone)]
    assert np.allclose(*scores, atol=1e-5)
    assert len({answer.token_ids for answer in together if answer is not None}) > len(ways)


def test_the_score_is_the_mean_log_likelihood_of_the_tokens(imported: Imported, model: BlipModel) -> None:
    import torch

    task = Task(pictures(1)[0], CaptionSettings(num_beams=1, min_length=0), "a red")
    (answer,) = model.captions([task])
    assert answer is not None
    begun, ids = len(model.prompt_ids("a red")), torch.tensor([answer.token_ids])
    pixels = torch.from_numpy(task.image[None]).permute(0, 3, 1, 2).float() / 255
    pixels = (pixels - torch.tensor(MEAN).reshape(1, 3, 1, 1)) / torch.tensor(STD).reshape(1, 3, 1, 1)
    with torch.no_grad():
        states = imported.reference.vision_model(pixel_values=pixels)[0]
        logits = imported.reference.text_decoder(input_ids=ids, encoder_hidden_states=states).logits
    likelihoods = torch.log_softmax(logits[0, begun - 1 : -1], dim=-1).gather(1, ids[0, begun:, None])
    assert answer.score == pytest.approx(float(likelihoods.mean()), abs=1e-5)


@pytest.mark.parametrize("penalty", [-5.0, 5.0])
def test_a_strong_length_penalty_never_answers_the_bare_prompt(model: BlipModel, penalty: float) -> None:
    """Where all texts are equally long it decides nothing, however far below -1e9 it takes the scores."""
    images = pictures(4)

    def written(length_penalty: float) -> list[Answer]:
        way = CaptionSettings(num_beams=3, min_length=40, max_length=40, length_penalty=length_penalty)
        return [answer for answer in model.captions([Task(image, way, "a red") for image in images]) if answer]

    found, plain = written(penalty), written(1.0)
    assert [answer.token_ids for answer in found] == [answer.token_ids for answer in plain]
    assert {len(answer.token_ids) for answer in found} == {40}
    if penalty < 0:
        assert max(answer.score for answer in found) < -1e9


@pytest.mark.parametrize(("beams", "pictures_together"), [(1, 8), (3, 8), (4, 6), (7, 3), (10, 2)])
def test_no_more_than_24_texts_advance_together(
    model: BlipModel, beams: int, pictures_together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert together(beams) == pictures_together
    sizes, decoding = [], BlipModel.decoding

    def noted(self: BlipModel, images: Sequence[Image]) -> Decoding:
        sizes.append(len(images))
        return decoding(self, images)

    monkeypatch.setattr(BlipModel, "decoding", noted)
    way = CaptionSettings(num_beams=beams, min_length=0, max_length=6)
    answers = model.captions([Task(image, way) for image in pictures(GROUP)])
    assert all(answer is not None for answer in answers)
    assert (max(sizes), sum(sizes)) == (pictures_together, GROUP)


def test_who_no_longer_waits_is_dropped_and_the_others_go_on(model: BlipModel) -> None:
    tasks = [Task(image, CaptionSettings(min_length=10), "") for image in pictures(4)]
    whole = model.captions(tasks)
    asked: list[int] = []

    def gone(place: int) -> bool:
        asked.append(place)
        return place == 1 or (place == 2 and asked.count(2) > 3)

    some = model.captions(tasks, gone)
    assert [answer is None for answer in some] == [False, True, True, False]
    assert (some[0], some[3]) == (whole[0], whole[3])


class _Scripted:
    """A decoder whose logits are given: what the loop asks of it is seen exactly."""

    def __init__(self, logits: list[list[float]]) -> None:
        self.logits = [np.array([row], dtype=np.float32) for row in logits]
        self.asked: list[tuple[list[int], list[int]]] = []

    def step(self, ids: Ids, rows: Ids) -> FloatArray:
        self.asked.append((ids.ravel().tolist(), rows.tolist()))
        return np.repeat(self.logits.pop(0), len(rows), axis=0)

    def keep(self, images: Sequence[int]) -> None:
        raise AssertionError("there is one picture only")


def test_the_separator_is_banned_until_the_least_length_which_counts_the_prompt() -> None:
    decoder = _Scripted([[0, 1, 5, 9]] * 4)
    (text,) = write(decoder, [Wish((0, 1), min_length=4, max_length=9)], beams=1, sep_id=3)
    assert text is not None
    assert text.token_ids == (0, 1, 2, 2, 3)
    assert decoder.asked == [([0, 1], [0]), ([2], [0]), ([2], [0])]


def test_without_beams_the_repetition_penalty_acts_on_raw_logits() -> None:
    """Token 2 is ahead by less than the penalty takes, once it has been written."""
    decoder = _Scripted([[0, 0.1, 2.0, -9], [0, 1.1, 2.0, -9], [0, 0, 0, 9]])
    (text,) = write(decoder, [Wish((0,), 0, 9, repetition_penalty=2.0)], beams=1, sep_id=3)
    assert text is not None
    assert text.token_ids == (0, 2, 1, 3)


def test_prompts_of_one_group_have_one_length_and_leave_room() -> None:
    with pytest.raises(ValueError, match="one length"):
        write(_Scripted([]), [Wish((0,), 0, 9), Wish((0, 1), 0, 9)], beams=1, sep_id=3)
    with pytest.raises(ValueError, match="room"):
        write(_Scripted([]), [Wish((0, 1), 0, 2)], beams=1, sep_id=3)


@pytest.mark.parametrize(
    ("task", "told"),
    [
        (Task(np.zeros((31, 32, 3), np.uint8), CaptionSettings()), "32 x 32"),
        (Task(np.zeros((32, 32, 3), np.float32), CaptionSettings()), "float32"),  # type: ignore[arg-type]
        (Task(pictures(1)[0], CaptionSettings(max_length=41)), "at most 40"),
        (Task(pictures(1)[0], CaptionSettings(max_length=5, min_length=1), "a b c d"), "5 tokens long"),
    ],
    ids=["size", "type", "length", "prompt"],
)
def test_what_cannot_be_done_is_refused_with_the_reason(model: BlipModel, task: Task, told: str) -> None:
    with pytest.raises(InvalidInferenceRequestError, match=told):
        model.captions([task])
