"""The parts of capture without a process of their own; tests/live/test_watch_cameras.py runs the whole."""

import itertools
import os
import random
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from django.db import connections
from pytest_django import Settings

from portrait.cameras import addresses, disk
from portrait.cameras.addresses import SourceError, check_source, masked, unmasked
from portrait.cameras.capture import reader
from portrait.cameras.capture.folder import Journal, PictureFolder, natural_key
from portrait.cameras.capture.reader import CameraReader, Exit, Options
from portrait.cameras.capture.sampling import Backoff, Sampler
from portrait.cameras.capture.sources import fingerprint
from portrait.cameras.incoming import IncomingFrame
from portrait.cameras.models import Camera, CaptureStatus, Frame
from portrait.cameras.services.accept import accept_frame
from portrait.gallery.models import Collection
from tests.cameras_live import jpeg, write_video
from tests.live.conftest import wait_for

State = CaptureStatus.State


@pytest.fixture
def sources(settings: Settings, tmp_path: Path) -> Path:
    folder = tmp_path / "sources"
    folder.mkdir()
    settings.PORTRAIT = replace(
        settings.PORTRAIT, source_dirs=[folder.resolve()], var=tmp_path / "var", frames_min_free_mb=1
    )
    return folder


# --- addresses ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "source",
    [
        "",
        "device:0",
        "rtsp://camera.local/stream",
        "rtsps://admin:p%40ss@10.0.0.7:322/h264?channel=1",
        "http://camera/video.mjpg",
        "HTTPS://camera/video",
        "rtsp://admin:p@ss@camera/x",
        "http://[fe80::1]:8080/video",
    ],
)
def test_addresses_of_cameras_are_taken(source: str) -> None:
    check_source(source)


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("file:///etc/passwd", "write the path itself"),
        ("concat:a.ts|b.ts", "begin with concat: cannot be read"),
        ("rtmp://host/x", "use one of rtsp://"),
        ("device:front", "device:0"),
        ("http://", "names no host"),
        ("http://host:port/", "HOST:PORT"),
        ("rtsp://user:12/34@host/", "%2F"),
        ("http://host/a b", "%20"),
        ("rtsp://host/\nx", "line break"),
        ("/etc/passwd", "outside of the folders"),
        ("../../etc/passwd", "outside of the folders"),
        ("no-such-file.mp4", "There is no file"),
    ],
)
def test_a_source_that_cannot_be_is_refused_with_the_remedy(source: str, told: str, sources: Path) -> None:
    with pytest.raises(SourceError) as refused:
        check_source(source)
    assert told in refused.value.message
    assert (refused.value.code, refused.value.field) == ("source_invalid", "source")


def test_files_are_read_inside_of_the_named_folders_only(sources: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.mp4").write_bytes(b"x")
    (sources / "link.mp4").symlink_to(tmp_path / "secret.mp4")
    (sources / "linked").symlink_to(tmp_path)
    (sources / "inside.mp4").write_bytes(b"x")
    (sources / "alias.mp4").symlink_to(sources / "inside.mp4")
    os.mkfifo(sources / "pipe.mp4")
    for allowed in (sources / "inside.mp4", "inside.mp4", sources / "alias.mp4", sources, "./inside.mp4"):
        check_source(str(allowed))
    for refused in ("link.mp4", "linked", "linked/secret.mp4", "../secret.mp4", tmp_path / "secret.mp4", "pipe.mp4"):
        with pytest.raises(SourceError):
            check_source(str(refused))


def test_whether_a_file_outside_exists_is_not_told(sources: Path, tmp_path: Path) -> None:
    (tmp_path / "present").write_bytes(b"x")
    told = []
    for name in ("present", "missing"):
        with pytest.raises(SourceError) as refused:
            check_source(str(tmp_path / name))
        told.append(refused.value.message.replace(name, ""))
    assert told[0] == told[1]


@pytest.mark.parametrize(
    "text",
    [
        "rtsp://admin:geheim@host/x",
        "rtsp://admin:ge@heim@host/x",
        "rtsp://admin:ge/heim@host/x",
        "rtsp://admin:ge#heim@host/x",
        "http://geheim@host/x",
        "http://host/x?user=admin&pwd=geheim&n=1",
        "http://host/x?n=1&access_token=geheim",
        "http://host/x?Password=geheim#part",
        "cannot open 'rtsp://admin:geheim@host/x': 401, nor http://u:geheim@other/",
    ],
)
def test_a_masked_address_has_no_password(text: str) -> None:
    shown = masked(text)
    assert "heim" not in shown
    assert addresses.HIDDEN in shown
    assert unmasked(shown, before=text) == text
    assert masked(shown) == shown


def test_what_is_no_secret_is_shown() -> None:
    for text in ("rtsp://host:554/stream?channel=2", "/srv/videos/a@b.mp4", "device:0", "mail me@example.org"):
        assert masked(text) == text


def test_a_camera_with_a_bad_source_can_be_refused_before_it_is_saved(sources: Path) -> None:
    assert issubclass(SourceError, addresses.PortraitError)
    assert SourceError.status == 400


# --- sampling -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rate", "fps", "expected"), [(25, 10, 10), (30, 10, 10), (25, 25, 25), (10, 25, 10), (50, 1, 1)]
)
def test_so_many_frames_a_second_are_taken(rate: int, fps: int, expected: int) -> None:
    sampler = Sampler(fps)
    taken = sum(sampler.due(number / rate) for number in range(rate * 60))
    assert taken == expected * 60


