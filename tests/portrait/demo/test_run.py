"""The demo with a user's own folder: what becomes of pictures that cannot be used, and of those of the last demo."""

import io
import stat
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from portrait.demo import run
from portrait.demo.annotate import clean_folder
from portrait.demo.client import PictureRefusedError
from portrait.demo.photos import Photo, PhotoSet, from_folder
from tests.api_clients import plain_jpeg

BAD = b"not a picture"


class Api:
    """The API as far as a demo uses it; it refuses `BAD` at once, and what `ends` names in the queue."""

    def __init__(self, ends: dict[bytes, str] | None = None) -> None:
        self.ends = ends or {}

    def call(self, method: str, path: str, body: object = None) -> Any:
        return {"results": []}

    def ensure_person(self, collection: str, name: str) -> str:
        return name

    def enrol(self, identity: str, photo: bytes) -> str:
        if photo == BAD:
            raise PictureRefusedError("This is [no] picture.")
        return photo.decode("latin-1")

    def wait(self, job: str) -> dict[str, Any]:
        if code := self.ends.get(job.encode("latin-1")):
            return {"items": [{"error": {"code": code, "message": f"because of {code}"}, "result": None}]}
        portrait = {"quality": {"score": 0.9}}
        return {"items": [{"error": None, "result": {"status": "accepted", "portrait": portrait, "warnings": []}}]}

    def recognize(self, collection: str, photo: bytes) -> list[dict[str, Any]]:
        if photo == BAD:
            raise PictureRefusedError("This is [no] picture.")
        return [{"box": [5, 5, 20, 20], "candidates": []}]


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=150)


def printed(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def enrol(console: Console, people: dict[str, list[bytes]], **ends: str) -> bool:
    photos = {name: [Photo(f"{n}.jpg", data) for n, data in enumerate(datas)] for name, datas in people.items()}
    by_picture = {picture.encode(): code for picture, code in ends.items()}
    return run.enrol(Api(by_picture), "photos", PhotoSet(photos, []), console)  # type: ignore[arg-type]


def test_a_refused_picture_is_a_line_and_the_rest_goes_on(console: Console) -> None:
    assert enrol(console, {"Ann": [BAD, b"a"], "Bob": [b"b", b"group"]}, group="several_faces")
    lines = printed(console).splitlines()
    assert sum("refused: This is [no] picture." in line for line in lines) == 1
    assert sum("refused: because of several_faces" in line for line in lines) == 1
    assert sum("accepted" in line for line in lines) == 2


def test_somebody_without_a_portrait_is_a_failure(console: Console) -> None:
    assert not enrol(console, {"Ann": [b"a"], "Bob": [BAD]})


def test_a_fault_of_the_site_is_a_failure_even_if_everybody_has_a_portrait(console: Console) -> None:
    assert not enrol(console, {"Ann": [b"a", b"b"]}, b="internal_error")
    assert "failed: because of internal_error" in printed(console)


def test_every_reason_against_a_picture_counts_as_a_refusal() -> None:
    assert {"corrupt_image", "unsupported_image", "image_too_large", "no_face", "several_faces"} <= run.REFUSALS
    assert not {"internal_error", "inference_unavailable", "worker_lost"} & run.REFUSALS


def test_a_refused_probe_is_a_line_too(console: Console, tmp_path: Path) -> None:
    probes = [Photo("bad[1].jpg", BAD), Photo("good.jpg", plain_jpeg())]
    results = run.recognise(Api(), "photos", PhotoSet({}, probes), tmp_path, console)  # type: ignore[arg-type]
    assert [result.right for result in results] == [True, True]
    assert "refused: This is [no] picture." in printed(console)
    assert "bad[1].jpg" in printed(console)
    assert [path.name for path in tmp_path.iterdir()] == ["02-good.jpg"]


def test_of_the_built_in_pictures_none_may_be_refused(console: Console, tmp_path: Path) -> None:
    probes = [Photo("a cat", BAD, expected=())]
    (result,) = run.recognise(Api(), "demo", PhotoSet({}, probes), tmp_path, console)  # type: ignore[arg-type]
    assert not result.right


def test_a_folder_without_pictures_to_recognise_is_fine(console: Console, tmp_path: Path) -> None:
    (tmp_path / "Ann").mkdir()
    (tmp_path / "Ann" / "1.jpg").write_bytes(b"a")
    photos = from_folder(tmp_path)
    assert (list(photos.people), photos.probes) == (["Ann"], [])
    assert run.recognise(Api(), "photos", photos, tmp_path, console) == []  # type: ignore[arg-type]
    assert "no picture to recognise" in printed(console)


def test_the_pictures_of_the_last_demo_are_removed_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    clean_folder(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    folder.chmod(0o755)
    for name in ("01-ann.jpg", "112-picture.jpg", "notes.txt", "mine.jpg"):
        (folder / name).write_bytes(b"x")
    (folder / "02-folder.jpg").mkdir()
    clean_folder(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["02-folder.jpg", "mine.jpg", "notes.txt"]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
