"""Many pictures at once do not fill the memory, and hold no database connection."""

import pytest
from django.db import connection

from inference.errors import ServerBusyError
from inference.types import FaceAnalysis
from portrait.demo.photos import built_in
from portrait.gallery.services import photos
from portrait.gallery.services.photos import PreparedPhoto, prepare_photos, slow_work

pytestmark = pytest.mark.django_db(transaction=True)


def test_pictures_are_decoded_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    given = [photo.data for photo in built_in().probes[2:9]]
    whole = prepare_photos(given)
    pipeline, at_a_time = photos.face_pipeline(), []

    class Watched:
        def analyse(self, images: list[object], **options: object) -> list[FaceAnalysis]:
            at_a_time.append(len(images))
            return pipeline.analyse(images, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(photos, "face_pipeline", Watched)
    monkeypatch.setattr(photos, "CHUNK_PIXELS", 600_000)
    parts = prepare_photos([*given[:3], b"rubbish", *given[3:]])
    assert max(at_a_time) <= 3
    assert len(at_a_time) > 2
    assert isinstance(parts[3], Exception)
    sums = [photo.sha256 for photo in parts if isinstance(photo, PreparedPhoto)]
    assert sums == [photo.sha256 for photo in whole if isinstance(photo, PreparedPhoto)]
    assert len(sums) == len(given)


def test_slow_work_holds_no_connection_and_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    connection.ensure_connection()
    with slow_work():
        assert connection.connection is None
    monkeypatch.setattr(photos, "SLOT_WAIT_S", 0.01)
    taken = 0
    while photos._slots.acquire(blocking=False):
        taken += 1
    try:
        with pytest.raises(ServerBusyError), slow_work():
            pass
    finally:
        photos._slots.release(taken)
