"""Strangers: kept once, found again, named with their whole history, never made of a bad picture."""

from collections.abc import Callable
from datetime import timedelta

import cv2
import numpy as np
import pytest
from rest_framework.test import APIClient

from inference.codec import decode, encode_jpeg
from inference.types import Image
from portrait.cameras.incoming import IncomingFrame
from portrait.cameras.models import Camera, Frame, FrameState
from portrait.cameras.services.accept import accept_frames
from portrait.demo.photos import PhotoSet
from portrait.gallery.models import Collection, Identity, Portrait
from portrait.sightings.models import Sighting, Stranger, Track
from portrait.sightings.services import processing, strangers
from tests.portrait.sightings.scenes import BEGIN, make_camera

pytestmark = pytest.mark.django_db(transaction=True)


def moving(photo: Image, frames: int, alter: Callable[[Image], Image] = lambda image: image) -> list[bytes]:
    """The photo on a larger canvas, drifting: one JPEG a frame."""
    scale = 360 / photo.shape[0]
    small = cv2.resize(photo, (round(photo.shape[1] * scale), 360), interpolation=cv2.INTER_AREA)
    pictures = []
    for index in range(frames):
        canvas = np.full((400, 640, 3), 90, np.uint8)
        left = 20 + 4 * index
        canvas[20 : 20 + small.shape[0], left : left + small.shape[1]] = small
        pictures.append(encode_jpeg(alter(canvas)))
    return pictures


def play(camera: Camera, pictures: list[bytes], *, at: float = 0.0, fps: float = 5.0) -> None:
    first = Frame.objects.filter(camera=camera).count()
    accept_frames(
        camera=camera,
        incoming=[
            IncomingFrame(data, BEGIN + timedelta(seconds=at + index / fps), first + index)
            for index, data in enumerate(pictures)
        ],
    )
    while (waiting := Frame.objects.filter(state=FrameState.WAITING).order_by("id").first()) is not None:
        processing.process(frame_ids=[waiting.pk])


@pytest.fixture
def astronaut(photos: PhotoSet) -> Image:
    return decode(photos.people["Eileen Collins"][0].data)


def names_seen(camera: Camera) -> list[str]:
    return [each.identity.name for each in Sighting.objects.filter(camera=camera).order_by("first_seen")]


def test_a_steady_stranger_is_kept_once_and_known_again_on_another_camera(
    collection: Collection, astronaut: Image
) -> None:
    door, yard = make_camera(collection, "door"), make_camera(collection, "yard")
    play(door, moving(astronaut, 12))
    play(yard, moving(astronaut[:, ::-1].copy(), 12), at=60)
    play(door, moving(astronaut, 6), at=120)
    unknown = Identity.objects.get(collection=collection)
    assert (unknown.name, unknown.kind) == ("unknown_person_1", Identity.Kind.UNKNOWN)
    assert names_seen(door) == ["unknown_person_1"] * 2
    assert names_seen(yard) == ["unknown_person_1"]
    assert 1 <= Portrait.objects.filter(identity=unknown).count() <= strangers.PORTRAITS
    assert Stranger.objects.get().camera_id == door.pk
    assert Sighting.objects.filter(camera=door).earliest("first_seen").hits == 12


def test_naming_an_unknown_names_the_whole_history(
    collection: Collection, astronaut: Image, enroller: APIClient
) -> None:
    door = make_camera(collection, "door")
    play(door, moving(astronaut, 8))
    unknown = Identity.objects.get(collection=collection)
    answer = enroller.patch(f"/api/v1/identities/{unknown.pk}", {"name": "Eileen Collins"}, format="json")
    assert answer.json()["kind"] == "known"
    assert names_seen(door) == ["Eileen Collins"]
    play(door, moving(astronaut, 8), at=60)
    assert names_seen(door) == ["Eileen Collins"] * 2


@pytest.mark.parametrize(
    "alter",
    [
        lambda image: np.asarray(cv2.GaussianBlur(image, (0, 0), 9), np.uint8),
        lambda image: (image // 12).astype(np.uint8),
    ],
    ids=["blurred", "dark"],
)
def test_nobody_is_made_of_bad_pictures(
    collection: Collection, astronaut: Image, alter: Callable[[Image], Image]
) -> None:
    door = make_camera(collection, "door")
    play(door, moving(astronaut, 12, alter))
    assert not Identity.objects.filter(collection=collection).exists()
    assert names_seen(door) == []


def test_nobody_is_made_of_a_passing_face(collection: Collection, astronaut: Image) -> None:
    door = make_camera(collection, "door")
    play(door, moving(astronaut, 3))
    assert not Identity.objects.filter(collection=collection).exists()


def test_a_stranger_whose_worker_died_is_registered_later(
    collection: Collection, astronaut: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    door = make_camera(collection, "door")
    with monkeypatch.context() as patch:
        patch.setattr(strangers, "register", lambda *, track_id: None)  # as if it had died before
        play(door, moving(astronaut, 8))
    assert Track.objects.filter(stranger_due=True).count() == 1
    assert names_seen(door) == []
    assert strangers.register_due() == 1
    assert names_seen(door) == ["unknown_person_1"]
    assert strangers.register_due() == 0


def test_a_stranger_whose_pictures_are_gone_is_not_registered(
    collection: Collection, astronaut: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    door = make_camera(collection, "door")
    with monkeypatch.context() as patch:
        patch.setattr(strangers, "register", lambda *, track_id: None)
        play(door, moving(astronaut, 8))
    for frame in Frame.objects.filter(camera=door):
        frame.picture.storage.delete(frame.picture.name)
    strangers.register_due()
    assert not Identity.objects.filter(collection=collection).exists()
    assert not Track.objects.filter(stranger_due=True).exists()
