"""Imports on the real database and networks; the worker's part is played item by item."""

import io
import zipfile
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from django.core.files.storage import default_storage

from portrait.gallery.models import Collection, Identity, Portrait
from portrait.transfer.models import Import, ImportFile
from tests.api_clients import plain_jpeg
from tests.portrait.jobs.conftest import files as stored_files
from tests.portrait.transfer.conftest import TESTER, make_zip, variant

pytestmark = pytest.mark.django_db

RunImport = Callable[..., tuple[Import, dict[str, tuple[str, str]]]]


def people_of(collection: Collection) -> dict[str, int]:
    return {each.name: each.portraits.count() for each in Identity.objects.filter(collection=collection)}


def damaged_header(zipped: io.BytesIO, name: str) -> io.BytesIO:
    """The zip, its list of contents whole, with no local header where that file's should be."""
    with zipfile.ZipFile(zipped) as opened:
        at = opened.getinfo(name).header_offset
    data = bytearray(zipped.getvalue())
    data[at : at + 4] = b"rot!"
    return io.BytesIO(bytes(data))


@pytest.mark.parametrize("table", ["people.csv", "portraits.csv"])
def test_a_zip_whose_table_is_damaged_is_refused_as_such(run_import: RunImport, collins: bytes, table: str) -> None:
    text = b"name\nAda\n" if table == "people.csv" else b"file,file_sha256,sha256,box\n"
    run, found = run_import(damaged_header(make_zip({table: text, "Ada/a.jpg": collins}), table))
    assert found["(the zip)"] == ("rejected", "invalid_zip")
    assert run.finished_at is not None
    assert not run.parts.get().file


@pytest.mark.parametrize("line", [b"name,metadata\n" + b"," * (17 * 2**20), b"name\n" + b"Ada\n" * (5 * 2**20)])
def test_a_large_table_that_is_nearly_nothing_packed_is_refused_unread(run_import: RunImport, line: bytes) -> None:
    run, found = run_import(make_zip({"people.csv": line}, compression=zipfile.ZIP_DEFLATED))
    assert found == {"(the zip)": ("rejected", "invalid_zip")}
    assert run.finished_at is not None


def test_people_csv_has_no_more_lines_than_a_zip_may_have_files(
    run_import: RunImport, collection: Collection, settings: Any
) -> None:
    settings.PORTRAIT = replace(settings.PORTRAIT, import_max_files=3)
    _, found = run_import({"people.csv": b"name\n" + b"".join(b"P%d\n" % number for number in range(4))})
    assert found["(the zip)"] == ("rejected", "invalid_zip")
    assert people_of(collection) == {}


def test_one_bad_line_or_name_never_stops_the_rest(
    run_import: RunImport, collection: Collection, collins: bytes
) -> None:
    sha = "a" * 64
    zipped = make_zip(
        {
            "people.csv": b'name,metadata\nBea,"{""x"": 1e999}"\nCid,"{""x"": ""\\ud800""}"\nAda,\n',
            "portraits.csv": f"file,file_sha256,sha256,box\nAda/\0,{sha},{sha},1 2 3 4\n".encode(),
            "Ada/a.jpg": collins,
        }
    )
    with zipfile.ZipFile(zipped, "a") as opened:
        info = zipfile.ZipInfo("x")
        info.filename = "\0" + "a" * 2000
        opened.writestr(info, collins)
    zipped.seek(0)
    _, found = run_import(zipped)
    assert found["Ada/a.jpg"] == ("accepted", "")
    assert found["\ufffd" + "a" * 99 + "…"] == ("rejected", "name_too_long")
    assert found["people.csv, line 2"] == found["people.csv, line 3"] == ("rejected", "invalid_row")
    assert people_of(collection) == {"Ada": 1}


