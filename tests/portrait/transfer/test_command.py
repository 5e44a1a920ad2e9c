"""`manage.py import_portraits`, the worker's part played item by item."""

import io
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from portrait.gallery.models import Collection, Identity
from portrait.jobs.models import ItemState
from portrait.jobs.tasks import run_item
from portrait.transfer.models import Import
from portrait.transfer.services import packing
from portrait.transfer.services.exporting import export_collection
from portrait.transfer.tasks import tend
from tests.portrait.transfer.conftest import make_zip, results, variant

pytestmark = pytest.mark.django_db

COMMAND = "portrait.transfer.management.commands.import_portraits"


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Works whenever the command waits."""

    def work(seconds: float) -> None:
        from portrait.jobs.models import JobItem

        for item in JobItem.objects.filter(state=ItemState.WAITING).values_list("id", flat=True):
            run_item(item)
        tend()

    monkeypatch.setattr(f"{COMMAND}.sleep", work)
    monkeypatch.setattr(f"{COMMAND}.connection.close", lambda: None)  # the test's transaction


def command(collection: Collection, source: Path, *options: str) -> tuple[int, str]:
    out = io.StringIO()
    code: Any = 0
    try:
        call_command("import_portraits", str(source), "--collection", collection.name, *options, stdout=out)
    except SystemExit as ended:
        code = ended.code
    return code, out.getvalue()


@pytest.fixture
def folder(tmp_path: Path, collins: bytes, hopper: bytes) -> Path:
    for name, data in {
        "Ada/a.jpg": collins,
        "Ada/b.jpg": variant(collins, 1),
        "Bea/a.jpg": hopper,
        "people.csv": b"name,external_id\nAda,E-1\n",
    }.items():
        path = tmp_path / "people" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tmp_path / "people"


@pytest.mark.usefixtures("worker")
def test_a_folder_comes_in_by_parts_and_its_account_is_told(
    collection: Collection, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "PART_FILES", 2)
    (folder / "Bea" / "bad.jpg").write_bytes(b"rubbish")
    (folder / "Bea" / "link.jpg").symlink_to(folder / "Ada" / "a.jpg")
    code, out = command(collection, folder)
    assert code == 3
    assert "Bea/bad.jpg: unsupported_image" in out
    assert "link.jpg: symlink" in out
    run = Import.objects.get()
    assert run.parts.count() == 3
    assert results(run) == {
        "people.csv": ("skipped", "table"),
        "Ada/a.jpg": ("accepted", ""),
        "Ada/b.jpg": ("accepted", ""),
        "Bea/a.jpg": ("accepted", ""),
        "Bea/bad.jpg": ("rejected", "unsupported_image"),
    }
    assert Identity.objects.get(collection=collection, external_id="E-1").portraits.count() == 2


@pytest.mark.usefixtures("worker")
def test_run_again_all_is_known(collection: Collection, folder: Path, tmp_path: Path) -> None:
    assert command(collection, folder)[0] == 0
    zipped = tmp_path / "people.zip"
    zipped.write_bytes(make_zip({f"Bea/{each}": (folder / "Bea" / each).read_bytes() for each in ["a.jpg"]}).getvalue())
    code, out = command(collection, zipped)
    assert code == 0
    assert "duplicate" in out
    assert Identity.objects.filter(collection=collection).count() == 2


@pytest.mark.usefixtures("worker")
def test_an_unpacked_export_comes_in_as_it_was(
    collection: Collection, other_collection: Collection, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import zipfile

    command(collection, folder)
    exported = io.BytesIO(b"".join(export_collection(collection=collection)))
    with zipfile.ZipFile(exported) as zipped:
        zipped.extractall(tmp_path / "out")
    monkeypatch.setattr(packing, "PART_FILES", 2)
    assert command(other_collection, tmp_path / "out")[0] == 0
    for each in Identity.objects.filter(collection=collection):
        twin = Identity.objects.get(collection=other_collection, name=each.name)
        assert twin.external_id == each.external_id
        shas = [set(who.portraits.values_list("sha256", flat=True)) for who in (each, twin)]
        assert shas[0] == shas[1]


def test_interrupted_the_job_goes_on_and_it_is_told_where(
    collection: Collection, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"{COMMAND}.sleep", interrupted)
    monkeypatch.setattr(f"{COMMAND}.connection.close", lambda: None)
    code, out = command(collection, folder)
    run = Import.objects.get()
    assert code == 130
    assert str(run.pk) in out.replace("\n", "")
    assert run.sealed
    assert run.job is not None
    while waiting := list(run.job.items.filter(state=ItemState.WAITING).values_list("id", flat=True)):
        for item in waiting:
            run_item(item)
        tend()
    run.refresh_from_db()
    assert run.finished_at is not None
    assert {status for status, _ in results(run).values()} == {"accepted", "skipped"}


def test_without_waiting_it_hands_over_and_ends(collection: Collection, folder: Path) -> None:
    code, out = command(collection, folder, "--no-wait")
    assert (code, "Handed over" in out) == (0, True)
    assert Import.objects.get().sealed


@pytest.mark.parametrize("source", ["missing", "empty.zip"])
def test_what_cannot_be_imported_is_told(collection: Collection, tmp_path: Path, source: str) -> None:
    (tmp_path / "empty.zip").write_bytes(b"")
    with pytest.raises(CommandError):
        command(collection, tmp_path / source)
    with pytest.raises(CommandError, match="no collection"):
        call_command("import_portraits", str(tmp_path), "--collection", "nobody")
