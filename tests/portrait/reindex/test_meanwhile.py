"""What comes while a re-index is planned, counted and switched: nobody is missed, and nobody waits for it."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction
from django.utils import timezone

from portrait.gallery.models import Collection, EmbeddingModel, Portrait, PortraitEmbedding
from portrait.gallery.services.identities import create_collection
from portrait.gallery.services.spaces import lock_models
from portrait.reindex import gaps
from portrait.reindex.models import Chunk, Reindex, State
from portrait.reindex.services import planning, starting, switching
from portrait.reindex.services.filling import Wanted, fill
from tests.portrait.reindex.conftest import made_ready, make_projection
from tests.portrait.reindex.population import enrol, people

pytestmark = pytest.mark.django_db


def test_what_comes_between_the_count_and_the_lock_is_seen(
    collection: Collection, projection: EmbeddingModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody stores by a rule that is not in force: the newest are looked at once more, and the whole again."""
    enrol(collection, people(3, 2))
    reindex = made_ready(collection, projection)
    count, calls = gaps.count_gaps, [0]

    def counted(*args: Any, **values: Any) -> gaps.Gaps:
        found = count(*args, **values)
        calls[0] += 1
        if calls[0] == 1:
            enrol(collection, people(1, 2, seed=9), prefix="late")
        return found

    monkeypatch.setattr(gaps, "count_gaps", counted)
    switching.switch_by_hand(reindex)
    assert calls == [2]
    assert count(collection.pk, projection).none
    assert PortraitEmbedding.objects.filter(model=projection).count() == 8


def test_a_threshold_that_is_set_meanwhile_is_translated_too(
    collection: Collection, projection: EmbeddingModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    reindex = made_ready(collection, projection)
    count = gaps.count_gaps

    def counted(*args: Any, **values: Any) -> gaps.Gaps:
        Collection.objects.filter(pk=collection.pk).update(threshold=0.4)
        return count(*args, **values)

    monkeypatch.setattr(gaps, "count_gaps", counted)
    switching.switch_by_hand(reindex)
    reindex.refresh_from_db()
    assert (reindex.from_threshold, reindex.to_threshold) == (0.4, pytest.approx(0.4))


def _elsewhere(do: Callable[[], Any]) -> Any:
    """By another connection; answers what it answered, or its error."""
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append(do())
        except Exception as error:
            outcome.append(error)
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(30)
    return outcome[0]


@pytest.mark.django_db(transaction=True)
def test_nobody_who_stores_vectors_waits_for_a_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither when it is planned, nor when it is switched, nor rolled back."""
    collection, model = create_collection(name="busy"), make_projection()
    enrol(collection, people(3, 2))
    held: list[str] = []

    def store() -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT set_config('lock_timeout', '100ms', true)")
            lock_models(collection.pk)

    def watched(name: str, do: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **values: Any) -> Any:
            if isinstance(_elsewhere(store), OperationalError):
                held.append(name)
            return do(*args, **values)

        return run

    for module, name in (
        (planning, "_stretches"),
        (gaps, "count_gaps"),
        (switching.thresholds, "translated"),
        (switching, "fill"),
    ):
        monkeypatch.setattr(module, name, watched(name, getattr(module, name)))
    reindex = starting.start(collection=collection, model=model)
    fill(Wanted(collection.pk, model))
    Reindex.objects.update(state=State.READY)
    reindex.refresh_from_db()
    switching.switch_by_hand(reindex)
    switching.roll_back(reindex)
    assert held == []


@pytest.fixture
def somebody(transactional_db: None) -> Iterator[Callable[[Callable[[], Any]], "Other"]]:
    started: list[Other] = []

    def start(do: Callable[[], Any]) -> "Other":
        started.append(Other(do))
        return started[-1]

    yield start
    for other in started:
        other.commit()


class Other:
    """A transaction of another connection, open until it is told to commit."""

    def __init__(self, do: Callable[[], Any]) -> None:
        self._did, self._go = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, args=(do,))
        self._thread.start()
        assert self._did.wait(20)

    def _run(self, do: Callable[[], Any]) -> None:
        try:
            with transaction.atomic():
                do()
                self._did.set()
                self._go.wait(20)
        finally:
            connection.close()

    def commit(self) -> None:
        self._go.set()
        self._thread.join(20)


def _somebody_waits() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
        return bool(cursor.fetchone()[0])


def test_the_plan_sees_who_was_being_stored_when_it_began(somebody: Callable[[Callable[[], Any]], Other]) -> None:
    """By the old rule, and committed later than the re-index began: it waits for that, then plans."""
    collection, model = create_collection(name="storing"), make_projection()
    enrol(collection, people(3, 2))

    def store() -> None:
        lock_models(collection.pk)
        enrol(collection, people(1, 2, seed=9), prefix="late")

    other = somebody(store)
    begun = threading.Thread(
        target=_elsewhere, args=(lambda: starting.start(collection=collection, model=model),), daemon=True
    )
    begun.start()
    while not _somebody_waits() and begun.is_alive():
        begun.join(0.02)
    other.commit()
    begun.join(30)
    assert sum(Chunk.objects.filter(reindex__collection=collection).values_list("rows", flat=True)) == 8


def test_a_portrait_that_is_deleted_while_its_vector_is_made_is_never_found(
    somebody: Callable[[Callable[[], Any]], Other],
) -> None:
    collection, model = create_collection(name="deleting"), make_projection()
    (identity,) = enrol(collection, people(1, 2))
    gone = Portrait.objects.filter(identity=identity).order_by("pk")[0]
    other = somebody(lambda: Portrait.objects.filter(pk=gone.pk).update(deleted_at=timezone.now()))
    assert fill(Wanted(collection.pk, model)).made == 1
    assert not PortraitEmbedding.objects.filter(portrait=gone, model=model).exists(), "who deletes is not waited for"
    other.commit()
    fill(Wanted(collection.pk, model))
    live = PortraitEmbedding.objects.filter(model=model).values_list("portrait", "live")
    assert dict(live)[gone.pk] is False


def test_people_who_are_deleted_or_merged_meanwhile_are_left_for_later(
    somebody: Callable[[Callable[[], Any]], Other],
) -> None:
    collection, model = create_collection(name="merging"), make_projection()
    first, second = enrol(collection, people(2, 2))
    other = somebody(lambda: type(first).objects.filter(pk=second.pk).update(merged_into=first))
    assert fill(Wanted(collection.pk, model)).made == 2
    assert not PortraitEmbedding.objects.filter(identity=second, model=model).exists()
    other.commit()
    fill(Wanted(collection.pk, model))
    assert PortraitEmbedding.objects.filter(identity=second, model=model, live=False).count() == 2
