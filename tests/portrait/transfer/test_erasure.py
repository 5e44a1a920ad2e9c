"""Whoever is erased leaves the imports too, and does not come back out of a zip that waited."""

import io
import re
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.db import connection
from django.test import TestCase
from django.test.utils import CaptureQueriesContext

from portrait.gallery.models import Collection, Identity
from portrait.gallery.services.identities import delete_collection, delete_identity
from portrait.jobs.tasks import run_item
from portrait.transfer.models import Import, ImportChunk, ImportedName, ImportFile, ImportPart, ImportPerson
from portrait.transfer.services import erasure
from portrait.transfer.services.imports import feed, start_import
from portrait.transfer.tasks import tend
from tests.portrait.transfer.conftest import TESTER, drive, make_zip, results, variant

pytestmark = pytest.mark.django_db

RunImport = Callable[..., Any]


@contextmanager
def committed() -> Iterator[None]:
    """What follows a commit follows, although the test's own transaction is never committed."""
    with TestCase.captureOnCommitCallbacks(execute=True):
        yield


def wait_with(collection: Collection, files: dict[str, bytes]) -> Import:
    return start_import(collection=collection, file=make_zip(files), principal=TESTER, face="", force=False)


def read_list(run: Import) -> None:
    """The worker's first step only."""
    assert run.job is not None
    run_item(run.job.items.get(index=0).id)


def bytes_of(run: Import) -> bytes:
    return Path(default_storage.path(str(run.parts.get().file.name))).read_bytes()


def test_the_report_of_an_ended_import_forgets_them(
    run_import: RunImport, collection: Collection, collins: bytes, hopper: bytes
) -> None:
    run, _ = run_import({"Ada/a.jpg": collins, "Ada/cut.jpg": collins[:2000], "Bea/b.jpg": hopper})
    delete_identity(identity=Identity.objects.get(name="Ada", collection=collection))
    rows = ImportFile.objects.filter(run=run).order_by("index")
    assert [(row.path, row.code) for row in rows] == [("", "erased"), ("", "erased"), ("Bea/b.jpg", "")]
    assert all(not row.sha256 and row.identity_id is None for row in rows if not row.path)
    assert not ImportPerson.objects.filter(run=run, name="Ada").exists()
    assert not ImportPerson.objects.filter(run=run, folder="Ada").exists()
    assert list(ImportedName.objects.filter(collection=collection).values_list("key", flat=True)) == ["name:Bea"]


def test_reports_of_imports_that_found_nothing_new_forget_them_too(
    run_import: RunImport, collection: Collection, collins: bytes, hopper: bytes
) -> None:
    files = {"Ada Lovelace/a.jpg": collins, "Ada Lovelace/cut.jpg": collins[:2000], "Bea/b.jpg": hopper}
    run_import(files)
    again, found = run_import(files)
    assert found["Ada Lovelace/a.jpg"][0] == "duplicate"
    broken, _ = run_import({"Ada Lovelace/cut.jpg": collins[:3000]})
    table = b"folder,external_id,name\nx,E-1,Somebody\n"
    run_import({"people.csv": table, "x/a.jpg": hopper})
    renamed, _ = run_import({"people.csv": b"folder,external_id,name\nx,E-1,Other Name\n", "x/a.jpg": hopper[:2000]})
    for person in Identity.objects.filter(collection=collection).exclude(name="Bea"):
        delete_identity(identity=person)
    told = [str(row) for model in (ImportPerson, ImportFile) for row in model.objects.order_by("pk").values_list()]
    for name in ("Lovelace", "Somebody", "Other Name"):
        assert not [row for row in told if name in row], name
    assert ImportPerson.objects.filter(run=again, folder="Bea").exists()
    assert ImportPerson.objects.filter(run__in=[broken, renamed], erased=True).count() == 2


