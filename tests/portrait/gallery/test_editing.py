"""Edits of people, and how each is undone and done again."""

import uuid
from collections.abc import Callable
from types import SimpleNamespace
from typing import cast

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from portrait.core.errors import ConflictError, NotFoundError
from portrait.gallery.models import Change, Collection, Distinct, Identity, Portrait, PortraitEmbedding, Rejection
from portrait.gallery.selectors import nearest_identities
from portrait.gallery.services import editing, identities, journal
from portrait.gallery.services.enrolment import store_photo
from portrait.gallery.services.photos import PreparedPhoto
from portrait.upkeep.services import consistency
from tests.portrait.gallery.people import ACTOR, add, add_portrait, portraits_of, snapshot, vector_of

pytestmark = pytest.mark.django_db
Act = Callable[[Identity, Identity], Change | None]


def _first(identity: Identity) -> Portrait:
    return portraits_of(identity)[0]


EDITS: dict[str, Act] = {
    "rename": lambda one, other: editing.update(identity=one, actor=ACTOR, name="New", metadata={"a": [1, None]}),
    "hide": lambda one, other: editing.update(identity=one, actor=ACTOR, hidden=True),
    "consent": lambda one, other: editing.update(identity=one, actor=ACTOR, consent="signed", external_id="x-1"),
    "merge": lambda one, other: editing.merge(target=one, sources=[other], actor=ACTOR),
    "split": lambda one, other: editing.split(identity=one, actor=ACTOR, portraits=[_first(one)]),
    "split off by name": lambda one, other: editing.split(
        identity=one, actor=ACTOR, portraits=[_first(one)], name="Somebody"
    ),
    "move": lambda one, other: editing.move(identity=one, actor=ACTOR, portraits=[_first(one)], to=other),
    "reject": lambda one, other: editing.reject(identity=one, actor=ACTOR, portrait=_first(one)),
    "reject to": lambda one, other: editing.reject(identity=one, actor=ACTOR, portrait=_first(one), to=other),
    "reject another's": lambda one, other: editing.reject(identity=one, actor=ACTOR, portrait=_first(other)),
    "distinct": lambda one, other: editing.distinct(first=one, second=other, actor=ACTOR),
    "delete": lambda one, other: editing.delete(identity=one, actor=ACTOR),
    "delete a portrait": lambda one, other: editing.delete_portrait(portrait=_first(one), actor=ACTOR),
}


@pytest.mark.parametrize("name", EDITS)
def test_every_edit_is_undone_and_done_again(collection: Collection, name: str) -> None:
    one, other = add(collection, 1, external_id="one"), add(collection, 2, external_id="other")
    before = snapshot(collection)
    change = EDITS[name](one, other)
    assert change is not None
    after = snapshot(collection)
    assert after != before
    undone = journal.undo(change=change, actor=ACTOR)
    assert snapshot(collection) == before
    again = journal.undo(change=undone, actor=ACTOR)
    assert snapshot(collection) == after
    journal.undo(change=again, actor=ACTOR)
    assert snapshot(collection) == before
    told = list(Change.objects.order_by("pk").values_list("action", "actor", "undoes"))
    assert told[0] == (change.action, "a test", None)
    assert [row[0] for row in told[1:]] == ["undo", "redo", "undo"]


def test_a_change_is_undone_once(collection: Collection) -> None:
    one = add(collection, 1)
    change = editing.update(identity=one, actor=ACTOR, hidden=True)
    assert change is not None
    undone = journal.undo(change=change, actor=ACTOR)
    with pytest.raises(ConflictError, match=f"#{undone.pk}"):
        journal.undo(change=change, actor=ACTOR)


