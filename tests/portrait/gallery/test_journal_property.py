"""Any edits in any order, undone in reverse, leave everything as it was; undoing the undoing does all of it again."""

import uuid
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from portrait.core.errors import PortraitError
from portrait.gallery.models import Change, Collection, Identity, Portrait
from portrait.gallery.services import editing, journal
from portrait.gallery.services.identities import create_collection
from tests.portrait.gallery.people import ACTOR, add, add_portrait, snapshot, vector_of

KINDS = [
    "rename",
    "hide",
    "edit",
    "merge",
    "merge",
    "split",
    "move",
    "reject",
    "distinct",
    "delete",
    "restore",
    "delete portrait",
    "restore portrait",
    "undo",
]
Step = tuple[str, int, int, int]
steps = st.lists(st.tuples(st.sampled_from(KINDS), *(st.integers(0, 11) for _ in range(3))), min_size=1, max_size=12)


def world() -> Collection:
    """Six people, known and unknown; two have the same picture."""
    collection = create_collection(name=f"c-{uuid.uuid4().hex[:10]}")
    for person in range(6):
        unknown = {"kind": "unknown", "name": f"unknown_person_{person}"} if person % 3 == 2 else {}
        identity = add(collection, person, external_id=f"e{person}" if person % 2 else None, **unknown)
        if person < 3:
            add_portrait(identity, vector_of(person, 9), sha256="a" * 64)
    return collection


def pick(rows: Any, number: int) -> Any:
    found = list(rows.order_by("pk"))
    return found[number % len(found)]


def act(collection: Collection, step: Step) -> None:
    """One edit; what makes no sense is refused, and changes nothing."""
    kind, first, second, third = step
    people = Identity.objects.filter(collection=collection)
    one, other = pick(people, first), pick(people, second)
    portrait = pick(Portrait.objects.filter(identity__in=people), third)
    owner = portrait.identity
    try:
        match kind:
            case "rename":
                editing.update(identity=one, actor=ACTOR, name=f"name {second}")
            case "hide":
                editing.update(identity=one, actor=ACTOR, hidden=not one.hidden)
            case "edit":
                editing.update(identity=one, actor=ACTOR, metadata={"n": [second, None]}, external_id=f"e{third}")
            case "merge":
                editing.merge(target=one, sources=[other, pick(people, third)][: 1 + third % 2], actor=ACTOR)
            case "split":
                name = f"split {first}" if first % 2 else None
                editing.split(identity=owner, actor=ACTOR, portraits=[portrait], name=name)
            case "move":
                editing.move(identity=owner, actor=ACTOR, portraits=[portrait], to=one)
            case "reject":
                editing.reject(
                    identity=owner if first % 2 else one,
                    actor=ACTOR,
                    portrait=portrait,
                    to=other if second % 2 else None,
                )
            case "distinct":
                editing.distinct(first=one, second=other, actor=ACTOR)
            case "delete":
                editing.delete(identity=one, actor=ACTOR)
            case "restore":
                editing.restore(identity=one, actor=ACTOR)
            case "delete portrait":
                editing.delete_portrait(portrait=portrait, actor=ACTOR)
            case "restore portrait":
                editing.restore_portrait(portrait=portrait, actor=ACTOR)
            case "undo":
                journal.undo(change=pick(Change.objects.filter(collection=collection), first), actor=ACTOR)
    except (PortraitError, ZeroDivisionError):  # zero: there is no change yet
        pass


def undo_all(collection: Collection, *, beyond: int = 0) -> None:
    """All that was done, undoings too, the newest first."""
    for change in list(Change.objects.filter(collection=collection, pk__gt=beyond).order_by("-pk")):
        journal.undo(change=journal.latest_of(change), actor=ACTOR)


def consistent(collection: Collection) -> None:
    """What vectors repeat is what the rows say."""
    for portrait in Portrait.objects.filter(identity__collection=collection).select_related("identity"):
        who = portrait.identity
        live = portrait.deleted_at is None and who.deleted_at is None and who.merged_into is None
        for vector in portrait.embeddings.all():
            assert (vector.identity_id, vector.live) == (who.pk, live)


@pytest.mark.django_db
@settings(
    max_examples=20, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.explicit, Phase.generate]
)
@given(steps)
def test_undoing_everything_restores_everything(taken: list[Step]) -> None:
    collection = world()
    before = snapshot(collection)
    for step in taken:
        was = snapshot(collection), Change.objects.filter(collection=collection).count()
        act(collection, step)
        consistent(collection)
        if Change.objects.filter(collection=collection).count() == was[1]:
            assert snapshot(collection) == was[0]  # a refused edit leaves nothing half done
    undo_all(collection)
    consistent(collection)
    assert snapshot(collection) == before


@pytest.mark.django_db
@settings(
    max_examples=8, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.explicit, Phase.generate]
)
@given(steps)
def test_doing_everything_again_ends_where_it_ended(taken: list[Step]) -> None:
    collection = world()
    for step in taken:
        act(collection, step)
    after = snapshot(collection)
    last = Change.objects.filter(collection=collection).order_by("pk").last()
    undo_all(collection)
    undo_all(collection, beyond=last.pk if last else 0)
    assert snapshot(collection) == after
