"""Teach `blip-mini`, a small BLIP of the same code, to say what drawn scenes show, and measure it on others.

    python -m inference.weights.mini.train_blip

It writes `blip-mini/` beside this file: the model, its specification and `training.json`. As BLIP was, it is taught
sentences with the prompt "a picture of", and some without, so that other beginnings that fit are continued too. While
it learns, a head beside the encoder tells what covers each patch: that head is not part of the model.
"""

import logging
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from inference.config import CaptionerSpec
from inference.scenes.blip import DECODER, ENCODER, NUMBERS, VOCABULARY, BlipModel
from inference.scenes.caption import squashed
from inference.scenes.wire import Task
from inference.types import CaptionSettings
from inference.weights.blip import export
from inference.weights.blip.config import Normalisation
from inference.weights.blip.graphs import PictureGraph
from inference.weights.blip.importer import MODEL_FILE, MODEL_SOURCE, numbers, served
from inference.weights.blip.network import Blip
from inference.weights.imported import Origin
from inference.weights.mini.blip_lessons import CONFIG, PROMPT, WORDS, Plan, batches, lessons
from inference.weights.mini.course import HELD_OUT, HELD_OUT_SEED, Diary, command_line, describe, write_notes
from inference.weights.mini.scenes import COLOURS, SHAPES, Scene, draw_scene

NAME = "blip-mini"
DOMAIN = "drawn scenes of coloured shapes only, not photos"
FOLDER = Path(__file__).parent / NAME
SPEC = CaptionerSpec(
    name=NAME,
    size_px=CONFIG.vision.image_px,
    max_tokens=CONFIG.text.positions,
    prompt=PROMPT,
    domain=DOMAIN,
    deadline_s=30.0,
)
LICENCE = f"""\
{NAME} (the files beside this one) was made by the Portrait project itself: a network of its own code
(inference/weights/blip), taught from random starting weights on scenes and sentences that its own code makes
(inference/weights/mini/scenes.py). No other weights, pictures, texts or data went into it.

To the extent possible under law, the project waives all copyright and related rights in these files: CC0 1.0 Universal,
https://creativecommons.org/publicdomain/zero/1.0/. They come without any warranty.

It knows drawn scenes of coloured shapes only, not photos.
"""
_IGNORED = -100
_PLACES = 4
"""A patch is told in so many rows and columns."""

log = logging.getLogger(__name__)


