"""`frames audit` finds what is lost, and nothing where nothing is; `list` and `retry`."""

import json
import os
from datetime import datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.management import CommandError, ManagementUtility, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from portrait.cameras.incoming import IncomingFrame
from portrait.cameras.models import Camera, CaptureStatus, Frame, FrameState, frame_storage
from portrait.cameras.services import audit as module
from portrait.cameras.services.accept import accept_frames
from portrait.cameras.services.audit import Gap, audit_camera, leftovers
from portrait.cameras.services.cameras import create_camera
from portrait.gallery.models import Collection
from portrait.sightings.services.retention import KEEP_ROWS, expire_due
from tests.api_clients import plain_jpeg
from tests.portrait.cameras.conftest import Accept, Broker

pytestmark = pytest.mark.django_db(transaction=True)


def command(*arguments: str) -> str:
    out = StringIO()
    call_command("frames", *arguments, stdout=out)
    return out.getvalue()


def age(name: str) -> None:
    """Make a file of the store two hours old."""
    old = datetime.now().timestamp() - 7200
    os.utime(frame_storage().path(name), (old, old))


def stray(path: str, *, old: bool = True) -> str:
    name = frame_storage().save(path, ContentFile(b"x"))
    if old:
        age(name)
    return name


@pytest.fixture
def mixed(accept: Accept) -> list[Frame]:
    """Frames of three hours, in all four states."""
    now = timezone.now()
    frames = [frame for hours in (0, 1, 5) for frame in accept(4, captured_at=now - timedelta(hours=hours))]
    for frame, state in zip(frames, ["waiting", "done", "failed"] * 3, strict=False):
        Frame.objects.filter(pk=frame.pk).update(state=state)
    expired = frames[-1]
    frame_storage().delete(expired.picture.name)
    Frame.objects.filter(pk=expired.pk).update(state="expired", picture="")
    return frames


def test_a_sound_ledger_balances(camera: Camera, mixed: list[Frame]) -> None:
    found = audit_camera(camera=camera)
    assert (found.captured, found.waiting, found.done, found.failed, found.expired) == (12, 5, 3, 3, 1)
    assert (found.accepted, found.pruned, found.lost_rows, found.missing) == (12, 0, 0, 0)
    assert (found.balanced, found.lost(gaps=True), found.gaps) == (True, 0, ())
    assert (found.without_file_count, found.orphan_count) == (0, 0)
    told = command("audit")
    assert "No frame is lost." in told
    assert f"{camera.collection.name}/door" in told


def test_a_camera_without_frames_balances(camera: Camera) -> None:
    assert audit_camera(camera=camera).captured == 0
    assert "No frame is lost." in command("audit", "--camera", "door")


def test_a_row_that_vanished_is_a_gap_at_the_end_too(camera: Camera, mixed: list[Frame]) -> None:
    Frame.objects.filter(sequence__in=[2, 3, 4, 7, 11]).delete()
    found = audit_camera(camera=camera)
    assert found.gaps == (Gap(2, 4), Gap(7, 7), Gap(11, 11))
    assert (found.missing, found.lost_rows, found.lost(), found.balanced) == (5, 5, 5, False)
    assert (found.lost(gaps=True), found.lost(gaps=False)) == (5, 5)
    with pytest.raises(CommandError, match=r"5 frame\(s\) are lost") as error:
        command("audit")
    assert error.value.returncode == 1
    with pytest.raises(CommandError, match=r"5 frame\(s\) are lost"):
        command("audit", "--ignore-gaps")


def test_all_rows_gone(camera: Camera, accept: Accept) -> None:
    accept(3)
    Frame.objects.all().delete()
    assert (audit_camera(camera=camera).gaps, audit_camera(camera=camera).missing) == ((Gap(0, 2),), 3)


