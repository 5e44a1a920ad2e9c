"""Two callers at the same moment, on the real database."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import close_old_connections

from portrait.core.errors import ConflictError, NotFoundError
from portrait.core.files import atomic_with_files
from portrait.demo.photos import COLLINS, built_in
from portrait.gallery.models import Collection, Identity, Portrait
from portrait.gallery.services import editing, enrolment, identities, recognition
from portrait.gallery.services.journal import Actor
from portrait.gallery.services.photos import PreparedPhoto, prepare_photos
from portrait.jobs.services import claim, create_job

pytestmark = pytest.mark.django_db(transaction=True)
CALLERS = 6


def at_once(call: Callable[[int], Any]) -> list[Any]:
    """Call from several threads; an exception is answered like a result."""

    def one(number: int) -> Any:
        try:
            return call(number)
        except Exception as error:
            return error
        finally:
            close_old_connections()

    with ThreadPoolExecutor(CALLERS) as pool:
        return list(pool.map(one, range(CALLERS)))


def files_of(collection: Collection) -> list[str]:
    """Every picture on the disk that belongs to this collection."""
    return [str(path) for path in Path(settings.MEDIA_ROOT).rglob("*.jpg") if f"/{collection.id}/" in str(path)]


def collins() -> bytes:
    return built_in().people[COLLINS][0].data


def test_the_same_stranger_becomes_one_unknown_person(collection: Collection) -> None:
    data = collins()
    found = at_once(
        lambda _: recognition.recognise(collection=collection, data=data, register_strangers=True)[0].candidates[0]
    )
    assert {candidate.identity.name for candidate in found} == {"unknown_person_1"}
    assert Identity.objects.filter(collection=collection).count() == 1
    collection.refresh_from_db()
    assert collection.unknown_counter == 1


def test_the_same_picture_is_stored_once(collection: Collection) -> None:
    identity = Identity.objects.create(collection=collection, name=COLLINS)
    (photo,) = prepare_photos([collins()])
    assert isinstance(photo, PreparedPhoto)
    reports = at_once(lambda _: enrolment.store_photo(identity=identity, photo=photo))
    assert sorted(report.status for report in reports) == ["accepted"] + ["duplicate"] * (CALLERS - 1)
    portrait = Portrait.objects.get(identity=identity)
    folder, _ = portrait.image.name.rsplit("/", 1)
    kept = [name for name in portrait.image.storage.listdir(folder)[1] if str(portrait.id) in name]
    assert kept == [f"{portrait.id}.jpg"]


def test_an_external_id_exists_once(collection: Collection) -> None:
    def make(number: int) -> Identity:
        return identities.create_identity(collection=collection, name=f"n{number}", external_id="e-1")

    outcomes = at_once(make)
    assert sum(isinstance(outcome, Identity) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, ConflictError) for outcome in outcomes) == CALLERS - 1


def test_enrolment_by_external_id_meets_in_one_identity(collection: Collection) -> None:
    data = collins()
    outcomes = at_once(
        lambda _: enrolment.enrol_person(collection=collection, name=COLLINS, external_id="e-1", photos=[data])
    )
    assert len({identity.id for identity, _, _ in outcomes}) == 1
    assert sum(created for _, created, _ in outcomes) == 1
    assert Portrait.objects.filter(identity__collection=collection).count() == 1


def test_an_item_goes_to_one_worker(collection: Collection) -> None:
    job = create_job(kind="enrol", queue="ingest", uploads=[b"x"], collection_id=collection.id, parameters={})
    item_id = job.items.get().id
    assert sum(item is not None for item in at_once(lambda _: claim(item_id=item_id))) == 1


def test_deleting_waits_for_an_enrolment_under_way_and_takes_its_portrait_along(collection: Collection) -> None:
    identity = Identity.objects.create(collection=collection, name=COLLINS)
    (photo,) = prepare_photos([collins()])
    assert isinstance(photo, PreparedPhoto)
    stored, go_on = threading.Event(), threading.Event()

    def enrol() -> None:
        with atomic_with_files():
            enrolment.store_photo(identity=identity, photo=photo)
            stored.set()
            go_on.wait(10)

    def delete() -> None:
        stored.wait(10)
        threading.Timer(0.3, go_on.set).start()
        identities.delete_identity(identity=Identity.objects.get(id=identity.id))

    outcomes = at_once(lambda number: [enrol, delete, lambda: None][min(number, 2)]())
    assert [outcome for outcome in outcomes if outcome is not None] == []
    assert not Portrait.objects.filter(identity_id=identity.id).exists()
    assert files_of(collection) == []


def test_a_transaction_that_fails_leaves_no_file(collection: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first portrait is stored, the second fails, everything is rolled back."""
    real, calls = enrolment.write_file, []

    def full_disk(*args: Any) -> None:
        calls.append(args)
        if len(calls) == 4:
            raise OSError("no space left")
        real(*args)

    monkeypatch.setattr(enrolment, "write_file", full_disk)
    photos = [collins(), next(photo.data for photo in built_in().probes if photo.name == "flipped")]
    with pytest.raises(OSError, match="no space"):
        enrolment.enrol_person(collection=collection, name=COLLINS, photos=photos)
    assert len(calls) == 4
    assert not Identity.objects.filter(collection=collection).exists()
    assert files_of(collection) == []


def test_changing_what_was_deleted_meanwhile_is_not_found(collection: Collection) -> None:
    identity = Identity.objects.create(collection=collection, name=COLLINS)
    Identity.objects.filter(id=identity.id).delete()
    with pytest.raises(NotFoundError):
        editing.update(identity=identity, actor=Actor("a test"), name="New")


def test_an_identity_deleted_meanwhile_gets_no_portrait_and_no_file(collection: Collection) -> None:
    identity = Identity.objects.create(collection=collection, name=COLLINS)
    (photo,) = prepare_photos([collins()])
    assert isinstance(photo, PreparedPhoto)
    Identity.objects.filter(id=identity.id).delete()
    with pytest.raises(NotFoundError):
        enrolment.store_photo(identity=identity, photo=photo)
    assert not Portrait.objects.filter(identity_id=identity.id).exists()
    assert files_of(collection) == []