def test_a_report_tells_no_name_in_its_messages(
    run_import: RunImport, collection: Collection, collins: bytes, hopper: bytes
) -> None:
    table = b"folder,name\nAda,Ada\nAda,Ada\n"
    run, _ = run_import({"people.csv": table, "Ada/a.jpg": collins})
    (bad,) = ImportFile.objects.filter(run=run, code="invalid_row")
    assert "Line 3" in bad.message
    for _ in range(2):
        Identity.objects.create(collection=collection, name="Cleo")
    run, found = run_import({"Cleo/a.jpg": hopper})
    assert found["Cleo/a.jpg"] == ("rejected", "ambiguous_person")
    for row in ImportFile.objects.filter(run__collection=collection):
        assert "Ada" not in row.message
        assert "Cleo" not in row.message


@pytest.mark.parametrize("listed", [False, True], ids=["the zip is not read yet", "the zip was read"])
def test_a_zip_that_waits_does_not_bring_them_back(
    run_import: RunImport, collection: Collection, collins: bytes, hopper: bytes, listed: bool
) -> None:
    run_import({"Ada/a.jpg": collins})
    ada = Identity.objects.get(collection=collection)
    run = wait_with(collection, {"Ada/b.jpg": variant(collins, 1), "Bea/b.jpg": hopper})
    if listed:
        read_list(run)
    delete_identity(identity=ada)
    drive(run)
    rows = {row.path: (row.status, row.code) for row in ImportFile.objects.filter(run=run)}
    assert rows == {"": ("rejected", "person_erased"), "Bea/b.jpg": ("accepted", "")}
    assert list(Identity.objects.filter(collection=collection).values_list("name", flat=True)) == ["Bea"]
    run.refresh_from_db()
    assert run.erased == [], "of an ended import, not even a digest is kept"
    _, found = run_import({"Ada/b.jpg": variant(collins, 1)})
    assert found == {"Ada/b.jpg": ("accepted", "")}, "a later import is a new decision"


def test_by_external_id_too(run_import: RunImport, collection: Collection, collins: bytes) -> None:
    table = b"folder,external_id,name\np,E-1,Ada\n"
    run_import({"people.csv": table, "p/a.jpg": collins})
    run = wait_with(collection, {"people.csv": table, "p/b.jpg": variant(collins, 1)})
    delete_identity(identity=Identity.objects.get(collection=collection))
    drive(run)
    assert not Identity.objects.filter(collection=collection).exists()
    assert not ImportPerson.objects.filter(run=run, name="Ada").exists()


def test_the_zip_that_waits_loses_their_pictures_and_all_names(
    run_import: RunImport, collection: Collection, collins: bytes, hopper: bytes
) -> None:
    run_import({"Ada Lovelace/a.jpg": collins})
    ada = Identity.objects.get(collection=collection)
    theirs = variant(collins, 1)
    table = b"folder,name,metadata\nAda Lovelace,Ada Lovelace,\nBea,Bea,\n"
    run = wait_with(collection, {"people.csv": table, "Ada Lovelace/b.jpg": theirs, "Bea/b.jpg": hopper})
    read_list(run)
    assert theirs in bytes_of(run)
    with committed():
        delete_identity(identity=ada)
    left = bytes_of(run)
    assert b"Lovelace" not in left
    assert theirs not in left
    assert theirs[2000:2100] not in left
    assert hopper in left, "others are enrolled as before"
    assert drive(run)["Bea/b.jpg"] == ("accepted", "")


