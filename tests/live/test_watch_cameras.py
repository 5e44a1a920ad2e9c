"""`manage.py watch_cameras` on real sources: files, folders, HTTP and RTSP streams; and what happens when parts die."""

import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from django.conf import settings
from django.db import connection
from django.db.models import F

from portrait.cameras.models import Camera, CaptureStatus, Frame
from portrait.gallery.models import Collection
from tests.cameras_live import MjpegServer, RtspServer, Watching, jpeg, write_video
from tests.live.conftest import wait_for

pytestmark = pytest.mark.django_db(transaction=True)
State = CaptureStatus.State
Watch = Callable[..., Watching]


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    folder = tmp_path / "sources"
    folder.mkdir()
    return folder


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Watch]:
    """Starts watch_cameras; afterwards nothing of it is left."""
    started: list[Watching] = []

    def start(*arguments: str, **variables: str) -> Watching:
        started.append(Watching(tmp_path, *arguments, **variables))
        return started[-1]

    yield start
    for watching in started:
        watching.stop()
        wait_for(lambda watching=watching: not watching.readers(), "the end of the readers")
    if started:
        sys.stdout.write(started[0].log[-6000:])


@pytest.fixture
def mjpeg() -> Iterator[MjpegServer]:
    server = MjpegServer()
    yield server
    server.stop()


@pytest.fixture
def rtsp() -> Iterator[RtspServer]:
    server = RtspServer()
    yield server
    server.stop()


def make_camera(collection: Collection, source: object, *, name: str = "front", fps: float | None = None) -> Camera:
    return Camera.objects.create(collection=collection, name=name, source=str(source), fps=fps)


def sequences(camera: Camera) -> list[int]:
    return list(Frame.objects.filter(camera=camera).order_by("sequence").values_list("sequence", flat=True))


def status(camera: Camera) -> CaptureStatus:
    return CaptureStatus.objects.filter(camera=camera).first() or CaptureStatus(camera=camera)


def in_state(camera: Camera, state: State) -> bool:
    return status(camera).state == state


# --- files ----------------------------------------------------------------------------------------


def test_a_file_is_read_to_its_last_frame_and_not_again(collection: Collection, sources: Path, watch: Watch) -> None:
    camera = make_camera(collection, write_video(sources / "clip.mp4", 60))
    assert watch("--once", "--start", "2026-01-02T03:04:05Z").process.wait(90) == 0
    assert sequences(camera) == list(range(60))
    now = status(camera)
    assert (now.state, now.captured, now.not_taken, now.position) == (State.ENDED, 60, 0, 60)
    assert now.epoch is not None
    assert now.epoch.isoformat() == "2026-01-02T03:04:05+00:00"
    times = list(Frame.objects.filter(camera=camera).order_by("sequence").values_list("captured_at", flat=True))
    assert [round((at - now.epoch).total_seconds() * 1000) for at in times] == [40 * number for number in range(60)]

    assert watch("front", "--once").process.wait(90) == 0
    assert len(sequences(camera)) == 60

    write_video(sources / "clip.mp4", 20, first=100)  # another file at its place
    assert watch(f"{collection.name}/front", "--once").process.wait(90) == 0
    assert sequences(camera) == list(range(80))
    assert status(camera).captured == 80


def test_without_a_start_a_files_last_frame_is_from_just_now(
    collection: Collection, sources: Path, watch: Watch
) -> None:
    camera = make_camera(collection, write_video(sources / "clip.avi", 50, fps=0.1), fps=0.05)
    assert watch("--once").process.wait(90) == 0
    times = list(Frame.objects.filter(camera=camera).order_by("sequence").values_list("captured_at", flat=True))
    assert len(times) == 25  # every second one
    assert times[-1] - times[0] == timedelta(seconds=480)
    accepted = Frame.objects.filter(camera=camera).latest("sequence").accepted_at
    assert times[-1] < accepted


