"""A captioning model in a real Triton: it answers as in this process, and errors stay with whom they belong to."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from django.conf import settings

from inference.client import Tensor
from inference.config import CaptionerSpec, spec_from_json
from inference.errors import (
    DeadlineExceededError,
    InferenceError,
    InvalidInferenceRequestError,
    ModelNotInstalledError,
    ServerError,
)
from inference.local import LocalClient
from inference.scenes import wire
from inference.scenes.caption import Captioner
from inference.scenes.wire import Task
from inference.triton import TritonClient
from inference.types import CaptionSettings
from inference.weights.blip.importer import MODEL_SOURCE, import_blip
from tests.inference.tiny_blip import SIDE, make_reference, pictures, save
from tests.live.conftest import Installation

NAME = "blip-tiny"
_SLOW_MODEL = """\
{source}

import time
from inference.scenes import blip


class _Slow(blip.Decoding):
    def step(self, ids, rows):
        with open({told!r}, "a") as told:
            told.write(str(len(rows)) + chr(10))
        time.sleep(0.2)
        return super().step(ids, rows)


blip.Decoding = _Slow
"""
WAYS = [
    CaptionSettings(),
    CaptionSettings(num_beams=1, min_length=0),
    CaptionSettings(prompt="a picture of", num_beams=5, max_length=24),
    CaptionSettings(num_beams=2, repetition_penalty=1.5, length_penalty=0.6),
]


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    import_blip(weights=save(make_reference(), tmp_path / "published"), name=NAME, models_dir=folder)
    return folder


@pytest.fixture
def client(installation: Installation, models: Path) -> Iterator[TritonClient]:
    """A Triton of its own; the session's PostgreSQL and Redis are of no interest to it. A broken model lies beside."""
    broken = models / "blip-broken" / "1"
    broken.mkdir(parents=True)
    (broken / "model.py").write_text((models / NAME / "1" / "model.py").read_text())
    (broken / "blip.json").write_text("{}")
    config = (models / NAME / "config.pbtxt").read_text()
    (broken.parent / "config.pbtxt").write_text(config.replace(NAME, "blip-broken"))
    urls = {"DATABASE_URL": settings.PORTRAIT.database_url, "REDIS_URL": settings.PORTRAIT.redis_url}
    started = installation.manage(
        "services", "start", PORTRAIT_MODELS=str(models), PYTHONPATH="/nowhere", PORTRAIT_CORES="1", **urls
    )
    assert started.returncode == 0, started.stderr
    yield TritonClient([json.loads((installation.var / "run" / "endpoints.json").read_text())["triton_url"]])
    assert installation.manage("services", "stop", **urls).returncode == 0


def _infer(client: TritonClient, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    return client.infer(NAME, inputs, wire.OUTPUTS, deadline_s=60)


def test_a_real_triton_answers_what_this_process_answers(client: TritonClient, models: Path) -> None:
    spec = spec_from_json(client.parameters(NAME)["portrait.spec"])
    assert isinstance(spec, CaptionerSpec)
    assert spec.size_px == SIDE
    served, here = Captioner(client, spec), Captioner(LocalClient(models), spec)
    images = pictures(11, side=57)
    expected = [here.caption(images, way) for way in WAYS]
    assert len({caption.text for captions in expected for caption in captions}) > 11
    with ThreadPoolExecutor(len(WAYS)) as pool:  # side by side: the server joins them
        found = list(pool.map(lambda way: served.caption(images, way), WAYS))
    for one, other in zip(found, expected, strict=True):
        assert [caption.token_ids for caption in one] == [caption.token_ids for caption in other]
        assert [caption.text for caption in one] == [caption.text for caption in other]
        assert np.allclose([caption.score for caption in one], [caption.score for caption in other], atol=1e-5)


def test_a_bad_request_spoils_no_other_and_says_what_is_wrong(client: TritonClient) -> None:
    good = wire.pack_tasks([Task(pictures(1)[0], CaptionSettings(), "")])
    long = wire.pack_tasks([Task(pictures(1)[0], CaptionSettings(), "a " * 30)])
    too_many = wire.pack_tasks([Task(pictures(1)[0], CaptionSettings(max_length=41), "")])
    odd = {**good, "settings": np.array([[3, 5, 20, np.nan, 1, 0]])}
    no_text = {**good, "prompt": np.array([[b"\xff\xfe"]], dtype=object)}
    alone = _infer(client, good)

    def asked(inputs: dict[str, Tensor]) -> dict[str, Tensor] | InferenceError:
        try:
            return _infer(client, inputs)
        except InferenceError as error:
            return error

    bad = [long, too_many, odd, no_text]
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(asked, [good, *bad, good, *bad, good]))
    for answer in answers[0::5]:
        assert isinstance(answer, dict)
        assert answer["text"] == alone["text"]
    wrong = [answer for place, answer in enumerate(answers) if place % 5]
    assert all(isinstance(answer, InvalidInferenceRequestError) for answer in wrong)
    for told, answer in zip(["leaves no room", "at most 40", "nan", "UTF-8"] * 2, wrong, strict=True):
        assert told in str(answer)


def test_who_gives_up_is_dropped_and_the_next_are_answered(client: TritonClient, models: Path) -> None:
    """Two tasks of a caller whose deadline passes; the model's program here is one that tells its steps and is slow."""
    told = models.parent / "steps.txt"
    (models / NAME / "1" / "model.py").write_text(_SLOW_MODEL.format(told=str(told), source=MODEL_SOURCE))
    client.load(NAME)
    long = wire.pack_tasks(
        [Task(image, CaptionSettings(num_beams=3, min_length=39, max_length=40)) for image in pictures(2)]
    )
    short = wire.pack_tasks([Task(pictures(1)[0], CaptionSettings(min_length=0, max_length=3))])
    with pytest.raises(DeadlineExceededError):
        client.infer(NAME, long, wire.OUTPUTS, deadline_s=2.0)
    assert _infer(client, short)["text"].shape == (1, 1)
    steps = [int(line) for line in told.read_text().splitlines()]
    given_up = [rows for rows in steps if rows in (2, 6)]  # pictures of the prompt's step, then three beams of each
    assert 1 <= len(given_up) < 25, "a whole text of 40 tokens takes 39"
    assert steps[-1] in (1, 3), "the other caller's came last"
    assert _infer(client, long)["text"].shape == (2, 1)


def test_a_broken_model_says_why_and_the_others_are_served(client: TritonClient) -> None:
    states = {model.name: model for model in client.models()}
    assert states[NAME].loaded
    assert not states["blip-broken"].loaded
    with pytest.raises(ServerError, match="BLIP model that can be opened"):
        client.load("blip-broken")
    client.unload(NAME)
    assert not client.ready(NAME)
    client.load(NAME)
    assert client.ready(NAME)
    with pytest.raises(ModelNotInstalledError):
        client.load("blip-absent")