def test_a_zip_that_could_not_be_overwritten_is_tried_again(
    run_import: RunImport, collection: Collection, collins: bytes, hopper: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(part: ImportPart) -> None:
        raise OSError("the disk is full")

    run_import({"Ada/a.jpg": collins})
    theirs = variant(collins, 1)
    run = wait_with(collection, {"Ada/b.jpg": theirs, "Bea/b.jpg": hopper})
    read_list(run)
    with monkeypatch.context() as patched, committed():
        patched.setattr(erasure, "scrub", fails)
        delete_identity(identity=Identity.objects.get(collection=collection))
    assert theirs in bytes_of(run)
    assert erasure.zips_waiting(collection_id=collection.pk) == 1
    tend()
    assert theirs[2000:2100] not in bytes_of(run)
    assert erasure.zips_waiting(collection_id=collection.pk) == 0
    assert drive(run)["Bea/b.jpg"] == ("accepted", "")


def test_a_zip_read_after_the_erasure_loses_them_then(
    run_import: RunImport, collection: Collection, collins: bytes, hopper: bytes
) -> None:
    run_import({"Ada Lovelace/a.jpg": collins})
    theirs = variant(collins, 1)
    run = wait_with(collection, {"Ada Lovelace/b.jpg": theirs, "Bea/b.jpg": hopper})
    with committed():
        delete_identity(identity=Identity.objects.get(collection=collection))
    with committed():
        read_list(run)
    assert theirs[2000:2100] not in bytes_of(run)
    assert hopper in bytes_of(run)


def test_forged_numbers_never_write_outside_of_the_entry(
    run_import: RunImport, collection: Collection, collins: bytes, hopper: bytes
) -> None:
    """The entry says that its data reach over everybody else's."""
    run_import({"Ada/a.jpg": collins})
    made = make_zip({"Ada/b.jpg": variant(collins, 1), "Bea/b.jpg": hopper})
    with zipfile.ZipFile(made) as zipped:
        assert zipped.infolist()[0].filename == "Ada/b.jpg"
    data = bytearray(made.getvalue())
    at = data.index(b"PK\x01\x02")
    data[at + 20 : at + 24] = (10_000_000).to_bytes(4, "little")
    run = start_import(collection=collection, file=io.BytesIO(bytes(data)), principal=TESTER, face="", force=False)
    read_list(run)
    with committed():
        delete_identity(identity=Identity.objects.get(collection=collection))
    assert results(run)["Bea/b.jpg"] == ("rejected", "overlapping_entry")


def test_a_collection_takes_its_imports_along(
    run_import: RunImport, collection: Collection, other_collection: Collection, collins: bytes
) -> None:
    run_import({"Ada/a.jpg": collins})
    run = wait_with(collection, {"Ada/b.jpg": variant(collins, 1)})
    read_list(run)
    name = str(run.parts.get().file.name)
    run_import({"Ada/a.jpg": collins}, into=other_collection)
    with committed():
        delete_collection(collection=collection)
    assert not default_storage.exists(name)
    for model in (ImportPart, ImportChunk, ImportPerson, ImportFile):
        assert set(model._default_manager.values_list("run__collection", flat=True)) == {other_collection.pk}
    assert Import.objects.get().collection == other_collection


def test_cancelled_files_are_told_so_and_the_zip_goes(
    collection: Collection, collins: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    from portrait.jobs.services import cancel

    run = wait_with(collection, {"Ada/a.jpg": collins})
    read_list(run)
    assert run.job is not None
    cancel(job=run.job)
    assert drive(run) == {"Ada/a.jpg": ("skipped", "cancelled")}
    assert not run.parts.get().file
    assert not Identity.objects.filter(collection=collection).exists()


def test_an_erasure_and_a_chunk_that_is_stored_lock_in_one_order(
    run_import: RunImport, collection: Collection, collins: bytes
) -> None:
    """Otherwise PostgreSQL would end one of them, and that may be the erasure."""
    run_import({"Ada/a.jpg": collins})
    run = wait_with(collection, {"Ada/b.jpg": variant(collins, 1)})
    read_list(run)
    feed(run_id=run.pk)
    assert run.job is not None
    with CaptureQueriesContext(connection) as storing:
        run_item(run.job.items.get(index=1).id)
    assert _locked(storing)[:2] == ["transfer_importperson", "transfer_importfile"]
    assert "transfer_import" not in _locked(storing)
    with CaptureQueriesContext(connection) as erasing:
        delete_identity(identity=Identity.objects.get(collection=collection))
    assert _locked(erasing)[:3] == ["transfer_import", "transfer_importperson", "transfer_importfile"]


def _locked(queries: CaptureQueriesContext) -> list[str]:
    """The imports' tables whose rows were locked: each when it was for the first time."""
    tables = [
        re.findall(r'FROM "(\w+)"', each["sql"])[0] for each in queries.captured_queries if "FOR " in each["sql"][-60:]
    ]
    return list(dict.fromkeys(name for name in tables if name.startswith("transfer_")))
