"""Watched people: an alert at the first hit, one a sighting, whatever the order."""

from typing import Any

import numpy as np
import pytest

from portrait.cameras.models import Camera
from portrait.gallery.models import Collection, Identity
from portrait.sightings.models import Alert, Detection, Sighting, Track, Watch
from portrait.sightings.signals import alert_raised
from tests.portrait.sightings.scenes import Visible, enrol, make_camera, seen_frames
from tests.portrait.sightings.test_timeline import record, walk

pytestmark = pytest.mark.django_db


@pytest.fixture
def ada(collection: Collection) -> Identity:
    return enrol(collection, 0, "Ada")


@pytest.fixture
def camera(collection: Collection) -> Camera:
    return make_camera(collection, "door")


@pytest.fixture
def watch(collection: Collection, ada: Identity) -> Watch:
    return Watch.objects.create(collection=collection, name="look out", identity=ada)


def test_an_alert_is_made_at_the_first_hit_and_belongs_to_the_sighting_that_follows(
    camera: Camera, watch: Watch
) -> None:
    seen = seen_frames(camera, walk(4, [0]))
    record(camera, seen[:1])
    alert = Alert.objects.get()
    assert (alert.sighting, alert.captured_at) == (None, seen[0].frame.captured_at)
    assert not Sighting.objects.exists()
    for each in seen[1:]:
        record(camera, [each])
    alert.refresh_from_db()
    assert Alert.objects.count() == 1
    assert alert.sighting == Sighting.objects.get()


def test_each_sighting_has_its_own(camera: Camera, watch: Watch) -> None:
    scene = walk(2, [0]) + [(second + 30, people) for second, people in walk(2, [0])]
    for each in seen_frames(camera, scene):
        record(camera, [each])
    alerted = Alert.objects.values_list("sighting", flat=True)
    assert sorted(alerted) == sorted(Sighting.objects.values_list("id", flat=True))
    assert Alert.objects.count() == 2


@pytest.mark.parametrize("seed", range(5))
def test_frames_out_of_order_make_one_alert_a_sighting(camera: Camera, watch: Watch, seed: int) -> None:
    seen = seen_frames(camera, walk(6, [0]))
    for index in np.random.default_rng(seed).permutation(len(seen)):
        record(camera, [seen[int(index)]])
    assert Alert.objects.get().sighting == Sighting.objects.get()


@pytest.mark.parametrize("backwards", [False, True])
def test_a_track_that_becomes_more_similar_is_an_alert_as_soon_as_it_is_similar_enough(
    collection: Collection, camera: Camera, ada: Identity, backwards: bool
) -> None:
    """The best faces come last, or first."""
    scene = [(index / 5, [Visible(0, 100, score=0.1 + index / 50)]) for index in range(12)]
    seen = seen_frames(camera, scene)
    record(camera, seen[:3])
    first = Track.objects.get().similarity
    Detection.objects.all().delete()
    Track.objects.all().delete()
    assert first is not None
    watch = Watch.objects.create(collection=collection, name="sure", identity=ada, min_similarity=first + 1e-6)
    other = make_camera(collection, "other")
    for each in reversed(seen_frames(other, scene)) if backwards else seen_frames(other, scene):
        record(other, [each])
    similarity = Track.objects.get().similarity
    assert similarity is not None
    assert Alert.objects.filter(watch=watch).count() == (similarity >= watch.min_similarity)


def test_a_repeated_stray_hit_is_no_new_alert(camera: Camera, watch: Watch) -> None:
    scene = [(second, [Visible(0, 100)]) for second in (0, 8, 16, 24)]
    for each in seen_frames(camera, scene):
        record(camera, [each])
    assert Alert.objects.count() == 1
    assert not Sighting.objects.exists()


def test_only_the_watched_on_the_watched_cameras(
    collection: Collection, other_collection: Collection, camera: Camera, ada: Identity
) -> None:
    yard = make_camera(collection, "yard")
    bob = enrol(collection, 1, "Bob")
    in_yard = Watch.objects.create(collection=collection, name="Bob in the yard", identity=bob, all_cameras=False)
    in_yard.cameras.add(yard)
    Watch.objects.create(collection=collection, name="off", identity=ada, enabled=False)
    Watch.objects.create(collection=collection, name="very sure", identity=ada, min_similarity=1.0)
    record(camera, seen_frames(camera, walk(4, [0, 1])))
    assert not Alert.objects.exists()
    record(yard, seen_frames(yard, walk(4, [0, 1])))
    assert [alert.watch.name for alert in Alert.objects.all()] == ["Bob in the yard"]


def test_the_door_to_the_outside_opens_after_the_commit(
    camera: Camera, watch: Watch, django_capture_on_commit_callbacks: Any
) -> None:
    heard: list[int] = []

    def listen(sender: object, alert_id: int, **kwargs: object) -> None:
        heard.append(alert_id)

    alert_raised.connect(listen)
    try:
        with django_capture_on_commit_callbacks(execute=True):
            record(camera, seen_frames(camera, walk(4, [0])))
            assert heard == []
        assert heard == [Alert.objects.get().pk]
    finally:
        alert_raised.disconnect(listen)
