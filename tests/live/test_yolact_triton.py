"""A segmentation model in a real Triton: its specification travels with it, and it finds what it finds in this
process, alone and among others' pictures in one batch."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from django.conf import settings

from inference.config import SegmenterSpec, spec_from_json
from inference.errors import InvalidInferenceRequestError
from inference.local import LocalClient
from inference.scenes.segment import Segmenter
from inference.triton import TritonClient
from inference.types import SceneObject
from inference.weights.mini.install import install_mini
from inference.weights.mini.measure_yolact import held_out_scenes
from tests.live.conftest import Installation

NAME = "yolact-mini"


@pytest.fixture
def models(tmp_path: Path) -> Path:
    install_mini(tmp_path / "models", NAME)
    return tmp_path / "models"


@pytest.fixture
def client(installation: Installation, models: Path) -> Iterator[TritonClient]:
    """A Triton of its own; the session's PostgreSQL and Redis are of no interest to it."""
    urls = {"DATABASE_URL": settings.PORTRAIT.database_url, "REDIS_URL": settings.PORTRAIT.redis_url}
    started = installation.manage("services", "start", PORTRAIT_MODELS=str(models), PORTRAIT_CORES="1", **urls)
    assert started.returncode == 0, started.stderr
    yield TritonClient([json.loads((installation.var / "run" / "endpoints.json").read_text())["triton_url"]])
    assert installation.manage("services", "stop", **urls).returncode == 0


def assert_same(ours: list[SceneObject], others: list[SceneObject]) -> None:
    """Sums of a batch may be in another order: scores may differ in the last digits, and a box or a mask's border by
    a pixel."""
    assert [item.label for item in ours] == [item.label for item in others]
    for one, other in zip(ours, others, strict=True):
        assert one.score == pytest.approx(other.score, abs=1e-4)
        assert one.box.as_list() == pytest.approx(other.box.as_list(), abs=1)
        both = one.mask.full(), other.mask.full()
        assert (both[0] & both[1]).sum() >= 0.99 * (both[0] | both[1]).sum()


def test_a_model_in_triton_segments_as_in_this_process(client: TritonClient, models: Path) -> None:
    spec = spec_from_json(client.parameters(NAME)["portrait.spec"])
    assert isinstance(spec, SegmenterSpec)
    assert "not photos" in spec.domain
    local = Segmenter(LocalClient(models), spec)
    images = [scene.image for scene in held_out_scenes(31, 16)]
    images[3] = np.ascontiguousarray(np.pad(images[3], ((0, 0), (0, 64), (0, 0)), mode="edge"))
    expected = [local.segment(image, score_threshold=0.3) for image in images]
    assert all(expected)

    with ThreadPoolExecutor(8) as callers:  # so that Triton has pictures to put together
        found = list(callers.map(lambda image: Segmenter(client, spec).segment(image, score_threshold=0.3), images))

    for ours, others in zip(found, expected, strict=True):
        assert_same(ours, others)

    with pytest.raises(InvalidInferenceRequestError):
        client.infer(NAME, {"image": np.zeros((1, 64, 64, 3), np.float32)}, ["loc"], deadline_s=30)
