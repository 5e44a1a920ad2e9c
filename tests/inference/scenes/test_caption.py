"""Captions through a client: squashing, prompts, limits, and answers that are none."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from inference.client import FakeInferenceClient, Tensors
from inference.config import CaptionerSpec, spec_from_json
from inference.errors import InvalidInferenceRequestError, InvalidInferenceResponseError
from inference.local import LocalClient
from inference.scenes import wire
from inference.scenes.blip import BlipModel
from inference.scenes.caption import Captioner, squashed
from inference.scenes.wire import GROUP, Answer, Task
from inference.types import CaptionSettings
from tests.inference.scenes.conftest import Imported
from tests.inference.tiny_blip import MEAN, REASON, SIDE, STD, pictures


@pytest.fixture
def captioner(imported: Imported) -> Captioner:
    client = LocalClient(imported.models)
    spec = spec_from_json(client.parameters(imported.name)["portrait.spec"])
    assert isinstance(spec, CaptionerSpec)
    return Captioner(client, spec)


def test_pictures_are_squashed_as_the_published_preprocessor_does() -> None:
    transformers = pytest.importorskip("transformers", reason=REASON)
    image = pictures(1, side=150)[0][:97]
    processor = transformers.models.blip.image_processing_pil_blip.BlipImageProcessorPil(
        size={"height": SIDE, "width": SIDE}, image_mean=MEAN, image_std=STD
    )
    theirs = processor(Pillow.fromarray(image), return_tensors="np")["pixel_values"][0]
    ours = (squashed(image, SIDE).transpose(2, 0, 1) / 255 - np.array(MEAN)[:, None, None]) / np.array(STD)[
        :, None, None
    ]
    assert np.allclose(ours, theirs, atol=1e-5)


def test_every_picture_gets_its_caption_however_many_there_are(captioner: Captioner, model: BlipModel) -> None:
    images = [image[: 40 + at] for at, image in enumerate(pictures(2 * GROUP + 1, side=70))]
    captions = captioner.caption(images)
    expected = model.captions([Task(squashed(image, SIDE), CaptionSettings()) for image in images])
    assert [caption.token_ids for caption in captions] == [answer and answer.token_ids for answer in expected]
    assert len({caption.text for caption in captions}) > GROUP
    assert all(caption.score < 0 for caption in captions)
    assert captioner.caption([]) == []


def test_the_text_begins_with_the_callers_prompt_and_not_with_the_models(imported: Imported) -> None:
    plain = CaptionerSpec(imported.name, SIDE, 40)
    client, image = LocalClient(imported.models), pictures(1)
    (given,) = Captioner(client, plain).caption(image, CaptionSettings(prompt="A picture of"))
    (own,) = Captioner(client, CaptionerSpec(imported.name, SIDE, 40, prompt="a picture of")).caption(image)
    assert given.token_ids == own.token_ids
    assert given.text.startswith("a picture of")
    assert not own.text.startswith("a picture of")
    assert given.text.removeprefix("a picture of").strip() == own.text
    (none,) = Captioner(client, CaptionerSpec(imported.name, SIDE, 40, prompt="a picture of")).caption(
        image, CaptionSettings(prompt="")
    )
    assert none == Captioner(client, plain).caption(image)[0]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (CaptionSettings(max_length=41), "at most 40 tokens"),
        (CaptionSettings(prompt="a red circle " * 9), "leaves no room"),
        (CaptionSettings(prompt="x" * 5000), "4096 bytes"),
    ],
)
def test_what_the_model_cannot_write_is_refused(captioner: Captioner, settings: CaptionSettings, told: str) -> None:
    with pytest.raises(InvalidInferenceRequestError, match=told):
        captioner.caption(pictures(1), settings)


@pytest.mark.parametrize(
    "wrong",
    [
        {"text": np.array([[b"a"], [b"b"]], dtype=object)},
        {"text": np.array([[b"\xff"]], dtype=object)},
        {"token_ids": np.zeros((1,), np.int32)},
        {"score": np.zeros((1, 2), np.float32)},
    ],
    ids=["two texts", "no text", "flat tokens", "two scores"],
)
def test_an_answer_that_is_none_is_told(wrong: dict[str, Any]) -> None:
    answer = wire.pack_answers([Answer("a", (1, 2), -1.0)], 4)

    def answered(_: Tensors) -> dict[str, Any]:
        return {**answer, **wrong}

    spec = CaptionerSpec("blip-fake", SIDE, 20)
    with pytest.raises(InvalidInferenceResponseError):
        Captioner(FakeInferenceClient({"blip-fake": answered}), spec).caption(pictures(1))


def test_what_travels_arrives() -> None:
    tasks = [
        Task(pictures(1)[0], CaptionSettings("ä", 2, 3, 17, 1.3, -0.7), "ä", keeps_prompt=True),
        Task(pictures(1, seed=1)[0], CaptionSettings(), ""),
    ]
    for one, other in zip(wire.unpack_tasks(wire.pack_tasks(tasks)), tasks, strict=True):
        assert np.array_equal(one.image, other.image)
        assert (one.prompt, one.keeps_prompt) == (other.prompt, other.keeps_prompt)
        assert one.settings.repetition_penalty == other.settings.repetition_penalty
        assert one.settings.max_length == other.settings.max_length
    answers = [Answer("ö x", (4, 0, 7), -0.5), Answer("", (), 0.0)]
    assert wire.unpack_answers(wire.pack_answers(answers, 6), 2) == answers


def test_the_callers_side_needs_no_tokenizer_and_no_torch() -> None:
    """What web and workers import; in a process of its own."""
    program = (
        "import sys, inference.scenes.caption, inference.triton\n"
        "print([name for name in ('torch', 'transformers', 'tokenizers', 'safetensors', 'onnxruntime') "
        "if name in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"
