"""Zips as people make them, and the items of an import done one after the other, as a worker does them."""

import io
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from PIL import Image, ImageEnhance

from portrait.audit.services import system
from portrait.demo.photos import COLLINS, HOPPER, PhotoSet
from portrait.gallery.models import Collection
from portrait.jobs.models import ItemState
from portrait.jobs.tasks import run_item
from portrait.transfer.models import Import, ImportFile
from portrait.transfer.services.imports import start_import
from portrait.transfer.tasks import tend

Files = Mapping[str, bytes]
TESTER = system("test")


def make_zip(files: Files, **options: Any) -> io.BytesIO:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", **options) as zipped:
        for name, data in files.items():
            zipped.writestr(name, data)
    made.seek(0)
    return made


def drive(run: Import) -> dict[str, tuple[str, str]]:
    """Do all that waits; (status, code) by file."""
    assert run.job is not None
    while True:
        items = list(run.job.items.filter(state=ItemState.WAITING).values_list("id", flat=True))
        for item in items:
            run_item(item)
        tend()
        if not run.job.items.filter(state=ItemState.WAITING).exists():
            break
    run.refresh_from_db()
    return results(run)


def results(run: Import) -> dict[str, tuple[str, str]]:
    rows = ImportFile.objects.filter(run=run)
    found = {row.path: (row.status, row.code) for row in rows}
    assert len(found) == len(rows), "a file has two results"
    return found


@pytest.fixture
def run_import(collection: Collection) -> Callable[..., tuple[Import, dict[str, tuple[str, str]]]]:
    """Import some files, or a zip, into the collection, to the end."""

    def go(files: Files | io.BytesIO, into: Collection = collection, **options: Any) -> Any:
        zipped = files if isinstance(files, io.BytesIO) else make_zip(files)
        run = start_import(collection=into, file=zipped, principal=TESTER, **{"face": "", "force": False, **options})
        return run, drive(run)

    return go


def variant(data: bytes, number: int) -> bytes:
    """Another picture of the same person."""
    made = io.BytesIO()
    image = ImageEnhance.Brightness(Image.open(io.BytesIO(data))).enhance(0.85 + 0.02 * number)
    image.save(made, "JPEG", quality=88)
    return made.getvalue()


@pytest.fixture
def collins(photos: PhotoSet) -> bytes:
    return photos.people[COLLINS][0].data


@pytest.fixture
def hopper(photos: PhotoSet) -> bytes:
    return photos.people[HOPPER][0].data
