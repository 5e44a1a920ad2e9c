"""Frames in any order, in any batches, by any number of workers: the same sightings."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from django.db import connection, transaction

from inference.types import QualityReason
from portrait.cameras.models import Camera
from portrait.gallery.models import Collection
from portrait.gallery.services.identities import default_embedding_model
from portrait.sightings import evidence
from portrait.sightings.models import Detection, DetectionEmbedding, Sighting, Track
from portrait.sightings.services import timeline
from portrait.sightings.services.tracks import SeenFrame
from portrait.sightings.windows import spans
from tests.portrait.sightings.scenes import BEGIN, LOOKALIKE, Visible, enrol, make_camera, seen_frames, sightings_of

Scene = list[tuple[float, list[Visible]]]


def record(camera: Camera, seen: list[SeenFrame]) -> None:
    with transaction.atomic():
        timeline.lock(camera.pk)
        timeline.record(camera=camera, model=default_embedding_model(), seen=seen)


def walk(seconds: float, people: list[int], fps: float = 5, x: float = 100) -> Scene:
    return [
        (index / fps, [Visible(person, x + 150 * place) for place, person in enumerate(people)])
        for index in range(int(seconds * fps))
    ]


def untidy_scene(random: np.random.Generator) -> Scene:
    """People who come and go, cross, are missed, and are seen badly, one of them the double of another; pauses about as
    long as the gap."""
    scene: Scene = []
    second = 0.0
    here = {person: bool(random.random() < 0.5) for person in (0, 1, 2, LOOKALIKE)}
    for _ in range(60):
        second += float(random.choice([0.2, 0.2, 0.4, 1.0, 2.5, 9.5, 10.5], p=[0.3, 0.3, 0.15, 0.1, 0.05, 0.05, 0.05]))
        here = {person: there != bool(random.random() < 0.12) for person, there in here.items()}
        visible = []
        for place, (person, there) in enumerate(here.items()):
            if not there or random.random() < 0.25:
                continue
            poor = (QualityReason.BLURRED, QualityReason.TOO_DARK) if random.random() < 0.3 else ()
            x = 60.0 + 180 * place + 60 * float(np.sin(second))
            visible.append(Visible(person, x, poor, score=float(random.random())))
        scene.append((second, visible))
    return scene


@pytest.mark.django_db
@pytest.mark.parametrize("mode", Camera.WindowMode.values)
@pytest.mark.parametrize("seed", range(5))
def test_any_order_gives_the_same_sightings(collection: Collection, seed: int, mode: str) -> None:
    random = np.random.default_rng(seed)
    scene = untidy_scene(random)
    for person in range(2):  # the third stays a stranger
        enrol(collection, person, f"person {person}")
    in_order = make_camera(collection, "in-order", window_mode=mode)
    for each in seen_frames(in_order, scene, seed):
        record(in_order, [each])
    expected = sightings_of(in_order)
    tracks = tracks_of(in_order)
    for attempt in range(3):
        camera = make_camera(collection, f"shuffled-{attempt}", window_mode=mode)
        seen = seen_frames(camera, scene, seed)
        order = [int(index) for index in random.permutation(len(seen))]
        while order:
            size = int(random.integers(1, 9))
            record(camera, [seen[index] for index in order[:size]])
            order = order[size:]
        assert sightings_of(camera) == expected
        assert tracks_of(camera) == tracks
    assert _by_definition(in_order) == sorted(row[:4] for row in expected)


def tracks_of(camera: Camera) -> list[tuple[object, ...]]:
    """All that is said of a track, and which faces search looks at."""
    found = []
    for track in Track.objects.filter(camera=camera).select_related("identity"):
        faces = track.detections.order_by("captured_at", "frame__sequence")
        exemplars = DetectionEmbedding.objects.filter(detection__track=track, exemplar=True)
        found.append(
            (
                tuple(faces.values_list("frame__sequence", flat=True)),
                track.identity.name if track.identity else None,
                None if track.similarity is None else round(track.similarity, 6),
                (track.frames, track.first_seen, track.last_seen, track.stranger_due),
                tuple(sorted(exemplars.values_list("detection__frame__sequence", flat=True))),
            )
        )
        assert set(faces.values_list("identity", flat=True)) == {track.identity_id}
    return sorted(found, key=str)


def _by_definition(camera: Camera) -> list[tuple[str, float, float, int]]:
    """What the rule says of all stored hits at once."""
    found = []
    for identity_id, name in set(
        Detection.objects.filter(camera=camera, identity__isnull=False).values_list("identity_id", "identity__name")
    ):
        rows = Detection.objects.filter(camera=camera, identity_id=identity_id).order_by("captured_at")
        times = [evidence.microseconds(time) for time, _ in rows.values_list("captured_at", "frame").distinct()]
        begin = evidence.microseconds(BEGIN)
        for span in spans(times, evidence.rule_of(camera)):
            found.append((name, (span.first - begin) / 1e6, (span.last - begin) / 1e6, span.hits))
    return sorted(found)


@pytest.mark.django_db
def test_the_scenes_above_are_not_empty(collection: Collection) -> None:
    for person in range(2):
        enrol(collection, person, f"person {person}")
    counts = []
    for seed in range(8):
        camera = make_camera(collection, f"c-{seed}")
        record(camera, seen_frames(camera, untidy_scene(np.random.default_rng(seed)), seed))
        counts.append(Sighting.objects.filter(camera=camera).count())
    assert sum(counts) > 16


@pytest.mark.django_db
def test_a_late_frame_joins_two_sightings_into_the_first(collection: Collection) -> None:
    enrol(collection, 0, "Ada")
    camera = make_camera(collection, "c")
    scene = [(second, [Visible(0, 100)]) for second in (0, 0.5, 1, 1.5, 9, 14, 14.5, 15, 15.5, 25.7)]
    seen = seen_frames(camera, scene)
    record(camera, [each for each in seen if each.frame.sequence not in (4,)])
    first, _ = Sighting.objects.filter(camera=camera).order_by("first_seen")
    record(camera, [seen[4]])
    joined = Sighting.objects.get(camera=camera)
    assert joined.pk == first.pk
    assert sightings_of(camera)[0][1:4] == (0.0, 15.5, 9)


@pytest.mark.django_db
def test_somebody_who_turns_out_to_be_somebody_else_takes_the_history_along(collection: Collection) -> None:
    """The first good faces say nothing for sure; better ones name the track, its first frames included."""
    enrol(collection, 0, "Ada")
    camera = make_camera(collection, "c")
    dark = (QualityReason.TOO_DARK,)
    scene = [(index / 5, [Visible(0, 100, dark if index < 6 else ())]) for index in range(12)]
    seen = seen_frames(camera, scene)
    record(camera, seen[:6])
    assert sightings_of(camera) == []
    record(camera, seen[6:8])
    assert sightings_of(camera)[0][:4] == ("Ada", 0.0, 1.4, 8)


@pytest.mark.django_db
def test_nobody_is_seen_twice_in_a_frame(collection: Collection) -> None:
    """Two faces that both fit one person: the more similar track is that person, the other one is not."""
    enrol(collection, 0, "Ada")
    camera = make_camera(collection, "c")
    seen = seen_frames(camera, walk(4, [0, LOOKALIKE]))
    record(camera, seen)
    assert [row[:4] for row in sightings_of(camera)] == [("Ada", 0.0, 3.8, 20)]
    names = Track.objects.filter(camera=camera).values_list("identity__name", flat=True)
    assert sorted(names, key=str) == ["Ada", None]


@pytest.mark.django_db
def test_search_looks_at_the_best_faces_of_a_track_and_only_at_them(collection: Collection) -> None:
    camera = make_camera(collection, "c")
    scene = [(index / 5, [Visible(0, 100, score=0.5 + index / 100)]) for index in range(20)]
    record(camera, seen_frames(camera, scene))
    exemplars = DetectionEmbedding.objects.filter(camera=camera, exemplar=True)
    assert sorted(exemplars.values_list("detection__frame__sequence", flat=True)) == [15, 16, 17, 18, 19]


@pytest.mark.django_db
def test_a_face_that_flickers_to_somebody_else_for_a_frame_changes_nothing(collection: Collection) -> None:
    enrol(collection, 0, "Ada")
    enrol(collection, 1, "Bob")
    camera = make_camera(collection, "c")
    scene: Scene = walk(4, [0])
    scene[7] = (scene[7][0], [Visible(1, 100, score=0.99)])
    record(camera, seen_frames(camera, scene))
    assert [row[0] for row in sightings_of(camera)] == ["Ada"]


@pytest.mark.django_db(transaction=True)
def test_workers_at_the_same_time_open_one_sighting(collection: Collection) -> None:
    enrol(collection, 0, "Ada")
    camera = make_camera(collection, "c")
    seen = seen_frames(camera, walk(12, [0]))

    def work(part: int) -> None:
        try:
            for each in seen[part::4]:
                record(camera, [each])
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert [row[:4] for row in sightings_of(camera)] == [("Ada", 0.0, 11.8, 60)]
