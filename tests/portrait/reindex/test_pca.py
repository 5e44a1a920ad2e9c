"""Fewer numbers: against NumPy's own decomposition, and against what is known of made-up people."""

import numpy as np
import pytest

from inference.calibration import Calibration
from portrait.core.errors import PortraitError
from portrait.gallery.models import Collection
from portrait.gallery.vectors import project
from portrait.reindex import pca
from portrait.reindex.services.learning import TooLittleDataError, learn, projected
from tests.portrait.reindex.population import enrol, people


def test_the_components_are_those_of_a_singular_value_decomposition() -> None:
    vectors = people(40, 5).reshape(-1, 128)
    found = pca.principal_components(vectors, 10)
    exact = vectors.astype(np.float64) - vectors.mean(axis=0)
    _, values, axes = np.linalg.svd(exact, full_matrices=False)
    assert np.allclose(np.abs((found.axes * axes[:10]).sum(axis=1)), 1, atol=1e-4)
    assert found.explained == pytest.approx((values[:10] ** 2).sum() / (values**2).sum(), abs=1e-5)
    assert np.allclose(found.axes @ found.axes.T, np.eye(10), atol=1e-5)


def test_all_components_keep_every_distance() -> None:
    vectors = people(60, 3).reshape(-1, 128)
    found = pca.principal_components(vectors, 128)
    after = (vectors - found.mean) @ found.axes.T
    pairs = pca.pairs_of(np.repeat(np.arange(60), 3), np.random.default_rng(0), genuine=100, impostor=500)
    assert np.allclose(pairs.distances(vectors), pairs.distances(after), atol=1e-4)
    assert pairs.same.sum() == 100
    assert (~pairs.same).sum() == 500


def test_the_curve_is_found_again() -> None:
    curve = Calibration(threshold=0.61, slope=14.0)
    distances = np.linspace(0.2, 1.1, 400)
    found = pca.fitted(distances, pca.similarities(curve, distances), np.ones(400))
    assert found.threshold == pytest.approx(0.61, abs=1e-6)
    assert found.slope == pytest.approx(14.0, abs=1e-4)
    with pytest.raises(ValueError, match="does not fall"):
        pca.fitted(distances, 1 - pca.similarities(curve, distances), np.ones(400))


def test_rates_are_counted_right() -> None:
    distances = np.array([0.1, 0.2, 0.5, *np.linspace(0.3, 1, 1000)])
    same = np.arange(len(distances)) < 3
    assert pca.true_accept_rate(distances, same, far=0.001) == pytest.approx(2 / 3)
    assert pca.true_accept_rate(distances, same, far=0.5) == 1.0
    vectors = np.array([[0.0], [0.1], [5.0], [5.2], [5.1]], dtype=np.float32)
    owners = np.array([0, 0, 1, 1, 2])
    assert pca.first_is_right(np.arange(4), vectors, owners) == 0.5


@pytest.mark.django_db
def test_a_model_is_learnt_and_measured_on_people_it_does_not_know(collection: Collection) -> None:
    vectors = people(80, 10)
    enrol(collection, vectors)
    model = learn(collection=collection, dims=64, half=True)
    held = model.report["held_out"]
    assert held["people"] == 16
    assert held["vectors"] == 160
    assert model.report["explained_variance"] > 0.95
    assert held["identity_at_1"]["here"] >= held["identity_at_1"]["source"] - 0.02
    assert held["same_decisions"] > 0.98
    stored = projected(model, vectors[:, 0])
    assert stored.shape == (80, 64)
    assert np.allclose(stored, project(model, vectors[:, 0]), atol=1e-3)
    assert learn(collection=collection, dims=64, half=True).version == "2"


@pytest.mark.django_db
def test_too_little_is_refused(collection: Collection) -> None:
    enrol(collection, people(49, 20))
    with pytest.raises(TooLittleDataError, match="49 people"):
        learn(collection=collection, dims=64, half=False)
    with pytest.raises(PortraitError, match="from 2 to 127"):
        learn(collection=collection, dims=128, half=False)