class _Pupil(nn.Module):
    """The network and the head that only teaches: of each of the 4 x 4 places of a patch, shape and colour."""

    def __init__(self) -> None:
        super().__init__()
        self.network = Blip(CONFIG)
        self.covers = nn.Linear(CONFIG.vision.width, _PLACES**2 * (2 + len(SHAPES) + len(COLOURS)))
        self.apply(_begin)
        places = self.network.vision_model.embeddings.position_embedding
        places.data[0, 1:] = _waves(CONFIG.vision.image_px // CONFIG.vision.patch_px, CONFIG.vision.width)

    def losses(self, pixels: Tensor, tokens: Tensor, kinds: Tensor) -> dict[str, Tensor]:
        states = self.network.vision_model(pixels)
        decoder = self.network.text_decoder
        hidden, _ = decoder.hidden(tokens[:, :-1], decoder.no_past(len(tokens)), decoder.picture(states))
        wanted = tokens[:, 1:].masked_fill(tokens[:, 1:] == 0, _IGNORED)
        covers = self.covers(states[:, 1:]).reshape(-1, 2 + len(SHAPES) + len(COLOURS))
        shapes, colours = covers.split([1 + len(SHAPES), 1 + len(COLOURS)], dim=1)
        kinds = _by_patch(kinds).to(torch.int64).flatten()
        there = (kinds > 0).to(torch.int64)
        return {
            "text": functional.cross_entropy(decoder.scores(hidden).flatten(0, 1), wanted.flatten()),
            "shapes": functional.cross_entropy(shapes, (1 + (kinds - 1) // len(COLOURS)) * there),
            "colours": functional.cross_entropy(colours, (1 + (kinds - 1) % len(COLOURS)) * there),
        }


def _by_patch(kinds: Tensor) -> Tensor:
    """(n, side, side) -> (n, patches, 4 * 4 places)."""
    cells = CONFIG.vision.image_px // CONFIG.vision.patch_px
    step = CONFIG.vision.patch_px // _PLACES
    coarse = kinds[:, step // 2 :: step, step // 2 :: step]
    return coarse.reshape(-1, cells, _PLACES, cells, _PLACES).transpose(2, 3).reshape(-1, cells**2, _PLACES**2)


def _waves(cells: int, width: int) -> Tensor:
    """Where a patch lies, to begin with: sines and cosines of row and column (as in Beyer et al. 2022, "Better plain
    ViT baselines", arXiv 2205.01580), with which neighbours are found at once. (cells * cells, width)"""
    rates = 10000.0 ** (-torch.arange(width // 4) / (width // 4 - 1))
    angles = torch.arange(cells)[:, None] * rates
    axis = torch.cat([angles.sin(), angles.cos()], dim=1)
    rows, columns = axis[:, None].expand(-1, cells, -1), axis[None].expand(cells, -1, -1)
    return torch.cat([rows, columns], dim=2).flatten(0, 1)


def _begin(module: nn.Module) -> None:
    """Starting weights as BERT has them."""
    if isinstance(module, nn.Linear | nn.Embedding | nn.Conv2d):
        nn.init.trunc_normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear | nn.Conv2d) and module.bias is not None:
        nn.init.zeros_(module.bias)


def train(plan: Plan) -> tuple[Blip, list[dict[str, float]]]:
    """The taught network, and what it cost on the way."""
    torch.set_num_threads(plan.threads)
    torch.manual_seed(plan.seed)
    pupil = _Pupil()
    pixels = PictureGraph(pupil.network, Normalisation()).pixels
    optimiser = torch.optim.AdamW(pupil.parameters(), lr=plan.rate, weight_decay=plan.decay, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser,
        lambda step: min(1.0, (step + 1) / plan.warm_up) * 0.5 * (1 + math.cos(math.pi * step / plan.steps)),
    )
    diary = Diary(every=max(1, plan.steps // 50))
    drawn = lessons(plan)
    log.info("scenes drawn after %.0f s", time.monotonic() - diary.start)
    for step, (images, tokens, kinds) in enumerate(batches(drawn, plan), start=1):
        with torch.autocast("cpu", dtype=torch.bfloat16):  # twice as fast where the processor knows the type
            parts = pupil.losses(pixels(images), tokens, kinds)
        optimiser.zero_grad()
        torch.stack(list(parts.values())).sum().backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(pupil.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        diary.note(step, parts)
    return pupil.network.eval(), diary.history


def write(folder: Path, network: Blip) -> None:
    """The folder as `inference.weights.mini.install` reads it."""
    folder.mkdir(parents=True, exist_ok=True)
    encoder, decoder = folder / ENCODER, folder / DECODER
    export.export(network, Normalisation(), CONFIG, encoder, decoder)
    origin = Origin(
        kind="blip",
        licence="CC0-1.0",
        homepage="",
        files={},
        parity=export.parity(network, Normalisation(), CONFIG, encoder, decoder),
        notes="Made by this project from drawn scenes (inference/weights/mini/train_blip.py); knows only these.",
    )
    (folder / NUMBERS).write_text(numbers(CONFIG, SPEC).to_json(), encoding="utf-8")
    (folder / VOCABULARY).write_text("".join(f"{word}\n" for word in WORDS), encoding="utf-8")
    (folder / MODEL_FILE).write_text(MODEL_SOURCE, encoding="utf-8")
    (folder / "LICENSE").write_text(LICENCE, encoding="utf-8")
    files = [ENCODER, DECODER, NUMBERS, VOCABULARY, MODEL_FILE]
    describe(folder, spec=SPEC, origin=origin, served=served(SPEC), files=files)


def held_out_scenes(seed: int, count: int) -> list[Scene]:
    """Scenes of another seed than those that were taught."""
    rng = np.random.default_rng(seed)
    return [draw_scene(rng) for _ in range(count)]


def measured(folder: Path, scenes: list[Scene]) -> dict[str, float]:
    """Share of scenes whose caption is the sentence to the letter: with three beams and the model's own prompt (how it
    is used where nobody asks for more), greedily, and without a prompt, which it then writes itself."""
    model = BlipModel(folder, threads=2)
    ways = {
        "exact": (CaptionSettings(), PROMPT, ""),
        "exact_greedy": (CaptionSettings(num_beams=1), PROMPT, ""),
        "exact_without_prompt": (CaptionSettings(num_beams=1), "", f"{PROMPT} "),
    }
    found = {}
    for name, (settings, prompt, begun) in ways.items():
        tasks = [Task(squashed(scene.image, SPEC.size_px), settings, prompt) for scene in scenes]
        texts = [answer.text for answer in model.captions(tasks) if answer is not None]
        right = [text == begun + scene.sentence for text, scene in zip(texts, scenes, strict=True)]
        found[name] = round(sum(right) / len(scenes), 4)
    return found


def run(plan: Plan, folder: Path) -> dict[str, Any]:
    """Train, write, measure what was written; the notes of it all."""
    started = time.monotonic()
    network, history = train(plan)
    trained_s = time.monotonic() - started
    write(folder, network)
    return write_notes(
        folder,
        plan=plan,
        network=CONFIG,
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        started=started,
        trained_s=trained_s,
        scores=measured(folder, held_out_scenes(HELD_OUT_SEED, HELD_OUT)),
        through="the ONNX graphs and BlipModel",
        history=history,
    )


if __name__ == "__main__":
    command_line(__doc__, Plan(), FOLDER, run)
