"""From a published YOLACT checkpoint to a model of the repository. PyTorch is needed here, and only here."""

import importlib
import re
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from inference.config import SceneTask, SegmenterSpec
from inference.errors import WeightsError
from inference.weights.imported import write_imported
from inference.weights.scene_names import check_name
from inference.weights.sources import sha256_of
from inference.weights.yolact.architecture import COCO_LABELS, VARIANTS, Architecture

HOMEPAGE = "https://github.com/dbolya/yolact"
LICENCE = "MIT (the code); for the weights see their source"
_OFFICIAL = re.compile(r"yolact_(base|im700|resnet50)_\d+_\d+\.pth")
"""Names of the published files: configuration, epoch, iteration."""


def import_yolact(
    *,
    weights: Path,
    variant: str | None = None,
    labels: Sequence[str] | None = None,
    name: str | None = None,
    models_dir: Path,
    licence: str = LICENCE,
    homepage: str = HOMEPAGE,
) -> Path:
    """Read the checkpoint `weights`, convert and compare it, and write it into `models_dir`; answers its folder.

    Args:
        variant: resnet50, base or im700; None: told by the file, where the file tells.
        labels: the classes in the order of the network's outputs, without the background; None: those of COCO.
        name: of the served model, beginning with "yolact-"; None: "yolact-" and the variant.

    Raises:
        WeightsError: whatever is wrong with the file or with what was asked; it says what to do.
        ConversionMismatchError: the converted model does not give PyTorch's results.
    """
    checkpoint, export = _needing_torch("checkpoint"), _needing_torch("export")
    state = checkpoint.read_checkpoint(weights)
    chosen = choose_variant(weights.name, checkpoint.blocks_of(state), variant)
    architecture = replace(VARIANTS[chosen], classes=checkpoint.classes_of(state))
    spec = _spec(architecture, name or f"yolact-{chosen}", labels)
    network = checkpoint.network_of(state, architecture)
    del state
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model.onnx"
        export.export(network, architecture, model)
        origin = export.origin(
            licence=licence,
            homepage=homepage,
            files={weights.name: sha256_of(weights)},
            parity=export.parity(network, architecture, model),
            notes=f"variant {chosen}",
        )
        return write_imported(models_dir, spec, export.served(architecture), origin, {model.name: model})


def _needing_torch(module: str) -> Any:
    try:
        return importlib.import_module(f"inference.weights.yolact.{module}")
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in ("torch", "onnx"):
            raise
        raise WeightsError("importing a checkpoint needs PyTorch: pip install 'portrait[convert]'") from error


def choose_variant(file_name: str, blocks: tuple[int, ...], asked: str | None) -> str:
    """Which published configuration a checkpoint with these residual blocks has.

    `base` and `im700` have the same names and shapes and differ in the size of the picture and of the priors: a
    wrong guess would find everything in wrong places. Only the published file name or the caller can tell.

    Raises:
        WeightsError: none fits, or it cannot be told.
    """
    if asked is not None and asked not in VARIANTS:
        raise WeightsError(f"there is no variant {asked!r}; there are {', '.join(VARIANTS)}")
    fitting = [name for name, variant in VARIANTS.items() if variant.blocks == blocks]
    if not fitting:
        known = ", ".join(f"{name} has {variant.blocks}" for name, variant in VARIANTS.items())
        raise WeightsError(f"the checkpoint's backbone has {blocks} residual blocks, which no variant has ({known})")
    official = _OFFICIAL.fullmatch(file_name)
    told = official[1] if official else None
    if asked and told and asked != told:
        raise WeightsError(f"{file_name} is the published name of {told}, not of {asked}; if it is wrong, rename it")
    choice = asked or told or (fitting[0] if len(fitting) == 1 else None)
    if choice is None:
        raise WeightsError(
            f"{file_name} may be {' or '.join(fitting)}: their tensors look the same. Say which: "
            + " or ".join(f"--variant {name}" for name in fitting)
        )
    if choice not in fitting:
        raise WeightsError(
            f"{file_name} is not {choice}, which has {VARIANTS[choice].blocks} residual blocks: it has {blocks}, "
            f"as {' or '.join(fitting)}"
        )
    return choice


def _spec(architecture: Architecture, name: str, labels: Sequence[str] | None) -> SegmenterSpec:
    check_name(name, SceneTask.SEGMENTATION)
    return architecture.spec(name, _labels(architecture.classes - 1, labels))


def _labels(count: int, labels: Sequence[str] | None) -> tuple[str, ...]:
    if labels is None:
        if count != len(COCO_LABELS):
            raise WeightsError(
                f"the network knows {count} classes, COCO has {len(COCO_LABELS)}: give their names in the order of "
                "training, one a line, with --labels FILE"
            )
        return COCO_LABELS
    names = tuple(label.strip() for label in labels)
    if len(names) != count:
        raise WeightsError(f"the network knows {count} classes (without the background), and {len(names)} are named")
    if any(not name or len(name) > 100 or not name.isprintable() for name in names):
        raise WeightsError("a class has no name, or one of more than 100 letters, or with letters that do not print")
    if len(set(names)) < len(names):
        raise WeightsError("two classes have the same name")
    return names
