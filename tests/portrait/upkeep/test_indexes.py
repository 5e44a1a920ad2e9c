"""Indexes and statistics, on the real PostgreSQL."""

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from portrait.gallery.indexes import index_name
from portrait.gallery.models import Collection, EmbeddingModel, Identity
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