def test_what_came_later_has_to_be_undone_first(collection: Collection) -> None:
    one, other, third = (add(collection, person) for person in (1, 2, 3))
    first = editing.merge(target=other, sources=[one], actor=ACTOR)
    second = editing.merge(target=third, sources=[other], actor=ACTOR)
    before = snapshot(collection)
    with pytest.raises(ConflictError) as caught:
        journal.undo(change=first, actor=ACTOR)
    assert caught.value.details == {"change": second.pk}
    assert f"#{second.pk}" in caught.value.message
    assert "merge by a test" in caught.value.message
    assert snapshot(collection) == before
    journal.undo(change=second, actor=ACTOR)
    journal.undo(change=first, actor=ACTOR)
    assert {row.merged_into_id for row in Identity.objects.all()} == {None}


def test_nothing_changed_is_no_change(collection: Collection) -> None:
    one = add(collection, 1)
    assert editing.update(identity=one, actor=ACTOR, name=one.name) is None
    assert not Change.objects.exists()


def test_merging_moves_what_is_found(collection: Collection) -> None:
    one, other = add(collection, 1), add(collection, 2, kind="unknown", name="unknown_person_1")
    editing.merge(target=one, sources=[other], actor=ACTOR)
    (found,) = nearest_identities(collection, vector_of(2, 7))
    assert found.identity == one
    other.refresh_from_db()
    assert other.merged_into == one


def test_an_external_id_of_somebody_merged_finds_whom_they_are(collection: Collection) -> None:
    one, other, third = (add(collection, person, external_id=f"e{person}") for person in (1, 2, 3))
    editing.merge(target=other, sources=[one], actor=ACTOR)
    editing.merge(target=third, sources=[other], actor=ACTOR)
    found, created = identities.get_or_create_identity(collection=collection, name="x", external_id="e1")
    assert (found, created) == (third, False)


def test_a_picture_that_both_have_stays_once(collection: Collection) -> None:
    one, other = add(collection, 1), add(collection, 2)
    add_portrait(one, vector_of(1, 5), sha256="a" * 64)
    twin = add_portrait(other, vector_of(1, 5), sha256="a" * 64)
    before = snapshot(collection)
    change = editing.merge(target=one, sources=[other], actor=ACTOR)
    assert Portrait.objects.filter(identity=one).count() == 5
    assert not twin.embeddings.get().live
    journal.undo(change=change, actor=ACTOR)
    assert snapshot(collection) == before


def test_an_unknown_person_takes_the_name_of_the_known_one(collection: Collection) -> None:
    unknown = add(collection, 1, kind="unknown", name="unknown_person_7")
    ada = add(collection, 2, name="Ada", metadata={"team": "x"})
    change = editing.merge(target=unknown, sources=[ada], actor=ACTOR)
    assert (unknown.name, unknown.kind, unknown.metadata) == ("Ada", "known", {"team": "x"})
    journal.undo(change=change, actor=ACTOR)
    unknown.refresh_from_db()
    assert (unknown.name, unknown.kind, unknown.metadata) == ("unknown_person_7", "unknown", {})


def test_an_unknown_person_gets_no_two_names(collection: Collection) -> None:
    unknown = add(collection, 1, kind="unknown")
    with pytest.raises(ConflictError, match="several names"):
        editing.merge(
            target=unknown, sources=[add(collection, 2, name="Ada"), add(collection, 3, name="Eve")], actor=ACTOR
        )
    assert not Change.objects.exists()


def test_merging_is_refused_where_it_makes_no_sense(collection: Collection, other_collection: Collection) -> None:
    one, other, elsewhere = add(collection, 1), add(collection, 2), add(other_collection, 3)
    for sources in ([], [one], [other, one], [elsewhere]):
        with pytest.raises(ConflictError):
            editing.merge(target=one, sources=sources, actor=ACTOR)
    editing.delete(identity=other, actor=ACTOR)
    with pytest.raises(ConflictError, match="restore"):
        editing.merge(target=one, sources=[other], actor=ACTOR)
    with pytest.raises(ConflictError, match="restore"):
        editing.merge(target=other, sources=[one], actor=ACTOR)
    third = add(collection, 4)
    editing.merge(target=one, sources=[third], actor=ACTOR)
    with pytest.raises(ConflictError, match="merged into"):
        editing.merge(target=one, sources=[third], actor=ACTOR)
    with pytest.raises(ConflictError, match="merged into"):
        editing.update(identity=third, actor=ACTOR, name="x")