def test_a_camera_that_counts_for_itself_may_begin_anywhere(camera: Camera, accept: Accept) -> None:
    for sequence in (1000, 1001, 1005):
        accept(sequence=sequence)
    found = audit_camera(camera=camera)
    assert (found.captured, found.missing, found.gaps) == (6, 3, (Gap(1002, 1004),))
    assert (found.accepted, found.lost_rows, found.never_received, found.lost()) == (3, 0, 3, 0)
    told = command("audit", "--camera", str(camera.pk))
    assert "sequences never received: 1002-1004: no loss: whoever pushes counts (--gaps counts them as lost)" in told
    assert "No frame is lost." in told
    with pytest.raises(CommandError, match=r"3 frame\(s\) are lost"):
        command("audit", "--gaps")
    with pytest.raises(CommandError, match="not allowed with"):
        command("audit", "--gaps", "--ignore-gaps")


def test_a_gap_of_a_camera_that_is_read_is_lost_unless_it_is_ignored(collection: Collection) -> None:
    camera = Camera.objects.create(collection=collection, name="read", source="rtsp://10.0.0.1/")
    accept_frames(camera=camera, incoming=[IncomingFrame(plain_jpeg(), sequence=number) for number in (0, 1, 4)])
    found = audit_camera(camera=camera)
    assert (found.balanced, found.never_received, found.lost(), found.lost(gaps=False)) == (True, 2, 2, 0)
    with pytest.raises(CommandError, match=r"2 frame\(s\) are lost"):
        command("audit", "--camera", "read")
    told = command("audit", "--camera", "read", "--ignore-gaps")
    assert "sequences never received: 2-3: frames of the source that could not be stored; not counted" in told


def test_accepted_counts_each_frame_once_and_nothing_that_was_refused(camera: Camera) -> None:
    frame = IncomingFrame(plain_jpeg(), sequence=3)
    accept_frames(camera=camera, incoming=[frame, frame, IncomingFrame(b"no picture"), IncomingFrame(plain_jpeg())])
    accept_frames(camera=camera, incoming=[frame])
    camera.refresh_from_db()
    assert camera.accepted == Frame.objects.filter(camera=camera).count() == 2


def test_rows_that_nobody_accepted_are_told_and_are_no_loss(camera: Camera, accept: Accept) -> None:
    accept(3)
    Camera.objects.filter(pk=camera.pk).update(accepted=1)
    found = audit_camera(camera=camera)
    assert (found.lost_rows, found.balanced, found.lost()) == (-2, False, 0)
    assert "2 row(s) more than were accepted" in command("audit", "--camera", str(camera.pk))