def test_a_killed_reader_and_a_killed_parent_lose_and_double_nothing(
    collection: Collection, sources: Path, watch: Watch
) -> None:
    camera = make_camera(collection, write_video(sources / "clip.avi", 400, fps=25), fps=12.5)
    watching = watch("--realtime")
    for least in (5, 20, 35):
        wait_for(lambda least=least: len(sequences(camera)) > least, "some frames")
        watching.kill_readers()
    wait_for(lambda: len(sequences(camera)) > 50, "more frames")
    assert "its reader died (SIGKILL)" in watching.log
    assert status(camera).restarts >= 3

    readers = watching.readers()
    assert len(readers) == 1
    watching.process.kill()
    watching.process.wait()
    wait_for(lambda: not watching.readers(), "the end of the orphaned reader")
    assert len(sequences(camera)) < 200

    assert watch("--once").process.wait(90) == 0
    assert sequences(camera) == list(range(200))
    epoch = status(camera).epoch
    assert epoch is not None
    times = Frame.objects.filter(camera=camera).order_by("sequence").values_list("captured_at", flat=True)
    assert [round((at - epoch).total_seconds() * 1000) for at in times] == [80 * number for number in range(200)]
    assert status(camera).captured == 200


def test_a_changed_rate_in_the_middle_of_a_file_doubles_nothing(
    collection: Collection, sources: Path, watch: Watch
) -> None:
    camera = make_camera(collection, write_video(sources / "clip.avi", 250))
    watch("--realtime")
    wait_for(lambda: len(sequences(camera)) > 20, "some frames")
    Camera.objects.filter(id=camera.id).update(fps=5)
    wait_for(lambda: in_state(camera, State.ENDED), "the end of the file")
    found = sequences(camera)
    assert found == list(range(len(found)))
    times = list(Frame.objects.filter(camera=camera).order_by("sequence").values_list("captured_at", flat=True))
    assert times == sorted(set(times))


def test_what_cannot_be_read_fails_and_says_why(
    collection: Collection, sources: Path, tmp_path: Path, watch: Watch
) -> None:
    (sources / "text.mp4").write_text("this is no video\n" * 100)
    (sources / "list.m3u8").write_text(
        f"#EXTM3U\n#EXTINF:10,\n{write_video(tmp_path / 'secret.mp4', 5)}\n#EXT-X-ENDLIST\n"
    )
    (sources / "link.mp4").symlink_to(tmp_path / "secret.mp4")
    cameras = {
        name: make_camera(collection, source, name=name)
        for name, source in {
            "text": sources / "text.mp4",
            "playlist": sources / "list.m3u8",
            "link": sources / "link.mp4",
            "outside": tmp_path / "secret.mp4",
            "climbs": sources / ".." / "secret.mp4",
            "missing": sources / "missing.mp4",
        }.items()
    }
    watching = watch("--once")
    assert watching.process.wait(120) == 1
    assert "Not read to the end" in watching.log
    assert Frame.objects.count() == 0
    assert {camera.name for camera in cameras.values() if not in_state(camera, State.FAILED)} == set()
    messages = {name: status(camera).message for name, camera in cameras.items()}
    assert all("outside of the folders" in messages[name] for name in ("link", "outside", "climbs"))
    assert all("cannot be opened as a video" in messages[name] for name in ("text", "playlist"))
    assert "There is no file" in messages["missing"]


def test_once_refuses_what_never_ends(collection: Collection, watch: Watch, mjpeg: MjpegServer) -> None:
    make_camera(collection, mjpeg.url())
    for arguments in (("--once",), ("front", "--once"), ("back", "--once"), ("--start", "tomorrow")):
        assert watch(*arguments).process.wait(60) == 1


# --- folders --------------------------------------------------------------------------------------