def test_every_frame_is_taken_without_a_rate() -> None:
    sampler = Sampler(None)
    assert all(sampler.due(time_s) for time_s in (0.0, 0.0, 5.0, 1.0))


def test_after_a_hole_no_frames_are_made_up_and_a_clock_that_goes_back_starts_anew() -> None:
    sampler = Sampler(1)
    assert [sampler.due(time_s) for time_s in (0.0, 0.5, 10.2, 10.4, 10.9, 11.0)] == [
        True,
        False,
        True,
        False,
        False,
        True,
    ]
    assert [sampler.due(time_s) for time_s in (3.0, 3.5, 4.0)] == [True, False, True]


def test_pauses_grow_to_a_limit_and_begin_anew_after_success() -> None:
    random.seed(7)
    backoff = Backoff(0.5, 30)
    pauses = [backoff.pause_s() for _ in range(12)]
    for number, pause in enumerate(pauses):
        whole = min(0.5 * 2**number, 30)
        assert whole / 2 <= pause <= whole
    backoff.worked(1)  # shorter than the next pause: it does not count
    assert backoff.pause_s() >= 15
    backoff.worked(60)
    assert backoff.pause_s() <= 0.5


# --- folders --------------------------------------------------------------------------------------


def test_names_are_sorted_as_people_count() -> None:
    names = ["b", "a10", "a2", "a1b3", "A3", "10", "9", "_"]
    assert sorted(names, key=natural_key) == ["9", "10", "_", "a1b3", "a2", "A3", "a10", "b"]


def test_a_journal_gives_the_same_numbers_whatever_comes_and_after_a_crash_in_its_last_line(
    sources: Path, tmp_path: Path
) -> None:
    path = tmp_path / "capture" / "journal"
    for number in (5, 7):
        (sources / f"{number}.jpg").write_bytes(jpeg(number))

    def read(start: int) -> list[tuple[int, str]]:
        folder = PictureFolder(sources, Journal(path, sources), once=True)
        return [(look.index, look.metadata["file"]) for look in folder.looks(start)]

    assert read(0) == [(0, "5.jpg"), (1, "7.jpg")]
    (sources / "6.jpg").write_bytes(jpeg(6))
    assert read(1) == [(1, "7.jpg"), (2, "6.jpg")]
    identity = Journal(path, sources).identity
    with path.open("a") as file:
        file.write('["8.jpg", 1')
    assert read(0) == [(0, "5.jpg"), (1, "7.jpg"), (2, "6.jpg")]
    assert Journal(path, sources).identity == identity
    assert Journal(path, sources / "another").identity != identity


def test_a_picture_that_is_written_anew_is_another_and_the_lost_one_is_told(sources: Path, tmp_path: Path) -> None:
    path = tmp_path / "journal"
    (sources / "now.jpg").write_bytes(jpeg(1))
    folder = PictureFolder(sources, Journal(path, sources), once=True)
    assert [look.take() for look in folder.looks(0)] == [jpeg(1)]
    (sources / "now.jpg").write_bytes(jpeg(2) + b"\0")
    assert [look.take() for look in folder.looks(0)] == [None, jpeg(2) + b"\0"]


def test_a_picture_that_is_still_written_is_left_for_later(sources: Path, tmp_path: Path) -> None:
    folder = PictureFolder(sources, Journal(tmp_path / "journal", sources), once=False)
    (sources / "now.jpg").write_bytes(jpeg(1)[:50])
    assert list(folder.looks(0)) == []
    (sources / "now.jpg").write_bytes(jpeg(1))
    assert list(folder.looks(0)) == []
    assert [look.take() for look in folder.looks(0)] == [jpeg(1)]


def test_a_file_is_known_by_its_content(tmp_path: Path) -> None:
    one = write_video(tmp_path / "one.avi", 10)
    before = fingerprint(one)
    os.utime(one, (1, 1))
    assert fingerprint(one) == before
    assert fingerprint(write_video(tmp_path / "two.avi", 10, first=1)) != before


def copied(folder: Path, count: int) -> None:
    """Pictures that share a moment, as copied files do."""
    folder.mkdir()
    for number in range(count):
        (folder / f"{number}.jpg").write_bytes(jpeg(number))
        os.utime(folder / f"{number}.jpg", (1_700_000_000, 1_700_000_000))


# --- a reader -------------------------------------------------------------------------------------


@pytest.fixture
def camera(sources: Path, collection: Collection) -> Camera:
    write_video(sources / "clip.avi", 40)
    return Camera.objects.create(collection=collection, name="front", source="clip.avi")