def test_merging_overrules_what_was_said_to_be_two(collection: Collection) -> None:
    one, other, third = (add(collection, person) for person in (1, 2, 3))
    editing.distinct(first=one, second=other, actor=ACTOR)
    editing.distinct(first=other, second=third, actor=ACTOR)
    editing.reject(identity=one, actor=ACTOR, portrait=_first(other))
    editing.merge(target=one, sources=[other], actor=ACTOR)
    assert not Rejection.objects.filter(identity=one).exists()
    pairs = {frozenset(pair) for pair in Distinct.objects.values_list("first", "second")}
    assert frozenset({one.pk, third.pk}) in pairs
    assert frozenset({one.pk, other.pk}) not in pairs


def test_splitting_off_everything_is_refused(collection: Collection) -> None:
    one = add(collection, 1)
    with pytest.raises(ConflictError, match="No portrait would be left"):
        editing.split(identity=one, actor=ACTOR, portraits=portraits_of(one))


def test_only_ones_own_portraits_are_split_off(collection: Collection) -> None:
    one, other = add(collection, 1), add(collection, 2)
    with pytest.raises(ConflictError, match="not this person's"):
        editing.split(identity=one, actor=ACTOR, portraits=[_first(other)])
    gone = _first(one)
    Portrait.objects.filter(pk=gone.pk).delete()
    with pytest.raises(NotFoundError):
        editing.split(identity=one, actor=ACTOR, portraits=[gone])


def test_a_split_is_not_undone_while_the_new_person_has_more(collection: Collection) -> None:
    one = add(collection, 1)
    change = editing.split(identity=one, actor=ACTOR, portraits=[_first(one)])
    made = Identity.objects.get(pk=change.details["to"])
    late = add_portrait(made, vector_of(1, 9))
    with pytest.raises(ConflictError, match="1 portraits since"):
        journal.undo(change=change, actor=ACTOR)
    late.delete()
    renamed = editing.update(identity=made, actor=ACTOR, name="Eve")
    with pytest.raises(ConflictError, match=f"#{renamed.pk}" if renamed else ""):
        journal.undo(change=change, actor=ACTOR)


def test_whoever_is_deleted_is_not_recognised_until_restored(collection: Collection) -> None:
    one = add(collection, 1, external_id="e1")
    editing.delete(identity=one, actor=ACTOR)
    assert nearest_identities(collection, vector_of(1)) == []
    assert one.external_id is None
    with pytest.raises(ConflictError, match="was deleted"):
        editing.delete(identity=one, actor=ACTOR)
    editing.restore(identity=one, actor=ACTOR)
    assert nearest_identities(collection, vector_of(1))[0].identity == one
    assert one.external_id == "e1"
    with pytest.raises(ConflictError, match="not deleted"):
        editing.restore(identity=one, actor=ACTOR)


def test_a_deleted_persons_id_is_free_and_then_not_given_back(collection: Collection) -> None:
    one = add(collection, 1, external_id="e1")
    editing.delete(identity=one, actor=ACTOR)
    _, created = identities.get_or_create_identity(collection=collection, name="New", external_id="e1")
    assert created
    with pytest.raises(ConflictError, match="external_id"):
        editing.restore(identity=one, actor=ACTOR)


def test_nobody_is_restored_after_the_time_of_grace(collection: Collection) -> None:
    one = add(collection, 1)
    change = editing.delete(identity=one, actor=ACTOR)
    Identity.objects.filter(pk=one.pk).update(deleted_at=journal.grace_began())
    with pytest.raises(ConflictError, match="grace"):
        editing.restore(identity=one, actor=ACTOR)
    assert identities.purge_deleted() == 1
    assert identities.purge_deleted() == 0
    assert not Identity.objects.exists()
    change.refresh_from_db()
    with pytest.raises(ConflictError, match="erased"):
        journal.undo(change=change, actor=ACTOR)