def test_more_gaps_than_are_listed(camera: Camera, accept: Accept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LISTED", 3)
    accept(20)
    Frame.objects.filter(sequence__in=range(1, 19, 2)).delete()
    found = audit_camera(camera=camera)
    assert (len(found.gaps), found.missing) == (3, 9)


@pytest.mark.parametrize("state", ["waiting", "done", "failed"])
def test_a_row_whose_picture_is_missing_is_lost(camera: Camera, mixed: list[Frame], state: str) -> None:
    frame = Frame.objects.filter(state=state).order_by("id")[0]
    frame_storage().delete(str(frame.picture.name))
    found = audit_camera(camera=camera)
    assert (found.without_file, found.without_file_count, found.lost()) == ((frame.pk,), 1, 1)
    assert found.balanced
    with pytest.raises(CommandError):
        command("audit", "--ignore-gaps")


def test_a_row_that_names_no_picture_is_lost(camera: Camera, accept: Accept) -> None:
    frame = accept(2)[0]
    Frame.objects.filter(pk=frame.pk).update(picture="")
    assert audit_camera(camera=camera).without_file == (frame.pk,)


def test_orphans_are_told_and_are_no_loss(camera: Camera, mixed: list[Frame]) -> None:
    folder = os.path.dirname(str(mixed[0].picture.name))
    beside = stray(f"{folder}/orphan.jpg")
    part = stray(f"{folder}/.abc.part")
    alone = stray(f"frames/{camera.pk}/2001/02/03/04/orphan.jpg")
    odd = stray(f"frames/{camera.pk}/notes.txt")
    fresh = stray(f"{folder}/arriving.jpg", old=False)
    found = audit_camera(camera=camera)
    assert sorted(found.orphans) == sorted([beside, part, alone, odd])
    assert (found.orphan_count, found.lost()) == (4, 0)
    assert "No frame is lost." in command("audit", "--delete-orphans")
    assert not any(frame_storage().exists(name) for name in (beside, part, alone, odd))
    assert frame_storage().exists(fresh)
    assert audit_camera(camera=camera).without_file_count == 0, "no frame's file was taken along"


def test_old_files_of_frames_are_no_orphans(camera: Camera, mixed: list[Frame]) -> None:
    for frame in Frame.objects.exclude(picture=""):
        age(str(frame.picture.name))
    assert audit_camera(camera=camera, delete_orphans=True).orphan_count == 0
    assert audit_camera(camera=camera).without_file_count == 0


def test_files_of_cameras_that_are_no_more(camera: Camera, accept: Accept) -> None:
    accept(1)
    gone = stray("frames/00000000-0000-4000-8000-000000000000/2001/02/03/04/x.jpg")
    strange = stray("frames/no-camera/x.jpg")
    files, count = leftovers()
    assert {gone, strange} <= set(files)
    assert not any(str(camera.pk) in name for name in files)
    assert count == len(files)
    leftovers(delete=True)
    assert not frame_storage().exists(gone)


def test_a_picture_that_expires_during_the_audit_is_not_lost(
    camera: Camera, accept: Accept, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = accept(1)[0]
    real = module._names

    def expires(storage: Any, path: str) -> list[str]:
        Frame.objects.filter(pk=frame.pk).update(state="expired", picture="")
        storage.delete(frame.picture.name)
        return real(storage, path)

    monkeypatch.setattr(module, "_names", expires)
    found = audit_camera(camera=camera)
    assert (found.without_file_count, found.orphan_count) == (0, 0)


def test_a_frame_that_is_accepted_during_the_audit_is_no_orphan(
    camera: Camera, accept: Accept, monkeypatch: pytest.MonkeyPatch
) -> None:
    accept(1)
    real = module._names

    def arrives(storage: Any, path: str) -> list[str]:
        frame = accept(1)[0]
        age(str(frame.picture.name))
        return real(storage, path)

    monkeypatch.setattr(module, "_names", arrives)
    assert audit_camera(camera=camera, delete_orphans=True).orphan_count == 0


def test_queries_grow_by_folders_not_by_frames(camera: Camera, accept: Accept) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            audit_camera(camera=camera)
        return len(captured)

    hour = timezone.now().replace(minute=0, second=1) - timedelta(hours=3)
    accept(2, captured_at=hour)
    few = queries()
    accept(60, captured_at=hour)
    assert queries() == few


def test_what_was_not_taken_is_told(camera: Camera, accept: Accept) -> None:
    accept(1)
    CaptureStatus.objects.update(not_taken=3)
    assert audit_camera(camera=Camera.objects.get()).not_taken == 3
    assert "3 frame(s) of the source could not be stored" in command("audit")


def test_json(camera: Camera, mixed: list[Frame]) -> None:
    told = json.loads(command("audit", "--json"))
    assert told["lost"] == 0
    (account,) = [each for each in told["cameras"] if each["camera_id"] == str(camera.pk)]
    parts = [account[state] for state in FrameState.values]
    assert account["captured"] == account["accepted"] == sum(parts) == 12
    assert (account["pruned"], account["lost_rows"], account["never_received"], account["balanced"]) == (0, 0, 0, True)


def test_names_of_cameras(camera: Camera, other_camera: Camera, accept: Accept) -> None:
    create_camera(collection=camera.collection, name="yard")
    accept(1)
    with pytest.raises(CommandError, match="Several cameras"):
        command("audit", "--camera", "door")
    with pytest.raises(CommandError, match="There is no camera 'roof'"):
        command("audit", "--camera", "roof")
    for name in (f"{camera.collection.name}/door", str(camera.pk)):
        (account,) = json.loads(command("audit", "--json", "--camera", name))["cameras"]
        assert account["captured"] == 1


def fail(frame: Frame, code: str) -> None:
    values = {
        "state": "failed",
        "error_code": code,
        "error_message": f"because of {code}",
        "finished_at": timezone.now(),
    }
    Frame.objects.filter(pk=frame.pk).update(**values)


def test_list_shows_the_reasons(camera: Camera, accept: Accept) -> None:
    one, two, _ = accept(3)
    fail(one, "corrupt_image")
    fail(two, "worker_lost")
    told = command("list", "--state", "failed")
    assert "because of corrupt_image" in told
    assert "because of worker_lost" in told
    assert "worker_lost" not in command("list", "--code", "corrupt_image")
    assert "waiting" in command("list", "--state", "waiting", "--limit", "1")


def test_retry_by_camera_and_by_code(camera: Camera, other_camera: Camera, accept: Accept, broker: Broker) -> None:
    one, two, three = accept(3)
    foreign = accept(1, of=other_camera)[0]
    fail(one, "a")
    fail(two, "b")
    fail(foreign, "a")
    broker.empty()
    name = f"{camera.collection.name}/door"
    assert "1 frame(s) wait again." in command("retry", "--camera", name, "--code", "a")
    assert broker.frames() == [one.pk]
    assert set(Frame.objects.filter(state="failed").values_list("id", flat=True)) == {two.pk, foreign.pk}
    assert "2 frame(s) wait again." in command("retry")
    assert three.pk not in broker.frames()


def test_the_exit_status(camera: Camera, accept: Accept, capsys: pytest.CaptureFixture[str]) -> None:
    """As a shell sees it."""
    accept(3)
    ManagementUtility(["manage.py", "frames", "audit"]).execute()
    Frame.objects.filter(sequence=1).delete()
    with pytest.raises(SystemExit) as ended:
        ManagementUtility(["manage.py", "frames", "audit"]).execute()
    assert ended.value.code == 1
    told = capsys.readouterr().out
    assert "LOST: the rows of 1 accepted frame(s) are gone" in told
    assert "the lost rows had the sequences 1" in told


def test_the_store_is_where_the_tests_are() -> None:
    """No test looks at, or removes, files of a real installation."""
    assert Path(frame_storage().path("")).is_relative_to(os.environ["PORTRAIT_VAR"])


def test_rows_that_retention_took_away_are_not_lost(collection: Collection) -> None:
    camera = Camera.objects.create(collection=collection, name="old")
    accept_frames(camera=camera, incoming=[IncomingFrame(plain_jpeg(), sequence=number) for number in range(6)])
    old = timezone.now() - KEEP_ROWS - timedelta(days=camera.keep_frames_h / 24 + 1)
    ended = Frame.objects.filter(camera=camera, sequence__in=[0, 1, 3])
    ended.update(state=FrameState.DONE, captured_at=old, finished_at=old)
    assert expire_due().frames == 2
    audit = audit_camera(camera=camera)
    assert (audit.accepted, audit.pruned, audit.expired, audit.waiting) == (6, 2, 1, 3)
    assert (audit.lost_rows, audit.missing, audit.gaps, audit.captured) == (0, 0, (), 4)
    Frame.objects.filter(camera=camera, sequence=4).delete()
    audit = audit_camera(camera=camera)
    assert (audit.lost_rows, audit.missing, audit.gaps) == (1, 1, (Gap(4, 4),))
    Camera.objects.filter(pk=camera.pk).update(pruned_below=5)
    assert audit_camera(camera=camera).lost() == 1, "a row that is gone below what retention looked at is lost too"
