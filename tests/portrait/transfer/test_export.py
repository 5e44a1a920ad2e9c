"""A collection goes out as a zip, and comes in elsewhere as it was."""

import csv
import io
import zipfile
from collections.abc import Callable
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.utils import timezone

from portrait.demo.photos import COLLINS, HOPPER, PhotoSet
from portrait.gallery.models import Collection, Identity, Portrait, PortraitEmbedding
from portrait.gallery.selectors import nearest_identities
from portrait.gallery.services.enrolment import enrol_person
from portrait.transfer.services.exporting import export_collection
from tests.portrait.transfer.conftest import make_zip, variant

pytestmark = pytest.mark.django_db

RunImport = Callable[..., Any]


def exported(collection: Collection) -> io.BytesIO:
    return io.BytesIO(b"".join(export_collection(collection=collection)))


@pytest.fixture
def filled(collection: Collection, photos: PhotoSet, collins: bytes, hopper: bytes) -> Collection:
    """Two known people, one of them twice under one name; an unknown; one merged away, one deleted; somebody without a
    portrait."""
    both = photos.probes[0].data
    enrol_person(
        collection=collection,
        name=COLLINS,
        external_id="E-1",
        photos=[collins, variant(collins, 1)],
        metadata={"team": "Ä", "since": 1990},
        action="wave",
        consent="signed,\n2026",
    )
    enrol_person(collection=collection, name=HOPPER, photos=[hopper, both], choice="largest", hidden=True)
    other, _, _ = enrol_person(collection=collection, name=HOPPER, photos=[variant(hopper, 2)])
    Identity.objects.create(collection=collection, name="Unknown 1", kind="unknown")
    Identity.objects.create(collection=collection, name="Away/../x", merged_into=other)
    Identity.objects.create(collection=collection, name="Gone", deleted_at=timezone.now())
    return collection


def people(collection: Collection) -> list[tuple[Any, ...]]:
    rows = Identity.objects.filter(collection=collection, merged_into=None, deleted_at=None)
    fields = ("name", "external_id", "metadata", "kind", "hidden", "action", "consent", "keep_until")
    return sorted(
        (
            *(str(getattr(row, field)) for field in fields),
            sorted(row.portraits.filter(deleted_at=None).values_list("sha256", flat=True)),
        )
        for row in rows
    )


def test_imported_elsewhere_everybody_is_who_they_were(
    run_import: RunImport, filled: Collection, other_collection: Collection, photos: PhotoSet
) -> None:
    zipped = exported(filled)
    _, found = run_import(zipped, into=other_collection)
    assert {each for name, each in found.items() if name.endswith(".jpg")} <= {
        ("accepted", ""),
        ("accepted", "possible_duplicate"),
    }, "what was judged once is not refused, nor are cut-outs of group photos"
    assert people(other_collection) == people(filled)
    for embedding in PortraitEmbedding.objects.filter(collection=filled).select_related("identity"):
        (nearest,) = nearest_identities(other_collection, embedding.vector)
        assert nearest.identity.name == embedding.identity.name
        assert nearest.distance < 0.2
    _, again = run_import(exported(filled), into=other_collection)
    assert {status for name, (status, _) in again.items() if name.endswith(".jpg")} == {"duplicate"}
    assert people(other_collection) == people(filled)


def test_imported_where_it_came_from_nothing_changes(run_import: RunImport, filled: Collection) -> None:
    before = people(filled)
    _, found = run_import(exported(filled))
    assert {status for name, (status, _) in found.items() if name.endswith(".jpg")} == {"duplicate"}
    assert people(filled) == before


