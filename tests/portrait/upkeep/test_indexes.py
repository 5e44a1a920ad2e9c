"""Indexes and statistics, on the real PostgreSQL."""

import threading
from collections.abc import Iterator

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from portrait.gallery import indexes as gallery_indexes
from portrait.gallery import neighbours, reduction
from portrait.gallery.indexes import has_index, index_name
from portrait.gallery.models import Collection, EmbeddingModel, Identity, VectorReduction
from portrait.gallery.reduction import function_name, reduced_index_name
from portrait.gallery.selectors import nearest_identities
from portrait.upkeep.models import UpkeepRun
from portrait.upkeep.services import indexes, ledger
from tests.portrait.gallery.test_matching import add

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def model(transactional_db: None) -> EmbeddingModel:
    return EmbeddingModel.objects.get(name="dlib_resnet")


@pytest.fixture
def filled(model: EmbeddingModel) -> Collection:
    collection = Collection.objects.create(name="filled", active_model=model)
    add(collection, "crowd", np.random.default_rng(1).normal(size=(2000, 128)).astype(np.float32))
    return collection


def state(name: str) -> indexes.IndexState:
    return next(each for each in indexes._indexes() if each.name == name)


def test_a_bloated_index_is_built_anew(
    filled: Collection, model: EmbeddingModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexes, "WORTH_IT", 0)
    first = indexes.check()
    assert first is not None
    assert first.ok
    name = index_name(model)
    fresh = first.report["row_bytes"][name]
    assert fresh > 0
    Identity.objects.filter(collection=filled).delete()
    add(filled, "few", np.random.default_rng(2).normal(size=(300, 128)).astype(np.float32))
    with connection.cursor() as cursor:
        cursor.execute("VACUUM (ANALYZE) gallery_portraitembedding")
    before = state(name)
    assert before.row_bytes > indexes.BLOATED * fresh, "what follows would show nothing"
    second = indexes.check()
    assert second is not None
    assert name in second.report["rebuilt"]
    assert state(name).size < before.size


def test_what_a_killed_build_left_is_mended(filled: Collection, model: EmbeddingModel) -> None:
    name = index_name(model)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = %s::regclass", [name])
    assert not state(name).valid
    done = indexes.check()
    assert done is not None
    assert name in done.report["rebuilt"]
    assert state(name).valid


def test_statistics_follow_a_bulk_load(filled: Collection) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_force_next_flush()")
        cursor.execute("SELECT 1")
    done = indexes.check()
    assert done is not None
    assert "gallery_portraitembedding" in done.report["analysed"]
    with connection.cursor() as cursor:
        cursor.execute("SELECT reltuples FROM pg_class WHERE relname = 'gallery_portraitembedding'")
        assert cursor.fetchone() == (2000.0,)