def test_a_deleted_portrait_is_not_compared_with(collection: Collection) -> None:
    one = add(collection, 1, faces=1)
    portrait = _first(one)
    change = editing.delete_portrait(portrait=portrait, actor=ACTOR)
    assert nearest_identities(collection, vector_of(1)) == []
    editing.restore_portrait(portrait=portrait, actor=ACTOR)
    assert len(nearest_identities(collection, vector_of(1))) == 1
    again = editing.delete_portrait(portrait=portrait, actor=ACTOR)
    assert again.pk > change.pk
    Portrait.objects.update(deleted_at=journal.grace_began())
    with pytest.raises(ConflictError, match="grace"):
        editing.restore_portrait(portrait=portrait, actor=ACTOR)
    assert identities.purge_deleted() == 1
    assert not Portrait.objects.exists()


def test_the_journal_forgets_whoever_is_erased(collection: Collection) -> None:
    one, other = add(collection, 1, name="Ada Lovelace", external_id="ada-1"), add(collection, 2)
    editing.update(identity=one, actor=ACTOR, name="Ada King")
    merged = editing.merge(target=other, sources=[one], actor=ACTOR)
    hidden = editing.update(identity=other, actor=ACTOR, hidden=True)
    identities.delete_identity(identity=one)
    told = str(list(Change.objects.values()))
    for trace in ("Ada", "ada-1", str(one.pk)):
        assert trace not in told
    merged.refresh_from_db()
    assert (merged.action, merged.actor, merged.details) == ("merge", "a test", {"erased": True})
    with pytest.raises(ConflictError, match="erased"):
        journal.undo(change=merged, actor=ACTOR)
    assert hidden is not None
    journal.undo(change=hidden, actor=ACTOR)


def test_whoever_was_merged_goes_with_the_person(collection: Collection) -> None:
    one, other, third = (add(collection, person) for person in (1, 2, 3))
    editing.merge(target=other, sources=[one], actor=ACTOR)
    editing.merge(target=third, sources=[other], actor=ACTOR)
    identities.delete_identity(identity=third)
    assert not Identity.objects.exists()
    assert not Portrait.objects.exists()


def test_a_rejected_face_and_faces_like_it_are_nobodys(collection: Collection) -> None:
    """From then on, and no query more where nothing was rejected."""
    one = add(collection, 1)
    wrong = add_portrait(one, vector_of(2))
    assert [each.identity for each in nearest_identities(collection, vector_of(2, 3))] == [one]
    change = editing.reject(identity=one, actor=ACTOR, portrait=wrong)
    stranger = Identity.objects.get(pk=change.details["to"])
    assert (stranger.kind, stranger.name) == ("unknown", "unknown_person_1")
    assert [each.identity for each in nearest_identities(collection, vector_of(2, 3))] == [stranger]
    assert [each.identity for each in nearest_identities(collection, vector_of(1, 3))] == [one]


def test_who_looks_like_two_is_the_one_of_whom_nobody_said_no(collection: Collection) -> None:
    """The twin is nearer to her sister's portraits than anybody else, but for the face that was said not to be hers."""
    one = add(collection, 1)
    twin = (vector_of(1, 0) + 0.2 * vector_of(3)).astype("float32")
    editing.reject(identity=one, actor=ACTOR, portrait=add_portrait(one, twin))
    Portrait.objects.filter(rejections__identity=one).delete()
    assert nearest_identities(collection, twin)[0].identity == one
    wrong = add_portrait(one, twin)
    editing.reject(identity=one, actor=ACTOR, portrait=wrong)
    editing.delete_portrait(portrait=wrong, actor=ACTOR)
    probe = (vector_of(1, 0) + 0.22 * vector_of(3)).astype("float32")
    assert nearest_identities(collection, probe, top_k=5) == []
    assert nearest_identities(collection, vector_of(1, 0))[0].identity == one


