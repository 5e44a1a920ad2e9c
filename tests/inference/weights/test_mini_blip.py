"""The small captioning model of our own says, to the letter, what drawn scenes show."""

import json

import numpy as np
import pytest

from inference.config import CaptionerSpec, scene_task, spec_from_json
from inference.local import LocalClient
from inference.scenes.caption import Captioner
from inference.types import Caption, CaptionSettings
from inference.weights.imported import changed_files, read_record
from inference.weights.mini.install import MINIS, install_mini
from inference.weights.mini.scenes import Scene, draw_scene

NAME = "blip-mini"
FOLDER = MINIS / NAME
SEED = 555_001
"""Neither that of the lessons nor that of the published score."""


@pytest.fixture(scope="module")
def captioner(tmp_path_factory: pytest.TempPathFactory) -> Captioner:
    models = tmp_path_factory.mktemp("models")
    install_mini(models, NAME)
    assert changed_files(models, NAME) == []
    client = LocalClient(models, threads=2)
    spec = spec_from_json(client.parameters(NAME)["portrait.spec"])
    assert isinstance(spec, CaptionerSpec)
    return Captioner(client, spec)


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    rng = np.random.default_rng(SEED)
    return [draw_scene(rng) for _ in range(200)]


def _right(captions: list[Caption], scenes: list[Scene]) -> float:
    return float(np.mean([caption.text == scene.sentence for caption, scene in zip(captions, scenes, strict=True)]))


@pytest.mark.parametrize(
    "settings",
    [CaptionSettings(), CaptionSettings(num_beams=1)],
    ids=["as it comes", "greedy"],
)
def test_nine_of_ten_fresh_scenes_are_described_exactly(
    captioner: Captioner, scenes: list[Scene], settings: CaptionSettings
) -> None:
    captions = captioner.caption([scene.image for scene in scenes], settings)
    assert _right(captions, scenes) >= 0.90


@pytest.mark.parametrize("prompt", ["", "A picture of"])
def test_a_callers_prompt_leads_and_stays(captioner: Captioner, scenes: list[Scene], prompt: str) -> None:
    """Without any it writes the one that it was taught with."""
    captions = captioner.caption([scene.image for scene in scenes[:100]], CaptionSettings(prompt=prompt))
    right = [caption.text == f"a picture of {scene.sentence}" for caption, scene in zip(captions, scenes, strict=False)]
    assert np.mean(right) >= 0.90


def test_a_prompt_that_begins_the_sentence_is_continued(captioner: Captioner, scenes: list[Scene]) -> None:
    firsts = [" ".join(scene.sentence.split()[:2]) for scene in scenes[:60]]
    captions = [
        captioner.caption([scene.image], CaptionSettings(prompt=first, num_beams=1, min_length=0))[0]
        for scene, first in zip(scenes, firsts, strict=False)
    ]
    assert _right(captions, scenes[:60]) >= 0.85


def test_the_notes_say_how_it_was_taught_and_what_it_knows(captioner: Captioner) -> None:
    notes = json.loads((FOLDER / "training.json").read_text())
    assert notes["held_out"]["scenes"] >= 500
    assert notes["held_out"]["exact"] >= 0.90
    assert notes["plan"]["seed"] is not None
    assert notes["log"][-1]["step"] == notes["plan"]["steps"]
    assert "drawn scenes" in captioner.spec.domain
    assert scene_task(captioner.spec.name) == "captioning"
    assert "CC0" in (FOLDER / "LICENSE").read_text()
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 5_000_000


def test_it_is_recorded_as_made_here(tmp_path_factory: pytest.TempPathFactory) -> None:
    models = tmp_path_factory.mktemp("noted")
    install_mini(models, NAME)
    origin = read_record(models, NAME)["origin"]
    assert origin["licence"] == "CC0-1.0"
    assert origin["parity"]["largest_difference"]["logits"] < origin["parity"]["bound"]
