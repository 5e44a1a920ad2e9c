"""The folder for uploads holds nothing for long."""

import os
import time
from pathlib import Path
from typing import Any

import pytest

from portrait.core.spool import LEFT_OVER_AFTER_S, remove_leftovers, temporary_file
from portrait.transfer.tasks import tend


@pytest.fixture
def folder(settings: Any, tmp_path: Path) -> Path:
    settings.FILE_UPLOAD_TEMP_DIR = tmp_path / "tmp"
    settings.FILE_UPLOAD_TEMP_DIR.mkdir()
    return Path(settings.FILE_UPLOAD_TEMP_DIR)


def make_old(path: Path) -> None:
    then = time.time() - LEFT_OVER_AFTER_S - 60
    os.utime(path, (then, then), follow_symlinks=False)


def test_what_a_killed_process_left_goes_by_its_age_and_uploads_under_way_stay(folder: Path, tmp_path: Path) -> None:
    (folder / "old.upload.zip").write_bytes(b"faces")
    (folder / "old").mkdir()
    (folder / "old" / "claims").write_bytes(b"names")
    (tmp_path / "elsewhere").write_bytes(b"not ours")
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    for path in folder.iterdir():
        make_old(path)
    (folder / "new.upload.zip").write_bytes(b"on its way")
    assert remove_leftovers() == 3
    assert [path.name for path in folder.iterdir()] == ["new.upload.zip"]
    assert (tmp_path / "elsewhere").exists()


@pytest.mark.django_db
def test_who_tends_imports_removes_leftovers(folder: Path) -> None:
    (folder / "old.upload.zip").write_bytes(b"faces")
    make_old(folder / "old.upload.zip")
    tend()
    assert list(folder.iterdir()) == []


def test_a_temporary_file_has_no_name_that_outlives_its_process(folder: Path) -> None:
    with temporary_file() as file:
        file.write(b"x")
        assert list(folder.iterdir()) == []
        assert os.fstat(file.fileno()).st_dev == folder.stat().st_dev
