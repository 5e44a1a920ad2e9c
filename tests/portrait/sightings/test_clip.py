"""The real clip: two enrolled people, an audience of strangers, every frame."""

from datetime import timedelta
from pathlib import Path

import cv2
import pytest

from inference.codec import encode_jpeg
from portrait.cameras.incoming import IncomingFrame
from portrait.cameras.models import Camera, Frame, FrameState
from portrait.cameras.services.accept import accept_frames
from portrait.env import BASE_DIR
from portrait.gallery.models import Collection, Identity
from portrait.gallery.services.enrolment import enrol_person
from portrait.sightings.models import Sighting
from portrait.sightings.services import processing
from tests.portrait.sightings.scenes import BEGIN

PEOPLE = BASE_DIR.parent / "shared" / "data" / "people"
CLIP = PEOPLE / "short_hamilton_clip.mp4"
NAMES = {"Lin-Manuel Miranda": "lin-manuel-miranda.png", "Alex Lacamoire": "alex-lacamoire.png"}

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(not CLIP.exists(), reason="../shared/data/people/short_hamilton_clip.mp4 is absent"),
]


def clip_frames(path: Path) -> list[IncomingFrame]:
    video = cv2.VideoCapture(str(path))
    fps, frames = video.get(cv2.CAP_PROP_FPS), []
    while True:
        done, picture = video.read()
        if not done:
            return frames
        jpeg = encode_jpeg(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))
        frames.append(IncomingFrame(jpeg, BEGIN + timedelta(seconds=len(frames) / fps), len(frames)))


def seconds(sighting: Sighting) -> tuple[float, float]:
    return (sighting.first_seen - BEGIN).total_seconds(), (sighting.last_seen - BEGIN).total_seconds()


def test_the_clip_names_who_was_enrolled_and_keeps_the_others_as_unknown(collection: Collection) -> None:
    for name, photo in NAMES.items():
        enrol_person(collection=collection, name=name, photos=[(PEOPLE / photo).read_bytes()])
    camera = Camera.objects.create(collection=collection, name="clip")
    accept_frames(camera=camera, incoming=clip_frames(CLIP))
    while (waiting := Frame.objects.filter(state=FrameState.WAITING).order_by("id").first()) is not None:
        processing.process(frame_ids=[waiting.pk])

    assert set(Frame.objects.values_list("state", flat=True)) == {FrameState.DONE}
    assert Frame.objects.count() == 275
    found = {name: [seconds(each) for each in Sighting.objects.filter(identity__name=name)] for name in NAMES}
    # He sings from the first frame on; at 7.0 s the picture changes to the audience and stays there.
    [(begin, end)] = found["Lin-Manuel Miranda"]
    assert begin < 0.2
    assert 6.8 < end < 7.2
    # At the piano, far away, until the picture changes at 0.65 s; then from so near and from the side that no honest
    # answer can be given.
    [(begin, end)] = found["Alex Lacamoire"]
    assert begin < 0.2
    assert 0.5 < end < 0.7
    unknown = Sighting.objects.filter(identity__kind=Identity.Kind.UNKNOWN)
    assert {each.identity.name for each in unknown} == {"unknown_person_1", "unknown_person_2"}
    for each in unknown:
        begin, end = seconds(each)
        assert 7.0 < begin < 7.3
        assert 9.0 < end < 9.2
    assert Sighting.objects.count() == 4
    assert Identity.objects.filter(collection=collection).count() == 4