def test_every_file_has_one_result(
    run_import: RunImport, collection: Collection, collins: bytes, hopper: bytes
) -> None:
    run, found = run_import(
        {
            "Ada/one.jpg": collins,
            "Ada/two.jpg": variant(collins, 1),
            "Ada/again.jpg": collins,
            "Bea/one.jpg": hopper,
            "Bea/no face.jpg": plain_jpeg(),
            "Bea/notes.txt": b"not a picture",
            "Bea/empty.jpg": b"",
            "Bea/cut.jpg": hopper[:3000],
            "Bea/inner.zip": make_zip({"x": b"y"}).getvalue(),
            "loose.jpg": collins,
            "Ada/2019/deep.jpg": collins,
            "../../etc/passwd": b"root",
            "__MACOSX/Ada/._one.jpg": b"junk",
            "Ada/.DS_Store": b"junk",
            "Ada/Thumbs.db": b"junk",
        }
    )
    assert found == {
        "Ada/one.jpg": ("accepted", ""),
        "Ada/two.jpg": ("accepted", ""),
        "Ada/again.jpg": ("duplicate", ""),
        "Bea/one.jpg": ("accepted", ""),
        "Bea/no face.jpg": ("rejected", "no_face"),
        "Bea/notes.txt": ("rejected", "unsupported_image"),
        "Bea/empty.jpg": ("rejected", "empty_image"),
        "Bea/cut.jpg": ("rejected", "corrupt_image"),
        "Bea/inner.zip": ("rejected", "nested_zip"),
        "loose.jpg": ("rejected", "no_person_folder"),
        "Ada/2019/deep.jpg": ("rejected", "nested_folder"),
        "../../etc/passwd": ("rejected", "unsafe_path"),
        "__MACOSX/Ada/._one.jpg": ("skipped", "junk"),
        "Ada/.DS_Store": ("skipped", "junk"),
        "Ada/Thumbs.db": ("skipped", "junk"),
    }
    assert people_of(collection) == {"Ada": 2, "Bea": 1}
    assert run.finished_at is not None
    assert not run.parts.get().file, "the zip is needed no more"