def test_a_deleted_picture_that_is_sent_again_is_back(collection: Collection) -> None:
    one = add(collection, 1, faces=1)
    (portrait,) = portraits_of(one)
    editing.delete_portrait(portrait=portrait, actor=ACTOR)
    photo = cast(PreparedPhoto, SimpleNamespace(sha256=portrait.sha256))
    assert store_photo(identity=one, photo=photo).status == "duplicate"
    assert portraits_of(one) == [portrait]
    assert nearest_identities(collection, vector_of(1))[0].identity == one


def test_restoring_one_portrait_undoes_no_split(collection: Collection) -> None:
    """The receiver had one of the pictures: it left its wrong owner as deleted, and comes back alone."""
    one, other = add(collection, 1, faces=3), add(collection, 2)
    twice = add_portrait(one, vector_of(1, 9), sha256="a" * 64)
    add_portrait(other, vector_of(1, 9), sha256="a" * 64)
    moved = portraits_of(one)[0] if portraits_of(one)[0] != twice else portraits_of(one)[1]
    editing.split(identity=one, actor=ACTOR, portraits=[twice, moved], to=other)
    twice.refresh_from_db()
    assert twice.deleted_at is not None
    before = snapshot(collection)
    restored = editing.restore_portrait(portrait=twice, actor=ACTOR)
    assert restored.action == "restore_portrait"
    moved.refresh_from_db()
    assert moved.identity_id == other.pk
    twice.refresh_from_db()
    assert (twice.identity_id, twice.deleted_at) == (one.pk, None)
    assert twice.embeddings.get().live
    journal.undo(change=restored, actor=ACTOR)
    assert snapshot(collection) == before


def test_a_merged_person_is_no_answer_whatever_their_vectors_say(collection: Collection) -> None:
    one, other = add(collection, 1), add(collection, 2)
    add_portrait(one, vector_of(1, 9), sha256="a" * 64)
    add_portrait(other, vector_of(3, 9), sha256="a" * 64)  # stays with the source, as the target has this picture
    editing.merge(target=one, sources=[other], actor=ACTOR)
    assert consistency.check(still_here=lambda: None, repair=True) == {}
    assert nearest_identities(collection, vector_of(3, 9)) == []
    PortraitEmbedding.objects.update(live=True)
    assert nearest_identities(collection, vector_of(3, 9)) == []


def test_to_find_a_deletion_the_whole_journal_is_not_read(collection: Collection) -> None:
    """Its people have an index (GIN); what an edit did has none."""
    one = add(collection, 1)
    Change.objects.bulk_create(
        [Change(collection=collection, action="hide", actor="x", identities=[uuid.uuid4()]) for _ in range(3000)], 500
    )
    editing.delete(identity=one, actor=ACTOR)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE gallery_change")
    with CaptureQueriesContext(connection) as queries:
        editing.restore(identity=one, actor=ACTOR)
    (statement,) = [each["sql"] for each in queries if '"steps" @>' in each["sql"] and "deleted_at" in each["sql"]]
    with connection.cursor() as cursor:
        cursor.execute("EXPLAIN " + statement.replace("%", "%%"))
        plan = "\n".join(row[0] for row in cursor.fetchall())
    assert "change_by_identity" in plan, plan
    assert "Seq Scan" not in plan


def test_a_portrait_comes_back_whose_owner_was_merged_meanwhile(collection: Collection) -> None:
    one, other = add(collection, 1), add(collection, 2)
    portrait = _first(one)
    editing.delete_portrait(portrait=portrait, actor=ACTOR)
    Portrait.objects.filter(pk=portrait.pk).update(identity=other)  # as a merge leaves it
    portrait.refresh_from_db()
    assert editing._deletion(portrait, "portrait") is not None
