"""Is the index good enough? Twenty thousand synthetic portraits, as real ones lie; see `benchmarks/search.py`."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django import DjangoDbBlocker

from portrait.gallery import neighbours
from portrait.gallery.indexes import index_name
from portrait.gallery.models import Collection
from portrait.gallery.selectors import nearest_identities
from portrait.gallery.services.identities import create_collection

pytestmark = pytest.mark.django_db
SIZE, PROBES = 20_000, 300


@dataclass(frozen=True)
class Loaded:
    """A collection right after its portraits were loaded: no statistics yet."""

    collection: Collection
    portraits: np.ndarray
    probes: np.ndarray


@pytest.fixture(scope="module")
def loaded(
    tmp_path_factory: pytest.TempPathFactory, django_db_setup: None, django_db_blocker: DjangoDbBlocker
) -> Iterator[Loaded]:
    """Built once: that takes seconds."""
    with django_db_blocker.unblock():
        from benchmarks._search_gallery import Gallery, build, remove
        from benchmarks._search_population import DIMS, Population

        gallery, population = Gallery(SIZE), Population()
        build(gallery, tmp_path_factory.mktemp("gallery"))
        portraits = np.concatenate([chunk.reshape(-1, DIMS) for chunk in population.portraits(SIZE)])
        collection = gallery.collection()
    yield Loaded(collection, portraits, population.probes(SIZE, PROBES)[0])
    with django_db_blocker.unblock():
        remove(gallery)


@pytest.fixture(params=[False, True], ids=["just loaded", "analysed"])
def statistics(request: pytest.FixtureRequest, db: None, loaded: Loaded) -> None:
    """With the planner's statistics, and without."""
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE gallery_portraitembedding")
        if not request.param:
            cursor.execute("DELETE FROM pg_statistic WHERE starelid = 'gallery_portraitembedding'::regclass")


@pytest.fixture
def by_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """No collection is small enough for an exact scan."""
    monkeypatch.setattr(neighbours, "EXACT_BELOW", 0)


def plan_of_search(collection: Collection, probe: np.ndarray, **asked: float) -> str:
    """What PostgreSQL does for the statement that finds the nearest portraits."""
    nearest_identities(collection, probe, **asked)  # asks for the collection's size, too
    with CaptureQueriesContext(connection) as done:
        nearest_identities(collection, probe, **asked)
    statement = next(query["sql"] for query in done.captured_queries if "<->" in query["sql"])
    with connection.cursor() as cursor:
        cursor.execute("EXPLAIN " + statement.replace("%", "%%"))
        return "\n".join(row[0] for row in cursor.fetchall())


@pytest.mark.usefixtures("by_index")
def test_the_index_answers_as_an_exact_scan_does(loaded: Loaded) -> None:
    from benchmarks._search_measure import agreement, answers
    from benchmarks._search_sides import exact_scan

    found = agreement(
        answers(loaded.collection, loaded.probes, 10), exact_scan(loaded.portraits, loaded.probes), count=10
    )
    assert found["identity@1"] >= 0.995, found
    assert found["recall@10"] >= 0.99, found


@pytest.mark.usefixtures("by_index")
def test_strangers_are_as_unknown_to_the_index_as_to_an_exact_scan(loaded: Loaded) -> None:
    from benchmarks._search_measure import same_strangers
    from benchmarks._search_population import Population
    from benchmarks._search_sides import exact_scan

    strangers = Population().strangers(200)
    exact = exact_scan(loaded.portraits, strangers)
    threshold = float(np.quantile(exact.distances[:, 0], 0.5))  # half of them are nobody, half somebody else
    assert same_strangers(loaded.collection, strangers, exact, threshold)["same_answer"] >= 0.99


@pytest.mark.usefixtures("by_index", "statistics")
def test_a_large_collection_is_searched_by_its_index(loaded: Loaded) -> None:
    """Without statistics the planner takes the collection for a few rows, and would rather sort it all."""
    for asked in ({}, {"top_k": 10, "min_similarity": 0}):
        assert index_name(loaded.collection.active_model) in plan_of_search(
            loaded.collection, loaded.probes[0], **asked
        )


@pytest.mark.usefixtures("statistics")
def test_a_small_collection_beside_a_large_one_is_scanned_by_itself(loaded: Loaded) -> None:
    """Neither the large one's index nor its rows are read."""
    small = create_collection(name="small")
    small.active_model = loaded.collection.active_model
    small.save()
    plan = plan_of_search(small, loaded.probes[0])
    assert "embedding_by_collection" in plan
    assert "hnsw" not in plan
    assert "Seq Scan" not in plan


def test_a_search_is_two_statements(loaded: Loaded) -> None:
    nearest_identities(loaded.collection, loaded.probes[0])
    with CaptureQueriesContext(connection) as done:
        assert nearest_identities(loaded.collection, loaded.probes[0])
    assert len(done.captured_queries) == 2, [query["sql"][:80] for query in done.captured_queries]