def test_run_again_nothing_is_new_and_no_network_is_asked(
    run_import: RunImport, collection: Collection, collins: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"Ada/one.jpg": collins, "Ada/two.jpg": variant(collins, 1)}
    run_import(files)

    def asked(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("the pictures are known")

    monkeypatch.setattr("portrait.transfer.services.enrolling.prepare_photos", asked)
    _, found = run_import(files)
    assert set(found.values()) == {("duplicate", "")}
    assert people_of(collection) == {"Ada": 2}


def test_people_csv_says_who_they_are(
    run_import: RunImport, collection: Collection, collins: bytes, hopper: bytes
) -> None:
    table = (
        "folder,external_id,name,metadata,hidden\n"
        'p1,E-1,Eileen Collins,"{""team"": ""A""}",false\n'
        "p2,E-2,Grace Hopper,,true\n"
        "p3,,Nobody Yet,,\n"
        "p4,,Wrong,[1],\n"
        "p1,E-9,Twice,,\n"
    )
    _, found = run_import({"people.csv": table.encode(), "p1/a.jpg": collins, "p2/b.jpg": hopper, "p4/c.jpg": hopper})
    assert found == {
        "people.csv": ("skipped", "table"),
        "people.csv, line 5": ("rejected", "invalid_row"),
        "people.csv, line 6": ("rejected", "invalid_row"),
        "p1/a.jpg": ("accepted", ""),
        "p2/b.jpg": ("accepted", ""),
        "p4/c.jpg": ("rejected", "invalid_row"),
    }
    eileen = Identity.objects.get(collection=collection, external_id="E-1")
    assert (eileen.name, eileen.metadata, eileen.hidden) == ("Eileen Collins", {"team": "A"}, False)
    assert Identity.objects.get(collection=collection, external_id="E-2").hidden
    assert people_of(collection) == {"Eileen Collins": 1, "Grace Hopper": 1, "Nobody Yet": 0}


def test_folders_by_name_find_their_line_by_name_too(
    run_import: RunImport, collection: Collection, collins: bytes
) -> None:
    table = "external_id,name\nE-1,Eileen Collins\n"
    _, found = run_import({"people.csv": table.encode(), "Eileen Collins/a.jpg": collins})
    assert found["Eileen Collins/a.jpg"] == ("accepted", "")
    assert people_of(collection) == {"Eileen Collins": 1}


@pytest.mark.parametrize(
    ("table", "word"),
    [
        (b"naem\nx\n", "lacks the column 'name'"),
        (b"name,nmae\nx,y\n", "a column 'nmae'"),
        (b"\xff\xfename\n", "UTF-8"),
        (b'name\n"never closed\n', "cannot be read"),
    ],
)
def test_a_broken_table_refuses_the_zip(
    run_import: RunImport, collection: Collection, collins: bytes, table: bytes, word: str
) -> None:
    run, found = run_import({"people.csv": table, "x/a.jpg": collins})
    assert found == {"(the zip)": ("rejected", "invalid_zip")}
    assert word in ImportFile.objects.get(run=run).message
    assert run.finished_at is not None
    assert people_of(collection) == {}


def test_root_names_the_folder_of_the_people(run_import: RunImport, collection: Collection, collins: bytes) -> None:
    files = {"all/people/Ada/a.jpg": collins, "all/readme.txt": b"x"}
    _, found = run_import(files)
    assert found["all/people/Ada/a.jpg"] == ("rejected", "nested_folder")
    _, found = run_import(files, root="all/people")
    assert found == {"all/people/Ada/a.jpg": ("accepted", ""), "all/readme.txt": ("rejected", "outside_root")}
    assert people_of(collection) == {"Ada": 1}


def test_face_and_force_count_as_at_enrolment(run_import: RunImport, collection: Collection, photos: Any) -> None:
    both = photos.probes[0].data
    small = io.BytesIO()
    from PIL import Image

    Image.open(io.BytesIO(photos.people["Eileen Collins"][0].data)).resize((96, 96)).save(small, "PNG")
    files = {"Ada/both.jpg": both, "Bea/tiny.png": small.getvalue()}
    _, found = run_import(files)
    assert found["Ada/both.jpg"] == ("rejected", "several_faces")
    assert found["Bea/tiny.png"][0] == "rejected"
    _, found = run_import(files, face="largest", force=True)
    assert found["Ada/both.jpg"][0] == "accepted"
    assert found["Bea/tiny.png"][0] == "accepted"


def test_damaged_encrypted_and_linked_entries_reject_themselves_only(
    run_import: RunImport, collins: bytes, hopper: bytes
) -> None:
    made = make_zip({"Ada/good.jpg": collins, "Ada/crc.jpg": hopper, "Ada/secret.jpg": hopper})
    link = zipfile.ZipInfo("Ada/link.jpg")
    link.create_system, link.external_attr = 3, 0o120777 << 16
    with zipfile.ZipFile(made, "a") as zipped:
        zipped.writestr(link, b"/etc/passwd")
        damaged = zipped.getinfo("Ada/crc.jpg").header_offset + 2000
        secret = zipped.getinfo("Ada/secret.jpg")
    data = bytearray(made.getvalue())
    data[damaged] ^= 0xFF
    at = data.rindex(b"PK\x01\x02", 0, data.rindex(secret.filename.encode()))
    data[at + 8] |= 1
    _, found = run_import(io.BytesIO(bytes(data)))
    assert found == {
        "Ada/good.jpg": ("accepted", ""),
        "Ada/crc.jpg": ("rejected", "damaged_entry"),
        "Ada/secret.jpg": ("rejected", "encrypted"),
        "Ada/link.jpg": ("rejected", "symlink"),
    }


def test_more_chunks_than_the_queue_takes_are_fed_as_it_drains(
    run_import: RunImport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("portrait.transfer.services.imports.WAVE", 3)
    monkeypatch.setattr("portrait.transfer.services.imports.LOW_WATER", 2)
    monkeypatch.setattr("portrait.transfer.services.planning.CHUNK_FILES", 2)
    monkeypatch.setattr("portrait.transfer.services.planning.BATCH", 5)
    run, found = run_import({f"p{number}/{number}.jpg": b"no picture %d" % number for number in range(40)})
    assert len(found) == 40
    assert set(found.values()) == {("rejected", "unsupported_image")}
    assert run.job is not None
    assert run.job.items.count() == 21
    assert run.finished_at is not None
    assert not Portrait.objects.filter(identity__collection=run.collection).exists()


def test_a_deleted_portrait_does_not_come_back_by_an_import(
    run_import: RunImport, collection: Collection, collins: bytes
) -> None:
    from django.utils import timezone

    run_import({"Ada/a.jpg": collins})
    Portrait.objects.filter(identity__collection=collection).update(deleted_at=timezone.now())
    _, found = run_import({"Ada/a.jpg": collins})
    assert found == {"Ada/a.jpg": ("rejected", "portrait_deleted")}


def test_the_storage_keeps_nothing_of_what_was_refused(collection: Collection) -> None:
    from portrait.transfer.services.imports import InvalidZipError, start_import

    before = stored_files("imports") if default_storage.exists("imports") else []
    with pytest.raises(InvalidZipError):
        start_import(collection=collection, file=io.BytesIO(b"no zip"), principal=TESTER, face="", force=False)
    assert (stored_files("imports") if default_storage.exists("imports") else []) == before
    assert not Import.objects.filter(collection=collection).exists()
