"""A person is erased at the very moment in which what was told of them is stored: nothing of it is left."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection

from portrait.cameras.models import Frame
from portrait.core.errors import PortraitError
from portrait.gallery.models import Collection, Identity, Portrait
from portrait.gallery.services.identities import delete_identity
from portrait.scenes.models import Caption
from portrait.scenes.services import keeping
from tests.portrait.scenes.told import keep_caption
from tests.portrait.sightings.seen import enrol, make_camera, make_frame, see

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def collins(collection: Collection) -> Identity:
    return enrol(collection, "Eileen Collins", "collins")


def waits_for_a_lock() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
        return bool(cursor.fetchone()[0])


def in_thread(work: Callable[[], object]) -> None:
    try:
        work()
    except PortraitError:
        pass  # it went first: also an end
    finally:
        connection.close()


@pytest.mark.parametrize("kind", ["portrait", "frame"])
def test_what_is_stored_while_somebody_is_erased_goes_too(
    collection: Collection, collins: Identity, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    row: Portrait | Frame = collins.portraits.get()
    if kind == "frame":
        row = make_frame(make_camera(collection), "collins")
        see(row, "collins", [collins])
    stored, go_on, real = threading.Event(), threading.Event(), keeping._keep_caption

    def slow(*args: Any) -> None:
        real(*args)
        stored.set()
        assert go_on.wait(60)

    monkeypatch.setattr(keeping, "_keep_caption", slow)
    with ThreadPoolExecutor(2) as pool:
        keeper = pool.submit(in_thread, lambda: keep_caption(row, "a woman"))
        assert stored.wait(60)
        eraser = pool.submit(in_thread, lambda: delete_identity(identity=collins))
        while not (waits_for_a_lock() or eraser.done()):
            pass
        assert not eraser.done(), "it waits for what is being stored"
        go_on.set()
        keeper.result()
        eraser.result()
    assert not Identity.objects.filter(pk=collins.pk).exists()
    assert Caption.objects.count() == 0
