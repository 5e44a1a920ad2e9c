"""A tiny random BLIP, imported once, and the model of transformers that it was made of."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from inference.scenes.blip import BlipModel
from inference.weights.blip.importer import import_blip
from tests.inference.tiny_blip import make_reference, save


@dataclass(frozen=True)
class Imported:
    reference: Any
    published: Path
    models: Path
    name: str

    @property
    def folder(self) -> Path:
        return self.models / self.name / "1"


@pytest.fixture(scope="session")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Imported:
    root, reference = tmp_path_factory.mktemp("blip"), make_reference()
    published = save(reference, root / "published")
    import_blip(weights=published, name="blip-tiny", models_dir=root / "models")
    return Imported(reference, published, root / "models", "blip-tiny")


@pytest.fixture(scope="session")
def model(imported: Imported) -> BlipModel:
    return BlipModel(imported.folder, threads=1)
