"""`manage.py models import`: its arguments, and which importer gets them."""

import tempfile
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from inference.errors import WeightsError
from inference.weights.imported import adopt, imported_names
from inference.weights.mini.install import mini_names

KINDS = ("yolact", "blip")


def add_import_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument(
        "--weights",
        required=True,
        type=Path,
        metavar="PATH",
        help="yolact: a checkpoint of dbolya/yolact (.pth); blip: a folder in Hugging Face's layout",
    )
    parser.add_argument("--name", help="name of the model, yolact-... or blip-...; made of the weights if not given")
    parser.add_argument("--variant", choices=("resnet50", "base", "im700"), help="yolact: which network it is")
    parser.add_argument("--labels", type=Path, metavar="FILE", help="yolact: names of the classes, one a line")
    parser.add_argument("--prompt", default="", help="blip: the beginning of every sentence, if it was trained so")
    parser.add_argument("--replace", action="store_true", help="take the place of an installed model of that name")
    parser.add_argument("--licence", default="not stated", help="of these weights; shown by `models list`")


def import_weights(
    *,
    kind: str,
    weights: Path,
    name: str | None,
    variant: str | None,
    labels: Path | None,
    prompt: str,
    licence: str,
    replace: bool,
    models_dir: Path,
    **options: Any,
) -> Path:
    """Convert weights and write the model; answers its folder.

    Raises:
        WeightsError: the weights, or an argument, are not right, or a model of that name is there and `replace` was
            not said; nothing is written then.
    """
    if name:
        _require_free(models_dir, name, replace)
    models_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".import.", suffix=".tmp", dir=models_dir) as temporary:
        made = _import(
            kind=kind,
            weights=weights,
            name=name,
            variant=variant,
            labels=labels,
            prompt=prompt,
            licence=licence,
            models_dir=Path(temporary),
        )
        _require_free(models_dir, made.name, replace)  # weights may name the model themselves
        return adopt(made, models_dir)


def _require_free(models_dir: Path, name: str, replace: bool) -> None:
    if name in mini_names():
        raise WeightsError(f"{name!r} is the name of a small model of ours: choose another --name")
    if name in imported_names(models_dir) and not replace:
        raise WeightsError(f"there is a model {name!r}: choose another --name, or say --replace")


def _import(
    *,
    kind: str,
    weights: Path,
    name: str | None,
    variant: str | None,
    labels: Path | None,
    prompt: str,
    licence: str,
    models_dir: Path,
) -> Path:
    if kind == "yolact":
        if prompt:
            raise WeightsError("--prompt is for blip: YOLACT writes nothing")
        from inference.weights.yolact.importer import import_yolact  # they need PyTorch: loaded only where it is used

        return import_yolact(
            weights=weights,
            variant=variant,
            labels=_lines(labels) if labels else None,
            name=name,
            models_dir=models_dir,
            licence=licence,
        )
    if variant or labels:
        raise WeightsError("--variant and --labels are for yolact; a BLIP folder says itself what it is")
    from inference.weights.blip.importer import import_blip

    return import_blip(weights=weights, name=name, models_dir=models_dir, prompt=prompt, licence=licence)


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise WeightsError(f"{path} cannot be read: {error}") from error
    return [line.strip() for line in text.splitlines() if line.strip()]


def say_how_to_load(name: str) -> str:
    return (
        f"To use it now: POST /api/v1/models/{name}/load with a key of the scope admin, or restart. "
        "A request names it as `model`."
    )
