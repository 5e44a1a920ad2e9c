"""The model repository that the embedded Triton serves, derived from `triton_models/`.

`triton_models/` is the same repository for NVIDIA's container, so it says nothing about this machine. The derived
one adds how many instances of a model fit the cores; the weights are links.
"""

import os
import re
import shutil
from pathlib import Path

_MOST_INSTANCES = 8
_ALL_THREADS = re.compile(r'(key:\s*"intra_op_thread_count"\s*value:\s*\{\s*string_value:\s*")0("\s*\})')
WEIGHTS = ("model.onnx", "model.py")
"""What makes a version whole: a network, or (captioning models) the program that owns several."""


def built_models(models_dir: Path) -> list[str]:
    """Names of the models that have a configuration and weights; not folders that are being written (`.name...`)."""
    return sorted(config.parent.name for config in models_dir.glob("[!.]*/config.pbtxt") if _versions(config.parent))


def sync(models_dir: Path, target: Path, cores: int) -> list[str]:
    """Make `target` serve exactly the built models of `models_dir`; returns their names. May be repeated any time."""
    names = built_models(models_dir)
    target.mkdir(parents=True, exist_ok=True)
    for stale in {entry.name for entry in target.iterdir()} - set(names):
        shutil.rmtree(target / stale)
    for name in names:
        _sync_model(models_dir / name, target / name, cores)
    return names


def render_config(text: str, cores: int) -> str:
    """The configuration with one instance per core, each with one thread: the cores are full and none waits.

    A model that says itself how many instances it wants keeps them; "all threads" (0) becomes one a core.
    """
    if re.search(r"^\s*instance_group", text, re.MULTILINE):
        return _ALL_THREADS.sub(rf"\g<1>{cores}\g<2>", text)
    count = min(cores, _MOST_INSTANCES)
    return f"{text.rstrip()}\n\ninstance_group [ {{ kind: KIND_CPU count: {count} }} ]\n"


def _versions(model: Path) -> dict[str, Path]:
    found = (path.parent for weights in WEIGHTS for path in model.glob(f"*/{weights}"))
    return {version.name: version for version in found if version.name.isdigit()}


def _sync_model(source: Path, target: Path, cores: int) -> None:
    target.mkdir(exist_ok=True)
    config = render_config((source / "config.pbtxt").read_text(), cores)
    written = target / "config.pbtxt"
    if not written.is_file() or written.read_text() != config:
        temporary = target / ".config.pbtxt"
        temporary.write_text(config)
        temporary.replace(written)
    versions = _versions(source)
    for entry in target.iterdir():
        if entry.name.isdigit() and (entry.name not in versions or not _links_to(entry, versions[entry.name])):
            entry.unlink()
    for version, weights in versions.items():
        if not (target / version).is_symlink():
            (target / version).symlink_to(weights.resolve(), target_is_directory=True)


def _links_to(link: Path, weights: Path) -> bool:
    return link.is_symlink() and os.readlink(link) == str(weights.resolve())
