"""What teaching the small models has in common: what is written beside a model, and the command line."""

import argparse
import json
import logging
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from inference.config import CaptionerSpec, SegmenterSpec, spec_to_json
from inference.runtime import onnxruntime
from inference.weights.imported import Origin, Served

HELD_OUT_SEED, HELD_OUT = 990_000, 600
"""Scenes that no model was taught."""
PlanT = TypeVar("PlanT", bound=Any)

log = logging.getLogger(__name__)


@dataclass
class Diary:
    """What the losses were on the way, as means over `every` steps."""

    every: int
    history: list[dict[str, float]] = field(default_factory=list)
    start: float = field(default_factory=time.monotonic)
    _sums: dict[str, float] = field(default_factory=dict)

    def note(self, step: int, parts: Mapping[str, Tensor]) -> None:
        for name, value in parts.items():
            self._sums[name] = self._sums.get(name, 0.0) + value.item() / self.every
        if step % self.every == 0:
            self.history.append({"step": step, **{name: round(value, 4) for name, value in self._sums.items()}})
            log.info("%s after %.0f s", self.history[-1], time.monotonic() - self.start)
            self._sums = {}


def pretty(value: Any) -> str:
    return json.dumps(value, indent=1, sort_keys=True) + "\n"


def describe(
    folder: Path, *, spec: SegmenterSpec | CaptionerSpec, origin: Origin, served: Served, files: list[str]
) -> None:
    """Write what `inference.weights.mini.install` reads beside the files."""
    described = {
        "spec": json.loads(spec_to_json(spec)),
        "origin": asdict(origin),
        "served": asdict(served),
        "files": files,
    }
    for name, value in described.items():
        (folder / f"{name}.json").write_text(pretty(value), encoding="utf-8")


def write_notes(
    folder: Path,
    *,
    plan: Any,
    network: Any,
    parameters: int,
    started: float,
    trained_s: float,
    scores: Mapping[str, float],
    through: str,
    history: list[dict[str, float]],
) -> dict[str, Any]:
    """`training.json`: how the model came about, and its scores on held-out scenes."""
    notes = {
        "plan": asdict(plan),
        "network": asdict(network),
        "parameters": parameters,
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "onnxruntime": onnxruntime.__version__,
            "numpy": np.__version__,
        },
        "wall_time_s": {"drawing_and_training": round(trained_s), "all": round(time.monotonic() - started)},
        "held_out": {"seed": HELD_OUT_SEED, "scenes": HELD_OUT, "through": through, **scores},
        "log": history,
    }
    (folder / "training.json").write_text(pretty(notes), encoding="utf-8")
    return notes


def command_line(doc: str | None, plan: PlanT, folder: Path, run: Callable[[PlanT, Path], dict[str, Any]]) -> None:
    """`--steps`, `--scenes`, `--out`; then `run`."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=(doc or "").partition("\n")[0])
    parser.add_argument("--steps", type=int, default=plan.steps)
    parser.add_argument("--scenes", type=int, default=plan.scenes)
    parser.add_argument("--out", type=Path, default=folder)
    arguments = parser.parse_args()
    notes = run(replace(plan, steps=arguments.steps, scenes=arguments.scenes), arguments.out)
    log.info("%s", pretty(notes["held_out"]))
