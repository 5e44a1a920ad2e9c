"""Teach `yolact-mini`, a narrow and shallow YOLACT, the shapes of drawn scenes, and measure it on others.

    python -m inference.weights.mini.train_yolact

It writes `yolact-mini/` beside this file: the model, its specification and `training.json`. The same seed gives the
same scenes and starting weights; sums in other orders (another number of threads, another processor) give a slightly
different network.
"""

import logging
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from inference.local import LocalClient
from inference.scenes.prototypes import spec_priors
from inference.scenes.segment import Segmenter
from inference.types import FloatArray, Image
from inference.weights.mini.course import HELD_OUT, HELD_OUT_SEED, Diary, command_line, describe, write_notes
from inference.weights.mini.install import install_mini
from inference.weights.mini.measure_yolact import held_out_scenes, measure
from inference.weights.mini.scenes import SHAPES, Scene, draw_scene
from inference.weights.mini.yolact_loss import Truth, loss
from inference.weights.yolact import export
from inference.weights.yolact.architecture import Architecture
from inference.weights.yolact.network import Served, Yolact

NAME = "yolact-mini"
DOMAIN = "drawn scenes of coloured shapes only, not photos"
FOLDER = Path(__file__).parent / NAME
ARCHITECTURE = Architecture(
    size_px=128,
    classes=1 + len(SHAPES),
    scales_px=(28.0, 40.0, 52.0, 64.0, 96.0),
    blocks=(1, 2, 2, 1),
    stem=8,
    fpn=32,
    masks=16,
)
MOST = 3
"""Shapes in a scene."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Plan:
    seed: int = 4
    scenes: int = 6000
    steps: int = 2400
    batch: int = 32
    rate: float = 3e-3
    decay: float = 1e-4
    threads: int = 1


@dataclass(frozen=True, slots=True)
class Lessons:
    """Scenes as tensors. images (n, side, side, 3) uint8; the rest as in `Truth`."""

    images: Image
    boxes: FloatArray
    labels: np.ndarray[Any, np.dtype[np.int64]]
    masks: FloatArray


def lessons(plan: Plan) -> Lessons:
    rng = np.random.default_rng(plan.seed)
    side, small = ARCHITECTURE.size_px, ARCHITECTURE.proto_px
    images = np.empty((plan.scenes, side, side, 3), np.uint8)
    boxes = np.zeros((plan.scenes, MOST, 4), np.float32)
    labels = np.zeros((plan.scenes, MOST), np.int64)
    masks = np.zeros((plan.scenes, MOST, small, small), np.float32)
    for index in range(plan.scenes):
        scene: Scene = draw_scene(rng, size_px=side, most=MOST)
        images[index] = scene.image
        for place, shape in enumerate(scene.shapes):
            box = shape.box
            boxes[index, place] = np.array([box.x, box.y, box.right, box.bottom]) / side
            labels[index, place] = 1 + SHAPES.index(shape.label)
            masks[index, place] = cv2.resize(
                shape.bits.astype(np.float32), (small, small), interpolation=cv2.INTER_AREA
            )
    return Lessons(images, boxes, labels, masks)


def batches(lessons: Lessons, plan: Plan) -> Iterator[tuple[Tensor, Truth]]:
    """`plan.steps` of them; half of the scenes are mirrored, as no shape is another in the mirror."""
    rng = np.random.default_rng(plan.seed + 1)
    order = np.empty(0, np.intp)
    for _ in range(plan.steps):
        if len(order) < plan.batch:
            order = np.concatenate([order, rng.permutation(len(lessons.images))])
        chosen, order = order[: plan.batch], order[plan.batch :]
        images, boxes, masks = lessons.images[chosen], lessons.boxes[chosen], lessons.masks[chosen]
        mirrored = rng.random(plan.batch) < 0.5
        images[mirrored] = images[mirrored, :, ::-1]
        masks[mirrored] = masks[mirrored, :, :, ::-1]
        boxes[mirrored] = [1, 0, 1, 0] + boxes[mirrored][..., [2, 1, 0, 3]] * [-1, 1, -1, 1]
        truth = Truth(torch.from_numpy(boxes), torch.from_numpy(lessons.labels[chosen]), torch.from_numpy(masks.copy()))
        yield torch.from_numpy(images.astype(np.float32)), truth


def train(plan: Plan) -> tuple[Yolact, list[dict[str, float]]]:
    """The taught network, and what it cost on the way."""
    torch.set_num_threads(plan.threads)
    torch.manual_seed(plan.seed)
    network = Yolact(ARCHITECTURE)
    served = Served(network)
    priors = torch.from_numpy(spec_priors(ARCHITECTURE.spec(NAME, SHAPES)).copy())
    optimiser = torch.optim.AdamW(network.parameters(), lr=plan.rate, weight_decay=plan.decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, plan.rate, total_steps=plan.steps, pct_start=0.1)
    diary = Diary(every=max(1, plan.steps // 30))
    for step, (images, truth) in enumerate(batches(lessons(plan), plan), start=1):
        parts = loss(network(served.normalised(images)), truth, priors)
        optimiser.zero_grad()
        torch.autograd.backward(torch.stack(list(parts.values())).sum())
        torch.nn.utils.clip_grad_norm_(network.parameters(), 10.0)
        optimiser.step()
        schedule.step()
        diary.note(step, parts)
    return network.eval(), diary.history


def write(folder: Path, network: Yolact) -> None:
    """The folder as `inference.weights.mini.install` reads it."""
    folder.mkdir(parents=True, exist_ok=True)
    model = folder / "model.onnx"
    export.export(network, ARCHITECTURE, model)
    origin = export.origin(
        licence="CC0-1.0",
        homepage="",
        files={},
        parity=export.parity(network, ARCHITECTURE, model),
        notes="Made by this project from drawn scenes (inference/weights/mini/train_yolact.py); knows only these.",
    )
    spec, served = ARCHITECTURE.spec(NAME, SHAPES, DOMAIN), export.served(ARCHITECTURE)
    describe(folder, spec=spec, origin=origin, served=served, files=[model.name])


def measured(folder: Path) -> dict[str, float]:
    """What the written model makes of scenes that it was not taught, through all that serves it."""
    with tempfile.TemporaryDirectory() as models_dir:
        install_mini(Path(models_dir), folder.name, source=folder.parent)
        segmenter = Segmenter(LocalClient(Path(models_dir)), ARCHITECTURE.spec(NAME, SHAPES, DOMAIN))
        return measure(segmenter, held_out_scenes(HELD_OUT_SEED, HELD_OUT))


def run(plan: Plan, folder: Path) -> dict[str, Any]:
    """Train, write, measure what was written; the notes of it all."""
    started = time.monotonic()
    network, history = train(plan)
    trained_s = time.monotonic() - started
    write(folder, network)
    return write_notes(
        folder,
        plan=plan,
        network=ARCHITECTURE,
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        started=started,
        trained_s=trained_s,
        scores=measured(folder),
        through="model.onnx and Segmenter",
        history=history,
    )


if __name__ == "__main__":
    command_line(__doc__, Plan(), FOLDER, run)
