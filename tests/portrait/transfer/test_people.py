"""Who a folder is: the same person each time, never somebody else by chance."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any
from uuid import uuid4

import pytest
from django.db import close_old_connections
from django.utils import timezone

from portrait.gallery.models import Collection, Identity
from portrait.jobs.models import ItemState, JobItem
from portrait.jobs.tasks import run_item
from portrait.transfer.services import people
from portrait.transfer.services.imports import start_import
from tests.portrait.transfer.conftest import TESTER, make_zip, variant

pytestmark = pytest.mark.django_db

RunImport = Callable[..., Any]


@pytest.fixture
def ada(run_import: RunImport, collection: Collection, collins: bytes) -> Identity:
    run_import({"Ada/a.jpg": collins})
    return Identity.objects.get(collection=collection)


def test_a_renamed_person_is_found_by_their_folder(run_import: RunImport, ada: Identity, collins: bytes) -> None:
    Identity.objects.filter(pk=ada.pk).update(name="Augusta Ada King")
    _, found = run_import({"Ada/a.jpg": collins, "Ada/b.jpg": variant(collins, 1)})
    assert found == {"Ada/a.jpg": ("duplicate", ""), "Ada/b.jpg": ("accepted", "")}
    assert ada.portraits.count() == 2


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("columns", ["name", "id"])
def test_two_imports_of_one_zip_at_once_make_everybody_once(
    collection: Collection, monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    """Who finds nobody waits for the other to do so too, as long as that one can."""
    table = b"name\nAda\nBea\n" if columns == "name" else f"name,id\nAda,{uuid4()}\nBea,{uuid4()}\n".encode()
    items = []
    for _ in range(2):
        run = start_import(
            collection=collection, file=make_zip({"people.csv": table}), principal=TESTER, face="", force=False
        )
        assert run.job is not None
        items.append(run.job.items.get().pk)
    both, created = threading.Barrier(2), people._created

    def create(*args: Any) -> Identity:
        with suppress(threading.BrokenBarrierError):
            both.wait(2)
        return created(*args)

    def work(item: int) -> None:
        try:
            run_item(item)
        finally:
            close_old_connections()

    monkeypatch.setattr(people, "_created", create)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work, items))
    assert {item.state for item in JobItem.objects.filter(pk__in=items)} == {ItemState.DONE}
    assert sorted(Identity.objects.filter(collection=collection).values_list("name", flat=True)) == ["Ada", "Bea"]


def test_somebody_made_by_hand_is_found_by_their_name(
    run_import: RunImport, collection: Collection, collins: bytes
) -> None:
    made = Identity.objects.create(collection=collection, name="Ada")
    run_import({"Ada/a.jpg": collins})
    assert made.portraits.count() == 1


def test_two_of_one_name_are_not_guessed(run_import: RunImport, collection: Collection, collins: bytes) -> None:
    for _ in range(2):
        Identity.objects.create(collection=collection, name="Ada")
    _, found = run_import({"Ada/a.jpg": collins})
    assert found == {"Ada/a.jpg": ("rejected", "ambiguous_person")}
    table = "folder,name,external_id\nAda,Ada,E-7\n"
    _, found = run_import({"people.csv": table.encode(), "Ada/a.jpg": collins})
    assert found["Ada/a.jpg"][0] == "accepted", "an external_id says who is meant"


def test_a_folder_whose_name_is_another_persons_by_now_is_not_guessed(
    run_import: RunImport, collection: Collection, ada: Identity, collins: bytes
) -> None:
    Identity.objects.filter(pk=ada.pk).update(name="Countess")
    Identity.objects.create(collection=collection, name="Ada")
    _, found = run_import({"Ada/b.jpg": variant(collins, 1)})
    assert found == {"Ada/b.jpg": ("rejected", "ambiguous_person")}


def test_two_lines_of_one_name_need_something_that_tells_them_apart(
    run_import: RunImport, collection: Collection, collins: bytes, hopper: bytes
) -> None:
    table = "folder,name\np1,Ada\np2,Ada\n"
    _, found = run_import({"people.csv": table.encode(), "p1/a.jpg": collins, "p2/b.jpg": hopper})
    assert found["p1/a.jpg"] == found["p2/b.jpg"] == ("rejected", "ambiguous_person")
    assert not Identity.objects.filter(collection=collection).exists()


def test_merged_people_lead_to_whom_they_were_merged_into(
    run_import: RunImport, collection: Collection, ada: Identity, collins: bytes
) -> None:
    target = Identity.objects.create(collection=collection, name="Augusta")
    Identity.objects.filter(pk=ada.pk).update(merged_into=target)
    _, found = run_import({"Ada/b.jpg": variant(collins, 1)})
    assert found["Ada/b.jpg"][0] == "accepted"
    assert target.portraits.count() == 1


def test_deleted_people_take_nothing(run_import: RunImport, ada: Identity, collins: bytes) -> None:
    Identity.objects.filter(pk=ada.pk).update(deleted_at=timezone.now())
    _, found = run_import({"Ada/b.jpg": variant(collins, 1)})
    assert found == {"Ada/b.jpg": ("rejected", "person_deleted")}
    assert ada.portraits.count() == 1


def test_names_in_both_forms_of_unicode_are_one_person(
    run_import: RunImport, collection: Collection, collins: bytes
) -> None:
    import unicodedata

    composed, decomposed = (unicodedata.normalize(form, "Zoë Müller") for form in ("NFC", "NFD"))
    run_import({f"{composed}/a.jpg": collins, f"{decomposed}/b.jpg": variant(collins, 1)})
    assert Identity.objects.get(collection=collection).portraits.count() == 2


def test_what_is_known_of_a_person_is_not_changed_by_an_import(
    run_import: RunImport, collection: Collection, collins: bytes
) -> None:
    Identity.objects.create(collection=collection, name="Right", external_id="E-1", metadata={"kept": True})
    table = 'folder,external_id,name,metadata\np,E-1,Wrong,"{""kept"": false}"\n'
    run_import({"people.csv": table.encode(), "p/a.jpg": collins})
    found = Identity.objects.get(collection=collection)
    assert (found.name, found.metadata, found.portraits.count()) == ("Right", {"kept": True}, 1)


def test_other_collections_are_never_met(
    run_import: RunImport, ada: Identity, other_collection: Collection, collins: bytes
) -> None:
    run_import({"Ada/a.jpg": collins}, into=other_collection)
    assert ada.portraits.count() == 1
    assert Identity.objects.get(collection=other_collection).portraits.count() == 1
