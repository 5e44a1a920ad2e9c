"""Any edits of people and of what was seen of them, whenever their jobs run, undone in reverse: all is as it was."""

import uuid
from typing import Any

import pytest
from django.db import transaction
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from portrait.core.errors import PortraitError
from portrait.gallery.models import Change, Collection, Identity, Portrait
from portrait.gallery.services import editing, journal
from portrait.gallery.services.identities import create_collection
from portrait.sightings.models import Detection, Sighting, Track, Watch
from portrait.sightings.services import history
from tests.portrait.gallery.people import ACTOR
from tests.portrait.gallery.test_journal_property import consistent, pick
from tests.portrait.sightings.past import record, run_jobs, snapshot
from tests.portrait.sightings.scenes import Visible, enrol, make_camera, seen_frames

KINDS = ["merge", "name", "split", "reject portrait", "move sighting", "move track", "reject face", "delete", "undo"]
Step = tuple[str, int, int, int, bool]
steps = st.lists(
    st.tuples(st.sampled_from(KINDS), *(st.integers(0, 7) for _ in range(3)), st.booleans()), min_size=2, max_size=7
)


def world() -> Collection:
    """Four people, one of them unknown and one watched, and somebody not enrolled, on two cameras."""
    collection = create_collection(name=f"c-{uuid.uuid4().hex[:10]}")
    people = [enrol(collection, person, f"person {person}") for person in range(4)]
    Identity.objects.filter(pk=people[3].pk).update(kind=Identity.Kind.UNKNOWN)
    Watch.objects.create(collection=collection, name="w", identity=people[1])
    for number in range(2):
        camera = make_camera(collection, f"door {number}")
        visits = [(person, 30.0 * person + 3 * number) for person in range(5)]
        scene = [(begin + index / 5, [Visible(person, 100)]) for person, begin in visits for index in range(5)]
        record(camera, seen_frames(camera, scene))
    return collection


def act(collection: Collection, step: Step) -> None:
    kind, first, second, third, _ = step
    people = Identity.objects.filter(collection=collection)
    one, other = pick(people, first), pick(people, second)
    sightings = Sighting.objects.filter(camera__collection=collection)
    to = other if third % 3 else None
    try:
        match kind:
            case "merge":
                editing.merge(target=one, sources=[other], actor=ACTOR)
            case "name":
                editing.update(identity=one, actor=ACTOR, name=f"name {second}")
            case "split":
                history.split(identity=one, actor=ACTOR, sightings=list(sightings.filter(identity=one))[:1], to=to)
            case "reject portrait":
                portrait: Any = pick(Portrait.objects.filter(identity__in=people), third)
                editing.reject(identity=portrait.identity, actor=ACTOR, portrait=portrait)
            case "move sighting":
                history.reassign(sightings=[pick(sightings, first)], to=to, actor=ACTOR)
            case "move track":
                track = pick(Track.objects.filter(camera__collection=collection), first)
                history.reassign(tracks=[track], to=to, actor=ACTOR)
            case "reject face":
                face = pick(Detection.objects.filter(camera__collection=collection).exclude(identity=None), 7 * first)
                history.reject_face(detection=face, identity=face.identity, actor=ACTOR)
            case "delete":
                editing.delete(identity=one, actor=ACTOR)
            case "undo":
                journal.undo(change=pick(Change.objects.filter(collection=collection), first), actor=ACTOR)
    except (PortraitError, ZeroDivisionError):  # zero: there is none to choose
        pass


@pytest.mark.django_db
@settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],  # to make an example smaller takes minutes on a database
)
@given(steps)
def test_undoing_everything_restores_the_history_too(taken: list[Step]) -> None:
    with transaction.atomic():  # taken back below: worlds do not pile up
        collection = world()
        before = snapshot(collection)
        for step in taken:
            act(collection, step)
            consistent(collection)
            if step[-1]:
                run_jobs()
        for change in list(Change.objects.filter(collection=collection).order_by("-pk")):
            journal.undo(change=journal.latest_of(change), actor=ACTOR)
            if taken[0][-1]:
                run_jobs()
        run_jobs()
        assert snapshot(collection) == before
        transaction.set_rollback(True)