def test_a_folder_is_read_in_natural_order_and_newcomers_follow(
    collection: Collection, sources: Path, tmp_path: Path, watch: Watch
) -> None:
    folder = sources / "pictures"
    folder.mkdir()
    for number in (2, 10, 1):
        (folder / f"shot{number}.jpg").write_bytes(jpeg(number))
    (folder / "notes.txt").write_text("no picture")
    (tmp_path / "secret.jpg").write_bytes(jpeg(99))
    (folder / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    camera = make_camera(collection, folder)

    def names() -> list[str]:
        return list(Frame.objects.filter(camera=camera).order_by("sequence").values_list("metadata__file", flat=True))

    assert watch("--once").process.wait(90) == 0
    assert names() == ["shot1.jpg", "shot2.jpg", "shot10.jpg"]
    first = Frame.objects.get(camera=camera, sequence=0)
    assert first.captured_at.timestamp() == pytest.approx((folder / "shot1.jpg").stat().st_mtime, abs=0.001)
    assert (tmp_path / "var" / "media" / first.picture.name).read_bytes() == jpeg(1)

    (folder / "shot0.jpg").write_bytes(jpeg(0))  # sorts before what was read
    watching = watch()
    wait_for(lambda: len(names()) == 4, "the newcomer")
    for number in (11, 12):
        (folder / f"shot{number}.jpg").write_bytes(jpeg(number))
    wait_for(lambda: len(names()) == 6, "two more")
    watching.kill_readers()
    (folder / "shot13.png").write_bytes(b"\x89PNG but broken")
    (folder / "shot14.jpg").write_bytes(jpeg(14))
    wait_for(lambda: len(names()) == 7, "one more after the crash")
    assert names() == ["shot1.jpg", "shot2.jpg", "shot10.jpg", "shot0.jpg", "shot11.jpg", "shot12.jpg", "shot14.jpg"]
    wait_for(lambda: status(camera).not_taken == 1, "the count of the broken one")
    assert sequences(camera) == [0, 1, 2, 3, 4, 5, 7]
    assert status(camera).captured == 8


# --- live sources ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["http", "rtsp"])
def test_a_stream_that_breaks_is_connected_again_and_its_password_is_never_shown(
    kind: str, collection: Collection, watch: Watch, mjpeg: MjpegServer, rtsp: RtspServer
) -> None:
    server: MjpegServer | RtspServer = mjpeg if kind == "http" else rtsp
    source = mjpeg.url("video?pwd=geheim") if kind == "http" else rtsp.url()
    camera = make_camera(collection, source, fps=10)
    watching = watch()
    wait_for(lambda: len(sequences(camera)) > 10, "frames")
    assert status(camera).lag_s is not None
    server.broken.set()
    wait_for(lambda: in_state(camera, State.RETRYING), "the report of the break")
    wait_for(lambda: "cannot be opened" in status(camera).message, "the reason")
    assert "***" in status(camera).message
    before = len(sequences(camera))
    server.broken.clear()
    wait_for(lambda: len(sequences(camera)) > before + 10, "frames after the break")
    wait_for(lambda: in_state(camera, State.RUNNING), "the report of the return")
    assert server.connections >= 2
    assert status(camera).restarts >= 1
    watching.stop()
    assert in_state(camera, State.IDLE)
    found = sequences(camera)
    assert found == list(range(len(found)))
    assert (status(camera).captured, status(camera).not_taken) == (len(found), 0)
    assert "geheim" not in watching.log + status(camera).message


def test_a_live_source_is_sampled_by_the_clock(collection: Collection, watch: Watch, mjpeg: MjpegServer) -> None:
    camera = make_camera(collection, mjpeg.url(), fps=4)
    watch()
    wait_for(lambda: len(sequences(camera)) >= 12, "frames")
    times = list(Frame.objects.filter(camera=camera).order_by("sequence").values_list("captured_at", flat=True))
    assert (times[11] - times[0]).total_seconds() > 11 / 4 - 0.3  # at most four a second, of fifty


def test_a_playlist_from_the_network_reads_no_file(
    collection: Collection, sources: Path, watch: Watch, mjpeg: MjpegServer
) -> None:
    file = write_video(sources / "clip.mp4", 30)
    mjpeg.playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile://{file}\n#EXT-X-ENDLIST\n".encode()
    camera = make_camera(collection, mjpeg.url("list.m3u8"))
    watching = watch()
    wait_for(lambda: in_state(camera, State.RETRYING), "the refusal")
    assert "not on whitelist" in watching.log
    assert sequences(camera) == []


# --- supervision ----------------------------------------------------------------------------------


def test_cameras_are_followed_while_it_runs(
    collection: Collection, sources: Path, watch: Watch, mjpeg: MjpegServer
) -> None:
    watching = watch()
    camera = make_camera(collection, mjpeg.url(), fps=5)
    wait_for(lambda: len(sequences(camera)) > 2, "frames of a new camera")
    Camera.objects.filter(id=camera.id).update(enabled=False)
    wait_for(lambda: not watching.readers(), "the end of a camera that is switched off")
    assert in_state(camera, State.IDLE)
    Camera.objects.filter(id=camera.id).update(
        enabled=True, source=str(write_video(sources / "clip.mp4", 30)), fps=None
    )
    wait_for(lambda: in_state(camera, State.ENDED), "the end of the file that is its source now")
    found = sequences(camera)
    assert found == list(range(len(found)))
    write_video(sources / "clip.mp4", 10, first=50)
    wait_for(lambda: len(sequences(camera)) == len(found) + 10, "the new file at the old one's place")
    other = make_camera(collection, mjpeg.url(), name="other", fps=5)
    wait_for(lambda: len(sequences(other)) > 2, "frames of another camera")
    other.delete()
    wait_for(lambda: not watching.readers(), "the end of a deleted camera")
    assert watching.stop() == 0


def test_a_reader_that_hangs_is_killed_and_started_again(
    collection: Collection, watch: Watch, mjpeg: MjpegServer
) -> None:
    camera = make_camera(collection, mjpeg.url(), fps=5)
    watching = watch("--patience", "8")
    wait_for(lambda: len(sequences(camera)) > 2, "frames")
    (hung,) = watching.readers()
    os.kill(hung, signal.SIGSTOP)
    wait_for(lambda: "no sign of life" in watching.log and hung not in watching.readers(), "its end")
    before = len(sequences(camera))
    wait_for(lambda: len(sequences(camera)) > before + 2, "frames of the next reader")
    (next_one,) = watching.readers()
    os.kill(next_one, signal.SIGTERM)  # nor does one that somebody stops stay away
    wait_for(lambda: watching.readers() not in ([], [next_one]), "another reader")


def test_two_parents_read_a_camera_once(collection: Collection, watch: Watch, mjpeg: MjpegServer) -> None:
    camera = make_camera(collection, mjpeg.url(), fps=5)
    first = watch()
    wait_for(lambda: len(sequences(camera)) > 2, "frames")
    second = watch("front")
    wait_for(lambda: "is read by another process already" in second.log, "the refusal")
    assert mjpeg.connections == 1
    first.stop()
    wait_for(lambda: mjpeg.connections == 2, "the second's turn")


def test_capture_survives_postgres_being_away(
    collection: Collection, sources: Path, watch: Watch, mjpeg: MjpegServer
) -> None:
    live = make_camera(collection, mjpeg.url(), fps=5)
    file = make_camera(collection, write_video(sources / "clip.avi", 500), name="file", fps=12.5)
    watching = watch("--realtime", "--patience", "20")
    wait_for(lambda: len(sequences(live)) > 5 and len(sequences(file)) > 5, "frames")
    readers = watching.readers()
    name = connection.settings_dict["NAME"]
    connection.close()
    connection.close_pool()  # this process's own would otherwise be busy for a while with what was ended here
    with psycopg.connect(settings.PORTRAIT.database_url, autocommit=True) as admin:
        admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
        try:
            wait_for(lambda: "PostgreSQL does not answer" in watching.log, "the report")
            time.sleep(6)
        finally:
            admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
    wait_for(lambda: in_state(file, State.ENDED), "the end of the file")
    assert sequences(file) == list(range(250))
    before = len(sequences(live))
    wait_for(lambda: len(sequences(live)) > before + 5, "live frames afterwards")
    assert watching.readers()[:1] == readers[:1] or set(watching.readers()) <= set(readers)
    watching.stop()
    found = sequences(live)
    assert found == list(range(len(found)))  # what came meanwhile was kept in memory, in its order
    assert status(live).not_taken == 0
    gaps = Frame.objects.filter(camera=live, accepted_at__gt=F("captured_at") + timedelta(seconds=3)).count()
    assert gaps > 5


# --- the disk is nearly full ----------------------------------------------------------------------


def test_a_nearly_full_disk_pauses_loudly_and_files_wait(
    collection: Collection, sources: Path, tmp_path: Path, watch: Watch, mjpeg: MjpegServer
) -> None:
    free_mb = shutil.disk_usage(tmp_path).free >> 20
    file = make_camera(collection, write_video(sources / "clip.mp4", 60), name="file")
    live = make_camera(collection, mjpeg.url(), name="live", fps=20)
    watching = watch(PORTRAIT_MIN_FREE_MB=str(free_mb * 2))
    wait_for(lambda: in_state(file, State.PAUSED) and in_state(live, State.PAUSED), "the pause")
    wait_for(lambda: status(live).not_taken > 30, "frames that could not be taken")
    message = status(live).message
    assert "not taken since" in message
    assert re.search(r"sequences 2\d\d to \d+\): the disk is nearly full", message)
    assert "PORTRAIT_MIN_FREE_MB" in message
    assert "not taken since" in watching.log
    assert Frame.objects.count() == 0
    watching.stop()
    lost = status(live).not_taken

    watch()
    wait_for(lambda: in_state(file, State.ENDED) and len(sequences(live)) > 5, "the way on")
    assert sequences(file) == list(range(60))
    assert status(file).not_taken == 0
    assert sequences(live)[0] == lost  # the gap stays to be seen