def test_what_people_wrote_stays_one_cell_whatever_it_is(
    run_import: RunImport, collection: Collection, other_collection: Collection
) -> None:
    """No second line out of a lone carriage return, no formula, and nothing that is longer than the reader takes."""
    Identity.objects.create(collection=collection, name='x\rEve,"E-9",Eve', consent="signed\rMallory,,,", action="a\rb")
    Identity.objects.create(
        collection=collection,
        name="=HYPERLINK(1)",
        external_id="-5",
        consent="c" * 100_000,
        metadata={"m": "ä" * 32_000},
    )
    Identity.objects.create(collection=collection, name="'=1", action="@SUM(1)\n+2")
    zipped = exported(collection)
    with zipfile.ZipFile(zipped) as opened:
        rows = list(csv.reader(io.StringIO(opened.read("people.csv").decode(), newline="")))
    assert not [cell for row in rows for cell in row if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]
    zipped.seek(0)
    _, found = run_import(zipped, into=other_collection)
    assert set(found) == {"people.csv", "portraits.csv"}
    assert people(other_collection) == people(collection)


def test_the_same_collection_gives_the_same_bytes_whole_for_any_unzip(filled: Collection) -> None:
    zipped = exported(filled)
    assert zipped.getvalue() == exported(filled).getvalue()
    with zipfile.ZipFile(zipped) as opened:
        assert opened.testzip() is None
        rows = list(csv.DictReader(io.StringIO(opened.read("portraits.csv").decode())))
        listed = {row["folder"] for row in csv.DictReader(io.StringIO(opened.read("people.csv").decode()))}
        pictures = [name for name in opened.namelist() if name.endswith(".jpg")]
    assert pictures == [row["file"] for row in rows]
    assert len(pictures) == Portrait.objects.filter(identity__collection=filled).count() == 5
    assert {name.split("/")[0] for name in pictures} <= listed
    assert len(listed) == 4


def test_what_portraits_csv_says_counts_only_for_that_very_file(
    run_import: RunImport, filled: Collection, other_collection: Collection, hopper: bytes
) -> None:
    """Somebody put another picture in place of one: it is judged as any other."""
    with zipfile.ZipFile(exported(filled)) as opened:
        files = {name: opened.read(name) for name in opened.namelist()}
    changed = [name for name in files if name.endswith(".jpg")][:1]
    files[changed[0]] = b"rubbish"
    _, found = run_import(make_zip(files), into=other_collection)
    assert found[changed[0]] == ("rejected", "unsupported_image")


def test_a_box_that_names_no_face_is_refused(
    run_import: RunImport, other_collection: Collection, collins: bytes
) -> None:
    import hashlib

    sha = hashlib.sha256(collins).hexdigest()
    table = f"file,file_sha256,sha256,box,landmarks\nAda/a.jpg,{sha},{sha},1 1 20 20,\n"
    _, found = run_import({"portraits.csv": table.encode(), "Ada/a.jpg": collins}, into=other_collection)
    assert found["Ada/a.jpg"] == ("rejected", "no_face")


def test_the_command_writes_the_whole_file_or_none(
    filled: Collection, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out.zip"
    call_command("export_portraits", filled.name, str(path))
    assert path.read_bytes() == exported(filled).getvalue()
    assert path.stat().st_mode & 0o077 == 0, "faces are nobody else's business on this machine"
    with pytest.raises(CommandError, match="there already"):
        call_command("export_portraits", filled.name, str(path))

    def broken(*args: Any, **kwargs: Any) -> Any:
        yield b"half"
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("portrait.transfer.management.commands.export_portraits.export_collection", broken)
    with pytest.raises(CommandError, match="No space"):
        call_command("export_portraits", filled.name, str(tmp_path / "second.zip"))
    assert [each.name for each in tmp_path.iterdir()] == ["out.zip"]


def test_a_picture_that_is_missing_is_told(filled: Collection, tmp_path: Any) -> None:
    portrait = Portrait.objects.filter(identity__collection=filled).first()
    assert portrait is not None
    portrait.image.storage.delete(portrait.image.name)
    with pytest.raises(SystemExit) as ended:
        call_command("export_portraits", filled.name, str(tmp_path / "out.zip"))
    assert ended.value.code == 3
    with zipfile.ZipFile(tmp_path / "out.zip") as opened:
        assert sum(name.endswith(".jpg") for name in opened.namelist()) == 4