@pytest.fixture
def read_until() -> Callable[[Camera, Callable[[], object]], Exit]:
    """Reads a camera in a thread until a condition holds (None: to the end); answers how it ended."""

    def read(camera: Camera, condition: Callable[[], object] | None) -> Exit:
        stop, ends = threading.Event(), list[Exit]()

        def run() -> None:
            try:
                ends.append(CameraReader(camera, Options(once=True), stop, str).run())
            finally:
                connections.close_all()

        thread = threading.Thread(target=run)
        thread.start()
        try:
            if condition:
                wait_for(condition, "what the reader shall do")
        finally:
            if condition:
                stop.set()
            thread.join(60)
        (end,) = ends
        return end

    return read


@pytest.mark.django_db(transaction=True)
def test_a_full_disk_pauses_a_reader_until_there_is_room(
    camera: Camera, read_until: Callable[..., Exit], monkeypatch: pytest.MonkeyPatch
) -> None:
    room = [0]
    monkeypatch.setattr(disk, "free_bytes", lambda: room[0])

    def paused_then_room() -> bool:
        status = CaptureStatus.objects.filter(camera=camera).first()
        if not room[0] and status and status.state == State.PAUSED:
            assert "PORTRAIT_MIN_FREE_MB" in status.message
            assert Frame.objects.count() == 0
            room[0] = 2**40
        return bool(status and status.state == State.ENDED)

    assert read_until(camera, paused_then_room) is Exit.DONE
    assert list(Frame.objects.order_by("sequence").values_list("sequence", flat=True)) == list(range(40))
    assert CaptureStatus.objects.get(camera=camera).not_taken == 0


@pytest.mark.django_db(transaction=True)
def test_frames_stored_before_a_crash_are_met_again_and_not_doubled(
    camera: Camera, read_until: Callable[..., Exit]
) -> None:
    assert read_until(camera, None) is Exit.DONE
    before = list(Frame.objects.order_by("sequence").values_list("id", "sha256"))
    # As if it had died before it could write how far it was: all frames come again.
    CaptureStatus.objects.filter(camera=camera).update(state=State.RUNNING, position=0, base_sequence=0, captured=0)
    assert read_until(camera, None) is Exit.DONE
    assert list(Frame.objects.order_by("sequence").values_list("id", "sha256")) == before
    assert CaptureStatus.objects.get(camera=camera).captured == 40


@pytest.mark.django_db(transaction=True)
def test_of_a_folder_every_picture_is_a_frame_whatever_fps_says(
    collection: Collection, read_until: Callable[..., Exit], sources: Path
) -> None:
    copied(sources / "pictures", 12)
    camera = Camera.objects.create(collection=collection, name="folder", source="pictures", fps=1)
    assert read_until(camera, None) is Exit.DONE
    assert list(Frame.objects.order_by("sequence").values_list("sequence", flat=True)) == list(range(12))


@pytest.mark.django_db(transaction=True)
def test_frames_that_are_pushed_to_the_same_camera_move_the_files_sequences(
    camera: Camera, read_until: Callable[..., Exit], monkeypatch: pytest.MonkeyPatch
) -> None:
    accept_frames, pushes = reader.accept_frames, itertools.count()

    def with_a_push_between(**values: object) -> object:
        if next(pushes) == 2:
            accept_frame(camera=camera, incoming=IncomingFrame(jpeg(77)))
        return accept_frames(**values)  # type: ignore[arg-type]

    monkeypatch.setattr(reader, "accept_frames", with_a_push_between)
    assert read_until(camera, None) is Exit.DONE
    frames = list(Frame.objects.order_by("sequence").values_list("sequence", flat=True))
    assert frames == list(range(41))
    assert Frame.objects.values("sha256").distinct().count() == 41


@pytest.mark.django_db(transaction=True)
def test_a_store_that_fails_for_a_while_loses_nothing_of_a_file(
    camera: Camera, read_until: Callable[..., Exit], monkeypatch: pytest.MonkeyPatch
) -> None:
    accept_frames, tries = reader.accept_frames, itertools.count()

    def failing(**values: object) -> object:
        if next(tries) in (1, 2):
            raise ConnectionError("the bucket does not answer")
        return accept_frames(**values)  # type: ignore[arg-type]

    monkeypatch.setattr(reader, "accept_frames", failing)
    assert read_until(camera, None) is Exit.DONE
    assert Frame.objects.count() == 40


@pytest.mark.django_db(transaction=True)
def test_a_deleted_camera_and_a_missing_file_end_the_reader(
    camera: Camera, read_until: Callable[..., Exit], sources: Path
) -> None:
    (sources / "clip.avi").rename(sources / "away.avi")
    assert read_until(camera, None) is Exit.UNREADABLE
    assert CaptureStatus.objects.get(camera=camera).state == State.FAILED
    (sources / "away.avi").rename(sources / "clip.avi")
    Camera.objects.all().delete()
    assert read_until(camera, None) is Exit.GONE
