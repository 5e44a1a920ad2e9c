"""Checkpoints of a small YOLACT network, for the tests of the importer."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from inference.weights.yolact.architecture import VARIANTS, Architecture
from inference.weights.yolact.importer import import_yolact
from inference.weights.yolact.network import Yolact

TINY = Architecture(size_px=70, classes=81, scales_px=(10, 20, 30, 40, 60), blocks=(1, 1, 2, 1), stem=4, fpn=8, masks=6)
State = dict[str, Tensor]


@pytest.fixture(name="tiny")
def fixture_tiny(monkeypatch: pytest.MonkeyPatch) -> State:
    """The weights of a small network, which is made a variant of its own."""
    monkeypatch.setitem(VARIANTS, "tiny", TINY)
    torch.manual_seed(7)
    return Yolact(TINY).state_dict()


@pytest.fixture(scope="module", name="tiny_folder")
def fixture_tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A small network's model in a repository."""
    torch.manual_seed(8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(VARIANTS, "tiny", TINY)
        path = saved(Yolact(TINY).state_dict(), tmp_path_factory.mktemp("tiny") / "weights.pth")
        yield imported(path, variant="tiny", licence="CC-BY-4.0", homepage="https://example.org")


@pytest.fixture(name="file")
def fixture_file(tmp_path: Path) -> Path:
    return tmp_path / "weights.pth"


def saved(content: Any, path: Path, **options: Any) -> Path:
    torch.save(content, path, **options)
    return path


def hollow(architecture: Architecture) -> State:
    """Names and shapes of a network, its numbers all the same one: small on disk."""
    with torch.device("meta"):
        state = Yolact(architecture).state_dict()
    return {name: torch.zeros(()).expand(tensor.shape) for name, tensor in state.items()}


def imported(path: Path, **wishes: Any) -> Path:
    return import_yolact(weights=path, models_dir=path.parent / "models", **wishes)