def test_the_command_tells_and_fails_where_something_is_wrong(
    filled: Collection, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(CommandError, match="Something is wrong"):  # rows whose files never were
        call_command("upkeep", "integrity")
    assert '"missing_count": 4000' in capsys.readouterr().out
    call_command("upkeep", "status")
    assert "integrity: NOT WELL" in capsys.readouterr().out


def test_the_ledger_is_audited(transactional_db: None) -> None:
    done = ledger.check()
    assert done is not None
    assert done.ok
    assert done.report["lost"] == 0
    assert UpkeepRun.objects.get().kind == "ledger"


@pytest.fixture
def many(model: EmbeddingModel, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """2,000 portraits are very many; afterwards the model has its index back, for all other tests."""
    monkeypatch.setattr(gallery_indexes, "REDUCED_ABOVE", 1000)
    monkeypatch.setattr(neighbours, "EXACT_BELOW", 0)
    yield
    gallery_indexes.drop_live_indexes(model)
    model.refresh_from_db()
    gallery_indexes.create_hnsw_index(model)


def nearest(collection: Collection, vector: np.ndarray) -> str:
    """By whatever the collection is searched by now."""
    collection = Collection.objects.select_related("active_model").get(pk=collection.pk)
    return nearest_identities(collection, vector, min_similarity=0)[0].identity.name


def test_a_model_with_very_many_portraits_gets_an_index_of_reduced_vectors(
    filled: Collection, model: EmbeddingModel, many: None
) -> None:
    """The former one stays for a run: who read the model just before still goes by it."""
    face = np.full(128, 0.9, np.float32)
    add(filled, "somebody", face[None])
    first = indexes.check()
    assert first is not None
    assert (first.report["reduced"], first.report["index_replaced"]) == ([str(model)], [])
    model.refresh_from_db()
    assert model.reduced_at is not None
    assert has_index(index_name(model))
    assert nearest(filled, face) == "somebody"
    soon = indexes.check()
    assert soon is not None
    assert (soon.report["reduced"], soon.report["index_replaced"]) == ([], [])
    EmbeddingModel.objects.update(reduced_at=model.reduced_at - gallery_indexes.BOTH_FOR)
    second = indexes.check()
    assert second is not None
    assert (second.report["reduced"], second.report["index_replaced"]) == ([], [str(model)])
    assert not has_index(index_name(model))
    assert has_index(reduced_index_name(model))
    add(filled, "a newcomer", -face[None])
    assert nearest(filled, face) == "somebody"
    assert nearest(filled, -face) == "a newcomer"
    third = indexes.check()
    assert third is not None
    assert (third.report["reduced"], third.report["index_replaced"]) == ([], [])
    gallery_indexes.drop_live_indexes(model)  # what retiring does
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_proc WHERE proname = %s", [function_name(model)])
        assert cursor.fetchone() == (0,)
    model.refresh_from_db()
    gallery_indexes.create_hnsw_index(model)
    assert nearest(filled, face) == "somebody"


def test_an_index_of_a_reduction_that_was_never_noted_is_not_trusted(
    filled: Collection, model: EmbeddingModel, many: None
) -> None:
    """Killed at the end of the build: the next one learns anew, and its function is another."""
    gallery_indexes.build_reduced_index(model)
    EmbeddingModel.objects.filter(pk=model.pk).update(reduced_at=None)
    VectorReduction.objects.all().delete()
    with connection.cursor() as cursor:
        cursor.execute("SELECT %s::regclass::oid", [reduced_index_name(model)])
        before = cursor.fetchone()
    face = np.full(128, 0.9, np.float32)
    add(filled, "somebody", face[None])
    done = indexes.check()
    assert done is not None
    assert done.report["reduced"] == [str(model)]
    with connection.cursor() as cursor:
        cursor.execute("SELECT %s::regclass::oid", [reduced_index_name(model)])
        assert cursor.fetchone() != before
    assert nearest(filled, face) == "somebody"


def test_two_who_build_at_once_build_once(
    filled: Collection, model: EmbeddingModel, many: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures, learnt = list[BaseException](), list[int]()

    def learn(vectors: np.ndarray, people: np.ndarray) -> reduction.Reduction:
        learnt.append(len(vectors))
        return reduction.learn(vectors, people)

    def build() -> None:
        try:
            gallery_indexes.build_reduced_index(EmbeddingModel.objects.get(pk=model.pk))
        except BaseException as error:
            failures.append(error)
        finally:
            connection.close()

    monkeypatch.setattr(gallery_indexes, "learn", learn)
    threads = [threading.Thread(target=build) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(learnt) == 1
    assert has_index(reduced_index_name(model))


def test_an_index_that_is_gone_is_built_again(filled: Collection, model: EmbeddingModel, many: None) -> None:
    """After a restore that could not, or by hand."""
    gallery_indexes.build_reduced_index(model)
    gallery_indexes.drop_index(reduced_index_name(model))
    with connection.cursor() as cursor:  # and what a killed rebuild left
        name, reduced = f"{reduced_index_name(model)}_ccnew", function_name(model)
        cursor.execute(f"CREATE INDEX {name} ON gallery_portraitembedding ({reduced}(vector)) WHERE id < 0")
    done = indexes.check()
    assert done is not None
    assert done.report["reduced"] == [str(model)]
    assert has_index(reduced_index_name(model))
    assert not has_index(f"{reduced_index_name(model)}_ccnew")


def test_a_build_that_fails_stops_no_other_upkeep(
    filled: Collection, model: EmbeddingModel, many: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise RuntimeError("the disk is full")

    monkeypatch.setattr(gallery_indexes, "learn", fail)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = %s::regclass", [index_name(model)])
    done = indexes.check()
    assert done is not None
    assert not done.ok
    assert done.report["failed"] == {str(model): "RuntimeError: the disk is full"}
    assert index_name(model) in done.report["rebuilt"]


def test_an_index_that_nobody_needs_any_more_goes(filled: Collection, model: EmbeddingModel, many: None) -> None:
    """Built, never noted, and then most people were erased."""
    gallery_indexes.build_reduced_index(model)
    EmbeddingModel.objects.filter(pk=model.pk).update(reduced_at=None)
    Identity.objects.filter(collection=filled).delete()
    done = indexes.check()
    assert done is not None
    assert not has_index(reduced_index_name(model))
    assert has_index(index_name(model))
