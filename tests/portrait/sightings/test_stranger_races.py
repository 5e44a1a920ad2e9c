"""Strangers, and workers that go on while one of them registers them."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from inference.codec import decode
from inference.types import Image
from portrait.cameras.incoming import IncomingFrame
from portrait.cameras.models import Camera, Frame, FrameState
from portrait.cameras.services.accept import accept_frames
from portrait.demo.photos import PhotoSet
from portrait.gallery.models import Collection, Identity
from portrait.sightings.models import Sighting, Track
from portrait.sightings.services import processing, strangers
from tests.portrait.sightings.scenes import BEGIN, make_camera
from tests.portrait.sightings.test_strangers import moving

pytestmark = pytest.mark.django_db(transaction=True)


def _store(camera: Camera, pictures: Sequence[bytes], *, first: int) -> None:
    """As another worker does who dies before it can register anybody."""
    incoming = [
        IncomingFrame(data, BEGIN + timedelta(seconds=(first + index) / 5), first + index)
        for index, data in enumerate(pictures)
    ]
    accept_frames(camera=camera, incoming=incoming)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(strangers, "register_due", lambda **kwargs: 0)
        while (waiting := Frame.objects.filter(state=FrameState.WAITING).order_by("id").first()) is not None:
            processing.process(frame_ids=[waiting.pk])


def test_a_stranger_of_whom_better_faces_come_meanwhile_is_registered_all_the_same(
    collection: Collection, photos: PhotoSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    door = make_camera(collection, "door")
    pictures = moving(decode(photos.people["Eileen Collins"][0].data), 10, _dim)
    better = moving(decode(photos.people["Eileen Collins"][0].data), 10)[6:]
    _store(door, pictures[:6], first=0)
    track = Track.objects.get(camera=door, stranger_due=True)
    cut_out = strangers._photos

    def while_others_work(*asked: Any) -> Any:
        prepared = cut_out(*asked)
        monkeypatch.setattr(strangers, "_photos", cut_out)
        _store(door, better, first=6)
        return prepared

    monkeypatch.setattr(strangers, "_photos", while_others_work)
    assert strangers.register(track_id=track.pk) is None
    assert Track.objects.get(pk=track.pk).template != track.template, "better faces came"
    strangers.register_due()  # no frame comes any more
    assert Identity.objects.get(collection=collection).name == "unknown_person_1"
    assert Sighting.objects.get(camera=door).hits == 10


def _dim(image: Image) -> Image:
    return (image * 0.75).astype("uint8")
