"""The index of a model with very many portraits: reduced vectors find a shortlist, whole ones rank it."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django import DjangoDbBlocker

from portrait.gallery import neighbours, reduction
from portrait.gallery.indexes import create_hnsw_index, has_index, index_name, reduced_index_name
from portrait.gallery.models import Collection, Identity, PortraitEmbedding
from portrait.gallery.selectors import nearest_identities
from portrait.gallery.services.identities import create_collection
from tests.portrait.gallery.test_matching import add

pytestmark = pytest.mark.django_db
SIZE, PROBES = 12_000, 300


@dataclass(frozen=True)
class Loaded:
    collection: Collection
    portraits: np.ndarray
    probes: np.ndarray


@pytest.fixture(scope="module")
def loaded(
    tmp_path_factory: pytest.TempPathFactory, django_db_setup: None, django_db_blocker: DjangoDbBlocker
) -> Iterator[Loaded]:
    """As a service has them after its upkeep; built once."""
    with django_db_blocker.unblock(), pytest.MonkeyPatch.context() as patch:
        from benchmarks import _search_gallery
        from benchmarks._search_population import DIMS, Population

        patch.setattr(_search_gallery, "REDUCED_ABOVE", SIZE - 1)
        gallery, population = _search_gallery.Gallery(SIZE), Population()
        _search_gallery.build(gallery, tmp_path_factory.mktemp("gallery"))
        portraits = np.concatenate([chunk.reshape(-1, DIMS) for chunk in population.portraits(SIZE)])
        collection = gallery.collection()
    yield Loaded(collection, portraits, population.probes(SIZE, PROBES)[0])
    with django_db_blocker.unblock():
        _search_gallery.remove(gallery)


@pytest.fixture(autouse=True)
def by_index(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "EXACT_BELOW", 0)


def test_it_answers_as_an_exact_scan_does(loaded: Loaded) -> None:
    from benchmarks._search_measure import agreement, answers
    from benchmarks._search_sides import exact_scan

    exact = exact_scan(loaded.portraits, loaded.probes)
    found = agreement(answers(loaded.collection, loaded.probes, 10), exact, count=10)
    assert found["identity@1"] >= 0.995, found
    assert found["recall@10"] >= 0.95, found
    for number, probe in enumerate(loaded.probes[:50]):  # the distances that are told are those of the whole vectors
        first = nearest_identities(loaded.collection, probe, min_similarity=0)[0]
        assert first.distance == pytest.approx(exact.distances[number, 0], abs=1e-4)


def test_postgresql_reduces_as_we_do(loaded: Loaded) -> None:
    model = loaded.collection.active_model
    by = reduction.reduction_of(model)
    assert by is not None
    assert 16 <= by.dims < model.dims
    rows = PortraitEmbedding.objects.filter(model=model)[:50]
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {reduction.function_name(model)}(vector)::text FROM gallery_portraitembedding WHERE id = ANY(%s) "
            "ORDER BY array_position(%s, id)",
            [[row.pk for row in rows]] * 2,
        )
        theirs = np.array([np.fromstring(text.strip("[]"), sep=",") for (text,) in cursor.fetchall()])
    ours = by.of(np.stack([np.asarray(row.vector, np.float32) for row in rows]))
    assert np.abs(theirs - ours).max() < 2e-3, "half precision"
    assert np.linalg.norm(ours, axis=1) == pytest.approx(
        np.linalg.norm((np.stack([row.vector for row in rows]) - by.mean) @ by.axes.T, axis=1) ** 0.5, rel=1e-4
    )


@pytest.mark.parametrize("analysed", [False, True], ids=["just loaded", "analysed"])
def test_the_planner_takes_it(loaded: Loaded, analysed: bool) -> None:
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE gallery_portraitembedding")
        if not analysed:
            cursor.execute("DELETE FROM pg_statistic WHERE starelid = 'gallery_portraitembedding'::regclass")
    for asked in ({}, {"top_k": 10, "min_similarity": 0}):
        nearest_identities(loaded.collection, loaded.probes[0], **asked)
        with CaptureQueriesContext(connection) as done:
            nearest_identities(loaded.collection, loaded.probes[0], **asked)
        statement = next(query["sql"] for query in done.captured_queries if "<->" in query["sql"])
        with connection.cursor() as cursor:
            cursor.execute("EXPLAIN " + statement.replace("%", "%%"))
            plan = "\n".join(row[0] for row in cursor.fetchall())
        assert reduced_index_name(loaded.collection.active_model) in plan


def test_who_is_enrolled_is_found_at_once_and_who_is_erased_is_not(loaded: Loaded) -> None:
    """No row waits for an upkeep to be in the index."""
    face = (loaded.portraits.mean(axis=0) + np.eye(128, dtype=np.float32)[3] * 0.9).astype(np.float32)
    newcomer = add(loaded.collection, "newcomer", face[None])
    assert [each.identity for each in nearest_identities(loaded.collection, face)] == [newcomer]
    Identity.objects.filter(pk=newcomer.pk).delete()
    assert nearest_identities(loaded.collection, face, min_similarity=0)[0].identity != newcomer


def test_who_takes_no_part_is_passed_over(loaded: Loaded) -> None:
    """Of this collection only, without those who are left out, until there are as many as were asked for."""
    probe = loaded.portraits[0]
    first = nearest_identities(loaded.collection, probe, top_k=30, min_similarity=0)
    assert len({each.identity.pk for each in first}) == 30
    without = [each.identity.pk for each in first[:20]]
    rest = nearest_identities(loaded.collection, probe, top_k=10, min_similarity=0, exclude=without)
    assert [each.identity for each in rest] == [each.identity for each in first[20:]]
    other = create_collection(name="beside")
    other.active_model = loaded.collection.active_model
    other.save()
    somebody = add(other, "somebody", loaded.portraits[1:3])
    assert [each.identity for each in nearest_identities(other, probe, top_k=5, min_similarity=0)] == [somebody]


def test_a_face_like_the_mean_of_all_is_no_error(loaded: Loaded) -> None:
    """Nothing is left of its length."""
    by = reduction.reduction_of(loaded.collection.active_model)
    assert by is not None
    mean = by.mean.astype(np.float32)
    add(loaded.collection, "nobody in particular", mean[None])
    assert np.isfinite(by.of(mean[None])).all()
    assert nearest_identities(loaded.collection, mean, min_similarity=0)[0].distance == pytest.approx(0, abs=1e-4)


def test_the_index_of_whole_vectors_does_not_come_back(loaded: Loaded) -> None:
    """Every migration ensures an index of each model: building it would hold up all writers for many minutes."""
    model = loaded.collection.active_model
    create_hnsw_index(model)
    assert not has_index(index_name(model))
    assert has_index(reduced_index_name(model))


def test_a_reduction_keeps_what_varies() -> None:
    random = np.random.default_rng(2)
    spread = np.r_[np.full(10, 1.0), np.full(54, 0.05)].astype(np.float32)
    learnt = reduction.learn(random.normal(size=(4000, 64)).astype(np.float32) * spread + 5)
    assert 8 <= learnt.dims <= 10
    assert np.abs(learnt.axes[:, 10:]).max() < 0.05
    assert learnt.mean == pytest.approx(np.full(64, 5), abs=0.1)
    assert learnt.of(np.full((1, 64), 5, np.float32)).shape == (1, learnt.dims)
