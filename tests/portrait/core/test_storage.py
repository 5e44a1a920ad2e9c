"""The storage that has written when it says so: in which order, with which rights, and never half a file."""

import errno
import os
import stat
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import SuspiciousFileOperation
from django.core.files.base import ContentFile

from portrait.core import storage as module
from portrait.core.storage import FsyncStorage
from portrait.gallery.models import Portrait
from portrait.jobs.models import JobItem
from portrait.sightings.models import Sighting


@pytest.fixture
def top(tmp_path: Path) -> Path:
    return tmp_path / "media"


@pytest.fixture
def storage(top: Path) -> FsyncStorage:
    return FsyncStorage(location=str(top))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What is asked of the disk, in order: ("fsync", path), ("link", path)."""
    made: list[tuple[str, str]] = []

    def note(name: str, real: Callable[..., Any], what: Callable[..., str]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            made.append((name, what(*args)))
            return real(*args, **kwargs)

        return call

    monkeypatch.setattr(os, "fsync", note("fsync", os.fsync, lambda fd: os.readlink(f"/proc/self/fd/{fd}")))
    monkeypatch.setattr(os, "link", note("link", os.link, lambda source, target: str(target)))
    return made


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def read(storage: FsyncStorage, name: str) -> bytes:
    with storage.open(name) as file:
        return bytes(file.read())


def test_bytes_then_the_name_then_the_folders_are_flushed(
    storage: FsyncStorage, top: Path, calls: list[tuple[str, str]]
) -> None:
    assert storage.save("a/b/x.jpg", ContentFile(b"bytes")) == "a/b/x.jpg"
    (first, part), *rest = calls
    assert (first, Path(part).parent) == ("fsync", top / "a/b")
    assert part.endswith(".part")
    flushed = [top / "a/b", top / "a", top, top.parent]
    assert rest == [("link", str(top / "a/b/x.jpg")), *(("fsync", str(folder)) for folder in flushed)]
    assert names(top) == ["x.jpg"]
    assert read(storage, "a/b/x.jpg") == b"bytes"


def test_the_folders_above_are_flushed_once(storage: FsyncStorage, top: Path, calls: list[tuple[str, str]]) -> None:
    storage.save("a/1.jpg", ContentFile(b"1"))
    calls.clear()
    storage.save("a/2.jpg", ContentFile(b"2"))
    assert [name for name, _ in calls] == ["fsync", "link", "fsync"]
    assert calls[-1] == ("fsync", str(top / "a"))


def test_a_folder_that_another_process_made_is_flushed_too(
    storage: FsyncStorage, top: Path, calls: list[tuple[str, str]]
) -> None:
    """It may be killed, with the machine, before it has flushed the folder's name itself."""
    (top / "new").mkdir(parents=True)
    storage.save("new/x.jpg", ContentFile(b"x"))
    assert ("fsync", str(top)) in calls


def test_a_folder_that_was_made_again_is_flushed_again(
    storage: FsyncStorage, top: Path, calls: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    storage.save("a/x.jpg", ContentFile(b"x"))
    (top / "a" / "x.jpg").unlink()
    (top / "a").rename(top / "old")  # keeps its inode, so that the new one has another
    calls.clear()
    storage.save("a/x.jpg", ContentFile(b"x"))
    assert ("fsync", str(top)) in calls


def test_rights(storage: FsyncStorage, top: Path) -> None:
    storage.save("a/b/x.jpg", ContentFile(b"x"))
    modes = [stat.S_IMODE((top / path).stat().st_mode) for path in ("a/b/x.jpg", "a/b", "a", "")]
    assert modes == [0o600, 0o700, 0o700, 0o700]


def test_a_crash_leaves_no_file_of_that_name(storage: FsyncStorage, top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While bytes are written there is no name; when they cannot be written there is nothing at all."""
    seen: list[bool] = []

    def fails(descriptor: int) -> None:
        seen.append((top / "x.jpg").exists())
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(OSError, match="No space left"):
        storage.save("x.jpg", ContentFile(b"x" * 100_000))
    assert seen == [False]
    assert names(top) == []


def test_a_reader_never_meets_half_of_a_file(storage: FsyncStorage, top: Path) -> None:
    data, sizes, done = b"x" * 5_000_000, set[int](), threading.Event()

    def watch() -> None:
        while not done.is_set():
            with suppress(FileNotFoundError):
                sizes.add((top / "x.bin").stat().st_size)

    watcher = threading.Thread(target=watch)
    watcher.start()
    for _ in range(5):
        storage.save("x.bin", ContentFile(data))
        storage.delete("x.bin")
    done.set()
    watcher.join()
    assert sizes <= {len(data)}


def test_a_file_is_never_replaced(storage: FsyncStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    first = storage.save("x.jpg", ContentFile(b"first"))
    with monkeypatch.context() as patch:  # another process takes the name after it was found to be free
        free = iter(["x.jpg", "x_2.jpg"])
        patch.setattr(storage, "get_available_name", lambda name, max_length=None: next(free))
        second = storage.save("x.jpg", ContentFile(b"second"))
    assert (first, second) == ("x.jpg", "x_2.jpg")
    assert read(storage, first) == b"first"
    assert read(storage, second) == b"second"


def test_many_at_once_get_a_name_each(storage: FsyncStorage, top: Path) -> None:
    saved: list[str] = []
    contents = [b"%d" % number for number in range(16)]
    threads = [
        threading.Thread(target=lambda data=data: saved.append(storage.save("a/x.jpg", ContentFile(data))))
        for data in contents
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(saved)) == len(names(top)) == 16
    assert {read(storage, name) for name in saved} == set(contents)


def test_a_disk_without_hard_links(storage: FsyncStorage, top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(source: Path, target: Path) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    assert storage.save("x.jpg", ContentFile(b"1")) == "x.jpg"
    assert read(storage, "x.jpg") == b"1"
    with pytest.raises(FileExistsError):
        module._name(top / "x.jpg", top / "x.jpg")


def test_a_folder_that_is_removed_meanwhile_is_made_again(
    storage: FsyncStorage, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, removed = os.open, []

    def opens(path: Any, *args: Any, **kwargs: Any) -> int:
        if not removed and str(path).endswith(".part"):
            removed.append(path)
            (top / "a").rmdir()
        return real(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", opens)
    storage.save("a/x.jpg", ContentFile(b"x"))
    assert removed
    assert read(storage, "a/x.jpg") == b"x"


def test_a_file_where_a_folder_is_needed(storage: FsyncStorage) -> None:
    storage.save("a", ContentFile(b"x"))
    with pytest.raises(NotADirectoryError):
        storage._save("a/b/x.jpg", ContentFile(b"x"))


@pytest.mark.parametrize("name", ["../x.jpg", "/etc/x.jpg", "a/../../x.jpg", ".."])
def test_names_that_lead_outside(storage: FsyncStorage, top: Path, name: str) -> None:
    for write in (storage.save, storage._save):
        with pytest.raises((SuspiciousFileOperation, OSError)):
            write(name, ContentFile(b"x"))
    assert names(top.parent) == []


def test_a_long_name_fits(storage: FsyncStorage) -> None:
    name = "x" * 250 + ".jpg"
    assert storage.save(name, ContentFile(b"x")) == name


def test_portraits_sightings_and_uploads_have_written_when_they_say_so() -> None:
    """Their rows, or the removal of a frame's picture, are committed right after."""
    for model, name in ((Portrait, "image"), (Portrait, "thumbnail"), (Sighting, "picture"), (JobItem, "upload")):
        assert isinstance(model._meta.get_field(name).storage, FsyncStorage), (model, name)
