"""Answers to suggestions: each an edit that can be undone, one of two at once, none where things changed meanwhile."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection

from portrait.core.errors import ConflictError
from portrait.curation.models import Likeness, State, Suggestion
from portrait.curation.services import answers
from portrait.curation.services.answers import NotThisKindError
from portrait.gallery.models import Change, Collection, Distinct, Identity, Portrait
from portrait.gallery.services import editing, journal
from portrait.gallery.services.identities import delete_identity
from tests.portrait.curation.crowd import ANNA, BEN, add_portrait, asked, face, ids, person, scan, waiting

pytestmark = pytest.mark.django_db(transaction=True)


def pair(collection: Collection, **values: Any) -> tuple[Identity, Identity, Suggestion]:
    one = person(collection, "one", [face(1)], **values)
    two = person(collection, "two", [face(1, seed=1)], **values)
    scan(collection)
    (row,) = waiting(collection)
    return one, two, row


def test_confirming_merges_and_undoing_takes_it_back(collection: Collection) -> None:
    one, two, row = pair(collection)
    portraits = set(one.portraits.values_list("pk", flat=True)) | set(two.portraits.values_list("pk", flat=True))
    answers.confirm(suggestion=row, actor=ANNA)
    assert (row.state, row.decided_by, len(row.changes)) == (State.CONFIRMED, "Anna", 1)
    assert row.decided_at is not None
    (left,) = Identity.objects.filter(collection=collection, merged_into=None)
    assert set(left.portraits.values_list("pk", flat=True)) == portraits
    answers.undo(suggestion=row, actor=BEN)
    assert (row.state, row.decided_by, row.changes) == (State.OPEN, "", [])
    assert Identity.objects.filter(collection=collection, merged_into=None).count() == 2
    assert {one.portraits.count(), two.portraits.count()} == {1}
    answers.confirm(suggestion=row, actor=BEN)
    assert row.state == State.CONFIRMED


def test_the_one_with_a_name_stays_unless_another_is_chosen(collection: Collection) -> None:
    known = person(collection, "Anna", [face(1)], kind="known")
    unknown = person(collection, "unknown_person_1", [face(1, seed=1), face(1, seed=2)])
    scan(collection)
    (row,) = waiting(collection)
    answers.confirm(suggestion=row, actor=ANNA)
    unknown.refresh_from_db()
    assert unknown.merged_into_id == known.pk
    answers.undo(suggestion=row, actor=ANNA)
    stranger = person(collection, "stranger", [face(9)])
    with pytest.raises(NotThisKindError):
        answers.confirm(suggestion=row, actor=ANNA, into=stranger.pk)
    row.refresh_from_db()
    assert row.state == State.OPEN, "nothing of a refused answer stays"
    answers.confirm(suggestion=row, actor=ANNA, into=unknown.pk)
    known.refresh_from_db()
    assert known.merged_into_id == unknown.pk


def test_rejecting_a_pair_notes_two_people_and_undoing_forgets_it(collection: Collection) -> None:
    one, two, row = pair(collection)
    answers.reject(suggestion=row, actor=ANNA)
    (noted,) = Distinct.objects.all()
    assert {noted.first_id, noted.second_id} == {one.pk, two.pk}
    answers.undo(suggestion=row, actor=ANNA)
    assert not Distinct.objects.exists()
    assert waiting(collection) == [row]


def test_naming_a_cluster_makes_one_known_person(collection: Collection) -> None:
    for seed in range(4):
        person(collection, f"unknown_person_{seed}", [face(1, seed=seed)])
    scan(collection)
    (row,) = waiting(collection, "cluster")
    answers.name(suggestion=row, name="Dora", actor=ANNA)
    (left,) = Identity.objects.filter(collection=collection, merged_into=None)
    assert (left.name, left.kind, left.portraits.count()) == ("Dora", "known", 4)
    assert len(row.changes) == 2
    answers.undo(suggestion=row, actor=ANNA)
    names = Identity.objects.filter(collection=collection, merged_into=None).values_list("name", "kind")
    assert sorted(names) == [(f"unknown_person_{seed}", "unknown") for seed in range(4)]


def test_of_two_answers_at_once_one_counts(collection: Collection) -> None:
    for _ in range(5):
        _, _, row = pair(collection)
        outcomes: list[object] = []
        together = threading.Barrier(2)

        def answer(
            call: Callable[..., object], who: Any, row: Suggestion = row, outcomes: list[object] = outcomes,
            together: threading.Barrier = together,
        ) -> None:  # fmt: skip
            try:
                mine = Suggestion.objects.get(pk=row.pk)
                together.wait()
                outcomes.append(call(suggestion=mine, actor=who))
            except ConflictError as error:
                outcomes.append(error)
            finally:
                connection.close()

        threads = [
            threading.Thread(target=answer, args=(answers.confirm, ANNA)),
            threading.Thread(target=answer, args=(answers.reject, BEN)),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        won = [each for each in outcomes if isinstance(each, Suggestion)]
        lost = [each for each in outcomes if isinstance(each, ConflictError)]
        assert (len(won), len(lost)) == (1, 1), outcomes
        row.refresh_from_db()
        merged = Identity.objects.filter(collection=collection).exclude(merged_into=None).exists()
        assert merged == (row.state == State.CONFIRMED)
        assert Distinct.objects.exists() == (row.state == State.REJECTED)
        Identity.objects.filter(collection=collection).delete()
        Suggestion.objects.all().delete()


def test_a_second_answer_is_told_who_was_first(collection: Collection) -> None:
    _, _, row = pair(collection)
    again = Suggestion.objects.get(pk=row.pk)
    answers.reject(suggestion=row, actor=ANNA)
    with pytest.raises(ConflictError, match=r"rejected by 'Anna'.*undo"):
        answers.confirm(suggestion=again, actor=BEN)
    with pytest.raises(ConflictError, match="no answer"):
        answers.undo(suggestion=pair_of_others(collection), actor=BEN)


def pair_of_others(collection: Collection) -> Suggestion:
    person(collection, "three", [face(3)])
    person(collection, "four", [face(3, seed=1)])
    scan(collection)
    (row,) = waiting(collection)
    return row


def test_after_a_merge_the_question_is_asked_of_whom_they_became(collection: Collection) -> None:
    one, two, row = pair(collection)
    third = person(collection, "three", [face(4)])
    change = editing.merge(target=third, sources=[one], actor=BEN)
    row.refresh_from_db()
    assert (row.state, row.details["overtaken"]) == (State.STALE, "people_changed")
    (follower,) = waiting(collection)
    assert frozenset(follower.identities) == ids(two, third)
    with pytest.raises(ConflictError, match="stale"):
        answers.confirm(suggestion=row, actor=ANNA)
    journal.undo(change=change, actor=BEN)
    assert row.pk in {each.pk for each in waiting(collection)}, "with the edit undone it is open again"


def test_what_the_merge_answered_is_asked_no_more(collection: Collection) -> None:
    one, two, row = pair(collection)
    editing.merge(target=one, sources=[two], actor=BEN)
    assert waiting(collection) == []
    row.refresh_from_db()
    assert row.state == State.STALE


def test_an_edit_whose_news_was_lost_is_found_when_the_answer_comes(collection: Collection) -> None:
    one, _two, row = pair(collection)
    editing.delete(identity=one, actor=BEN)
    Suggestion.objects.filter(pk=row.pk).update(state=State.OPEN)  # as if the worker had died before its hook
    with pytest.raises(ConflictError, match="changed meanwhile"):
        answers.confirm(suggestion=row, actor=ANNA)
    assert Suggestion.objects.get(pk=row.pk).state == State.STALE
    assert not Change.objects.filter(action="merge").exists()


def test_said_to_be_two_elsewhere_overtakes_the_question(collection: Collection) -> None:
    one, two, row = pair(collection)
    editing.distinct(first=one, second=two, actor=BEN)
    row.refresh_from_db()
    assert (row.state, row.details["overtaken"]) == (State.STALE, "two_people")


def test_an_answer_undone_in_the_journal_is_asked_again_by_the_next_scan(collection: Collection) -> None:
    one, two, row = pair(collection)
    answers.reject(suggestion=row, actor=ANNA)
    journal.undo(change=Change.objects.get(pk=row.changes[0]), actor=BEN)
    scan(collection, full=True)
    assert asked(collection) == {ids(one, two)}
    assert waiting(collection) == [row]


def test_an_answer_that_something_was_built_on_is_not_undone_by_halves(collection: Collection) -> None:
    one, two, row = pair(collection)
    answers.confirm(suggestion=row, actor=ANNA)
    (left,) = Identity.objects.filter(collection=collection, merged_into=None)
    third = person(collection, "three", [face(5)])
    later = editing.merge(target=third, sources=[left], actor=BEN)
    with pytest.raises(ConflictError):
        answers.undo(suggestion=row, actor=ANNA)
    row.refresh_from_db()
    assert (row.state, len(row.changes)) == (State.CONFIRMED, 1)
    journal.undo(change=later, actor=BEN)
    answers.undo(suggestion=row, actor=ANNA)
    assert Identity.objects.filter(pk__in=[one.pk, two.pk], merged_into=None).count() == 2


def test_a_moved_portrait_overtakes_what_was_asked_about_it(collection: Collection) -> None:
    one = person(collection, "one", [face(1, seed=seed) for seed in range(3)], kind="known")
    stray = add_portrait(one, face(5))
    scan(collection)
    (row,) = waiting(collection, "outlier")
    editing.split(identity=one, actor=BEN, portraits=[stray])
    row.refresh_from_db()
    assert (row.state, row.details["overtaken"]) == (State.STALE, "portraits_changed")


def test_a_portrait_that_was_moved_at_the_very_moment_of_the_answer_is_not_deleted_from_another(
    collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = person(collection, "one", [face(1, seed=seed) for seed in range(3)], kind="known")
    other = person(collection, "other", [face(8)], kind="known")
    stray = add_portrait(one, face(5))
    scan(collection)
    (row,) = waiting(collection, "outlier")
    take = answers._take

    def moved_before(*args: Any) -> None:
        take(*args)
        Portrait.objects.filter(pk=stray.pk).update(identity=other)  # after it was looked whose it is

    monkeypatch.setattr(answers, "_take", moved_before)
    with pytest.raises(ConflictError, match="changed meanwhile"):
        answers.confirm(suggestion=row, actor=ANNA, action="delete")
    stray.refresh_from_db()
    assert (stray.deleted_at, row.changes) == (None, [])


def test_an_outlier_may_be_answered_in_another_way_than_proposed(collection: Collection) -> None:
    one = person(collection, "one", [face(1, seed=seed) for seed in range(3)], kind="known")
    other = person(collection, "other", [face(8)], kind="known")
    stray = add_portrait(one, face(5))
    scan(collection)
    (row,) = waiting(collection, "outlier")
    answers.confirm(suggestion=row, actor=ANNA, action="delete")
    stray.refresh_from_db()
    assert stray.deleted_at is not None
    answers.undo(suggestion=row, actor=ANNA)
    answers.confirm(suggestion=row, actor=ANNA, into=other.pk)
    stray.refresh_from_db()
    assert (stray.deleted_at, stray.identity_id) == (None, other.pk)
    answers.undo(suggestion=row, actor=ANNA)
    with pytest.raises(NotThisKindError):
        answers.name(suggestion=row, name="X", actor=ANNA)
    answers.confirm(suggestion=row, actor=ANNA)
    stray.refresh_from_db()
    assert stray.identity_id not in (one.pk, other.pk)
    assert stray.identity.kind == "unknown"


def test_who_is_erased_is_named_nowhere(collection: Collection) -> None:
    one, two, row = pair(collection)
    answers.reject(suggestion=row, actor=ANNA)
    person(collection, "three", [face(1, seed=5)])
    scan(collection)
    assert Suggestion.objects.filter(identities__contains=[one.pk]).count() == 2
    assert Likeness.objects.exists()
    delete_identity(identity=one)
    assert not Suggestion.objects.filter(identities__contains=[one.pk]).exists()
    left = str(list(Suggestion.objects.values()) + list(Likeness.objects.values()))
    assert str(one.pk) not in left
    assert str(two.pk) in left


def test_questions_go_with_their_collection(collection: Collection) -> None:
    pair(collection)
    collection.delete()
    assert not Suggestion.objects.exists()
    assert not Likeness.objects.exists()
