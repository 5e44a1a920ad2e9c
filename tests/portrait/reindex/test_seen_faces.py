"""Faces that cameras saw, when their collection changes its model: real pictures, the real network."""

import numpy as np
import pytest
from django.db import transaction

from portrait.cameras.models import Frame
from portrait.core.files import atomic_with_files
from portrait.core.models import Scope
from portrait.core.principal import Principal
from portrait.gallery.models import Collection, EmbeddingModel
from portrait.gallery.services.recognition import recognise
from portrait.gallery.vectors import project, stored_vector
from portrait.reindex import gaps
from portrait.reindex.services.filling import Filled, Wanted, fill
from portrait.sightings.models import Detection, DetectionEmbedding, Track
from portrait.sightings.selectors import Scope as Where
from portrait.sightings.services import timeline
from portrait.sightings.services.pictures import prepare_cut_outs, save_cut_outs
from portrait.sightings.services.search import search
from tests.portrait.sightings import scenes, seen

pytestmark = pytest.mark.django_db
ANYBODY = Principal("test", Scope.ADMIN, None, "test")


def by(model: EmbeddingModel, face: Detection) -> np.ndarray:
    return stored_vector(DetectionEmbedding.objects.get(detection=face, model=model))


def activate(collection: Collection, model: EmbeddingModel) -> Collection:
    collection.kept_models.add(collection.active_model, model)
    Collection.objects.filter(pk=collection.pk).update(active_model=model)
    return Collection.objects.select_related("active_model").get(pk=collection.pk)


def test_seen_faces_get_vectors_from_those_of_the_network(collection: Collection, projection: EmbeddingModel) -> None:
    person = seen.enrol(collection, "Eileen", "collins")
    camera = seen.make_camera(collection)
    face = seen.see(seen.make_frame(camera, "collins"), "collins", [person])[0]
    loose = seen.see(seen.make_frame(camera, "hopper", seen.ago(hours=1)), "hopper", [None], tracks=False)[0]
    DetectionEmbedding.objects.filter(detection=loose).update(exemplar=False)
    assert fill(Wanted(collection.pk, projection, other=collection.active_model)) == Filled(made=3, impossible=0)
    for each in (face, loose):
        expected = project(projection, by(collection.active_model, each)[None])[0]
        assert np.allclose(by(projection, each), expected, atol=2e-3)
    marks = DetectionEmbedding.objects.filter(model=projection).values_list("detection", "exemplar")
    assert dict(marks) == {face.pk: True, loose.pk: False}
    assert fill(Wanted(collection.pk, projection)) == Filled(), "twice is once"


def test_seen_faces_are_looked_at_again_as_far_as_pictures_are_kept(
    collection: Collection, projection: EmbeddingModel
) -> None:
    """By the frame's picture; by the sighting's, once the frame's is gone; and those without any are told."""
    person = seen.enrol(collection, "Eileen", "collins")
    camera = seen.make_camera(collection)
    whole, cut, bare = (
        seen.see(seen.make_frame(camera, "collins", seen.ago(hours=hour)), "collins", [person])[0] for hour in (3, 2, 1)
    )
    seen.make_sighting(cut)
    with atomic_with_files():
        save_cut_outs([cut.frame_id], prepare_cut_outs([cut.frame_id]))
    Frame.objects.filter(pk__in=[cut.frame_id, bare.frame_id]).update(picture="")
    before = {face.pk: by(collection.active_model, face) for face in (whole, cut)}
    network = collection.active_model
    assert fill(Wanted(collection.pk, projection, from_pictures=True)) == Filled(made=3, impossible=0)
    for face in (whole, cut):
        distance = np.linalg.norm(by(projection, face) - project(projection, before[face.pk][None])[0])
        assert distance < 0.25, "the same face, for all the pixels that the cut-out lost"
    found = gaps.count_gaps(collection.pk, projection, network, from_pictures=True)
    assert (found.detections, found.lost) == (1, 1)
    assert fill(Wanted(collection.pk, projection)) == Filled(made=1, impossible=0), "its stored vector does"


def test_search_finds_sightings_by_the_small_vectors(collection: Collection, projection: EmbeddingModel) -> None:
    person = seen.enrol(collection, "Eileen", "collins")
    camera = seen.make_camera(collection)
    sighting = seen.seen_once(camera, "collins", person)
    fill(Wanted(collection.pk, projection, other=collection.active_model))
    now = activate(collection, projection)
    found = search(principal=ANYBODY, scope=Where(now), data=seen.pictures()[seen.FLIPPED])
    assert [each.identity for each in found.identities] == [person]
    assert [each.sighting for each in found.sightings] == [sighting]
    (face,) = recognise(collection=now, data=seen.pictures()["collins"])
    assert [each.identity for each in face.candidates] == [person]


def test_tracks_are_linked_named_and_kept_by_both_models(collection: Collection, projection: EmbeddingModel) -> None:
    """The same story as by the network alone; every face has both vectors, and both know the exemplars."""
    story = [(second / 4, [scenes.Visible(0, 100.0 + second)]) for second in range(8)]
    plain = scenes.make_camera(collection, "plain")
    scenes.enrol(collection, 0, "Ada")
    network = collection.active_model
    with transaction.atomic():
        timeline.lock(plain.pk)
        timeline.record(camera=plain, model=network, seen=scenes.seen_frames(plain, story))
    fill(Wanted(collection.pk, projection, other=network))
    activate(collection, projection)
    small = scenes.make_camera(collection, "small")
    with transaction.atomic():
        timeline.lock(small.pk)
        timeline.record(camera=small, model=projection, seen=scenes.seen_frames(small, story), kept=[network])
    told = [scenes.sightings_of(camera) for camera in (plain, small)]
    assert len(told[1]) == 1
    assert [row[:5] for row in told[0]] == [row[:5] for row in told[1]]
    assert told[1][0][5] == pytest.approx(told[0][0][5], abs=0.05)
    assert Track.objects.filter(camera=small).count() == 1
    for model in (network, projection):
        rows = DetectionEmbedding.objects.filter(camera=small, model=model)
        assert (rows.count(), rows.filter(exemplar=True).count()) == (8, 5)
