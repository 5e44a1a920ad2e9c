"""Edits at the same time: one after the other or refused, never half of each."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection

from portrait.core.errors import ConflictError
from portrait.gallery.models import Change, Collection, Identity
from portrait.gallery.services import editing, journal
from tests.portrait.gallery.people import ACTOR, add, portraits_of, snapshot

pytestmark = pytest.mark.django_db(transaction=True)


def at_once(*acts: Callable[[], object]) -> list[object]:
    """What each answered, or the conflict that it met."""

    def run(act: Callable[[], object]) -> object:
        try:
            return act()
        except ConflictError as error:
            return error
        finally:
            connection.close()

    with ThreadPoolExecutor(len(acts)) as pool:
        return [future.result() for future in [pool.submit(run, act) for act in acts]]


def test_two_merge_each_into_the_other(collection: Collection) -> None:
    for person in range(6):
        one, other = add(collection, 2 * person), add(collection, 2 * person + 1)
        done = at_once(
            lambda one=one, other=other: editing.merge(target=one, sources=[other], actor=ACTOR),
            lambda one=one, other=other: editing.merge(target=other, sources=[one], actor=ACTOR),
        )
        assert sorted(type(each).__name__ for each in done) == ["Change", "ConflictError"]
        one.refresh_from_db()
        other.refresh_from_db()
        assert (one.merged_into is None) != (other.merged_into is None)
        survivor = one if one.merged_into is None else other
        assert len(portraits_of(survivor)) == 4


def test_a_change_that_two_undo_is_undone_once(collection: Collection) -> None:
    one, other = add(collection, 1), add(collection, 2)
    before = snapshot(collection)
    change = editing.merge(target=one, sources=[other], actor=ACTOR)
    done = at_once(*(lambda: journal.undo(change=change, actor=ACTOR) for _ in range(4)))
    assert sorted(type(each).__name__ for each in done) == ["Change", *["ConflictError"] * 3]
    assert snapshot(collection) == before
    assert Change.objects.count() == 2


def test_many_into_one_at_once(collection: Collection) -> None:
    target = add(collection, 0)
    sources = [add(collection, person) for person in range(1, 5)]
    before = snapshot(collection)
    done = at_once(*(lambda each=each: editing.merge(target=target, sources=[each], actor=ACTOR) for each in sources))
    assert {type(each) for each in done} == {Change}
    assert set(Identity.objects.exclude(pk=target.pk).values_list("merged_into", flat=True)) == {target.pk}
    for change in Change.objects.order_by("-pk"):
        journal.undo(change=change, actor=ACTOR)
    assert snapshot(collection) == before
