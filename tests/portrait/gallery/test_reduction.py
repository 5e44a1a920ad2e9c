"""The index of a model with very many portraits: reduced vectors find a shortlist, whole ones rank it."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from django.conf import settings
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django import DjangoDbBlocker

from portrait.gallery import neighbours, reduction, selectors
from portrait.gallery.indexes import create_hnsw_index, has_index, index_name
from portrait.gallery.models import Collection, Identity, PortraitEmbedding
from portrait.gallery.reduction import reduced_index_name
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
    neighbours._worth_a_scan.cache_clear()
    neighbours._is_small.cache_clear()


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
            cursor.execute(
                "UPDATE pg_class SET reltuples = -1, relpages = 0 WHERE oid = 'gallery_portraitembedding'::regclass"
            )
    for asked in ({}, {"top_k": 10, "min_similarity": 0}, {"top_k": 100, "min_similarity": 0}):
        assert reduced_index_name(loaded.collection.active_model) in plan_of(loaded, **asked)


def plan_of(loaded: Loaded, **asked: float) -> str:
    """Of the statement that finds the nearest portraits; of a walk it stands between its settings."""
    with CaptureQueriesContext(connection) as done:
        nearest_identities(loaded.collection, loaded.probes[0], **asked)
    sent = next(query["sql"] for query in done.captured_queries if "<->" in query["sql"])
    first, *rest = sent.replace("%", "%%").split("; ")
    with connection.cursor() as cursor:
        cursor.execute(f"{first}; EXPLAIN {rest[0]}; {rest[1]}" if rest else f"EXPLAIN {first}")
        if rest:
            cursor.nextset()
        return "\n".join(row[0] for row in cursor.fetchall())


def test_the_width_of_a_walk_is_its_own(loaded: Loaded) -> None:
    """What the caller's transaction asks next is asked as the settings say."""
    nearest_identities(loaded.collection, loaded.probes[0], top_k=100, min_similarity=0)
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('hnsw.ef_search'), current_setting('enable_sort')")
        assert cursor.fetchone() == (str(settings.HNSW_EF_SEARCH), "on")


def test_a_small_part_of_a_large_index_is_scanned(loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    """The index would have to be walked far for it; and for very many rows, too."""
    other = create_collection(name="a part")
    other.active_model = loaded.collection.active_model
    other.save()
    add(other, "somebody", loaded.portraits[1:3])
    part = Loaded(other, loaded.portraits, loaded.probes)
    assert "embedding_by_collection" in plan_of(part)
    monkeypatch.setattr(neighbours, "SHARE_COST", 0)
    neighbours._worth_a_scan.cache_clear()
    assert reduced_index_name(other.active_model) in plan_of(part)
    monkeypatch.setattr(neighbours, "MOST_SHORTLISTED", 100)
    nearest_identities(loaded.collection, loaded.probes[0], top_k=10, min_similarity=0)
    with CaptureQueriesContext(connection) as done:
        nearest_identities(loaded.collection, loaded.probes[0], top_k=10, min_similarity=0)
    assert not any("portrait_reduced" in query["sql"] for query in done.captured_queries)


def test_a_larger_shortlist_is_ranked_anew(loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may bring somebody nearer, or a nearer portrait of somebody whom the first one had."""
    near, far = Identity.objects.filter(collection=loaded.collection)[:2]
    first = [(far.pk, 0.5)] * 16
    lists = {16: first, 64: [(near.pk, 0.3), (far.pk, 0.4), *first, *[(far.pk, 0.55)] * 46]}
    monkeypatch.setattr(selectors, "nearest_portraits", lambda *args, **kwargs: lists[args[3]])
    found = nearest_identities(loaded.collection, loaded.probes[0], top_k=2)
    assert [(each.identity, each.distance) for each in found] == [(near, 0.3), (far, 0.4)]


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
    assert rest[0].identity == first[20].identity
    assert len({each.identity.pk for each in rest} - set(without)) == 10
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
    """Nobody has two pictures: principal components."""
    random = np.random.default_rng(2)
    spread = np.r_[np.full(10, 1.0), np.full(54, 0.05)].astype(np.float32)
    learnt = reduction.learn(random.normal(size=(4000, 64)).astype(np.float32) * spread + 5, np.arange(4000))
    assert 7 <= learnt.dims <= 10
    assert np.abs(learnt.axes[:, 10:]).max() < 0.05
    assert learnt.mean == pytest.approx(np.full(64, 5), abs=0.1)
    assert learnt.of(np.full((1, 64), 5, np.float32)).shape == (1, learnt.dims)


def test_a_reduction_brings_one_persons_pictures_together() -> None:
    """They differ in ten directions in which people do not; those count less than the others, and are not gone."""
    random = np.random.default_rng(3)
    people, pictures = np.zeros((500, 5, 32)), np.zeros((500, 5, 32))
    people[..., :10] = random.normal(size=(500, 1, 10))
    pictures[..., 10:20] = random.normal(size=(500, 5, 10))
    vectors = (people + pictures + random.normal(scale=0.1, size=pictures.shape)).reshape(-1, 32).astype(np.float32)
    whose = np.repeat(np.arange(500), 5)

    def ratio(rows: np.ndarray) -> float:
        """One person's distances beside two people's."""
        rows = rows.reshape(500, 5, -1)
        same = np.linalg.norm(rows[:, 0] - rows[:, 1], axis=1)
        return float(same.mean() / np.linalg.norm(rows[:-1, 0] - rows[1:, 0], axis=1).mean())

    by_people = reduction.learn(vectors, whose)
    by_components = reduction.learn(vectors, np.arange(len(vectors)))
    assert ratio(by_people.of(vectors)) < 0.8 * ratio(by_components.of(vectors))
    lengths = np.linalg.norm(by_people.axes, axis=0)
    assert 0.2 < lengths[10:20].mean() / lengths[:10].mean() < 0.9


def test_a_reduction_of_the_same_pictures_again_and_again_is_one_of_components() -> None:
    random = np.random.default_rng(4)
    vectors = np.repeat(random.normal(size=(400, 16)), 5, axis=0).astype(np.float32)
    learnt = reduction.learn(vectors, np.repeat(np.arange(400), 5))
    assert np.isfinite(learnt.axes).all()
    assert learnt.axes @ learnt.axes.T == pytest.approx(np.eye(learnt.dims), abs=1e-4)
