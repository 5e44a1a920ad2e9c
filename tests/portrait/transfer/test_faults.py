"""What is no file's fault waits, and one bad file never takes the others along."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from inference.errors import InvalidInferenceRequestError, ServerUnavailableError
from portrait.core.errors import ConflictError
from portrait.gallery.models import Collection, Portrait
from portrait.gallery.services import photos as gallery_photos
from portrait.jobs.models import ItemState, Job, JobItem
from portrait.jobs.services import QueueFullError, cancel, retry
from portrait.jobs.tasks import run_item
from portrait.transfer.models import Import, ImportFile
from portrait.transfer.selectors import counts_of, progress_of
from portrait.transfer.services import enrolling, imports
from portrait.transfer.services.imports import add_part, create_import, feed, start_import
from portrait.transfer.services.room import NoRoomError
from portrait.transfer.tasks import KEEP_FAILED, KEEP_REPORTS, tend
from tests.portrait.jobs.conftest import files as stored_files
from tests.portrait.transfer.conftest import TESTER, drive, make_zip, results, variant

pytestmark = pytest.mark.django_db

RunImport = Callable[..., Any]
LOOK = "portrait.transfer.services.enrolling.prepare_photos"


@pytest.fixture
def run(collection: Collection, collins: bytes) -> Import:
    """Read, and not enrolled yet."""
    files = {"Ada/a.jpg": collins, "Ada/b.jpg": variant(collins, 1), "Ada/bad.jpg": variant(collins, 2)}
    made = start_import(collection=collection, file=make_zip(files), principal=TESTER, face="", force=False)
    assert made.job is not None
    run_item(made.job.items.get(index=0).id)
    feed(run_id=made.pk)  # as it is done once the item is committed
    return made


def chunk_of(run: Import) -> JobItem:
    assert run.job is not None
    return run.job.items.get(index=1)


def failing(error: Exception, on: bytes) -> Callable[..., Any]:
    """The real thing, but where this picture is among those that are looked at."""

    def look(photos: Sequence[bytes], **how: Any) -> Any:
        if any(on in photo for photo in photos):
            raise error
        return gallery_photos.prepare_photos(photos, **how)

    return look


def picture(run: Import, path: str, collins: bytes) -> bytes:
    return variant(collins, {"Ada/b.jpg": 1, "Ada/bad.jpg": 2}[path])


@pytest.mark.parametrize("error", [InvalidInferenceRequestError("strange"), ZeroDivisionError()], ids=["server", "bug"])
def test_a_picture_that_breaks_the_pipeline_is_rejected_alone(
    run: Import, collins: bytes, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(LOOK, failing(error, picture(run, "Ada/bad.jpg", collins)))
    found = drive(run)
    code = getattr(error, "code", "internal_error")
    assert found == {"Ada/a.jpg": ("accepted", ""), "Ada/b.jpg": ("accepted", ""), "Ada/bad.jpg": ("rejected", code)}


def test_zips_that_wait_are_no_more_than_some_for_a_collection(
    run: Import, collection: Collection, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.PORTRAIT = replace(settings.PORTRAIT, import_max_mb=1)
    large = {"Ada/a.jpg": bytes(2**20)}
    for _ in range(2):
        start_import(collection=collection, file=make_zip(large), principal=TESTER, face="", force=False)
    with pytest.raises(QueueFullError, match="zips of"):
        start_import(collection=collection, file=make_zip(large), principal=TESTER, face="", force=False)
    monkeypatch.setattr(imports, "MAX_WAITING_ZIPS", 3)
    with pytest.raises(QueueFullError, match="zips of"):
        start_import(collection=collection, file=make_zip({}), principal=TESTER, face="", force=False)


def test_no_zip_is_taken_for_which_the_disk_has_no_room(collection: Collection, collins: bytes, settings: Any) -> None:
    settings.PORTRAIT = replace(settings.PORTRAIT, frames_min_free_mb=2**40)
    with pytest.raises(NoRoomError):
        start_import(
            collection=collection, file=make_zip({"Ada/a.jpg": collins}), principal=TESTER, face="", force=False
        )
    assert not Import.objects.exists()


def test_without_an_inference_server_the_files_wait(
    run: Import, collection: Collection, collins: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    item = chunk_of(run)
    with monkeypatch.context() as away:
        away.setattr(LOOK, failing(ServerUnavailableError("away"), b""))
        run_item(item.id)
    tend()
    assert {status for status, _ in results(run).values()} == {"waiting"}
    assert progress_of(Import.objects.select_related("job").get(pk=run.pk)).state == "running"
    JobItem.objects.filter(pk=item.pk).update(paused_until=None)
    assert {status for status, _ in drive(run).values()} == {"accepted"}


def test_given_up_they_can_be_retried_and_the_zip_is_kept_until_then(
    run: Import, collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    item = chunk_of(run)
    JobItem.objects.filter(pk=item.pk).update(accepted_at=timezone.now() - timedelta(days=2))
    with monkeypatch.context() as away:
        away.setattr(LOOK, failing(ServerUnavailableError("away"), b""))
        run_item(item.id)
    tend()
    fresh = Import.objects.select_related("job").get(pk=run.pk)
    assert set(results(run).values()) == {("failed", "inference_unavailable")}
    assert (progress_of(fresh).state, fresh.finished_at) == ("running", None)
    from portrait.jobs.services import close_if_finished

    close_if_finished(job_id=run.job_id)  # type: ignore[arg-type]
    assert progress_of(Import.objects.select_related("job").get(pk=run.pk)).state == "stopped"
    assert run.parts.get().file
    assert run.job is not None
    retry(job=run.job)
    assert {status for status, _ in drive(run).values()} == {"accepted"}
    assert not run.parts.get().file


def test_nobody_retried_for_days_the_zip_goes(run: Import, monkeypatch: pytest.MonkeyPatch) -> None:
    item = chunk_of(run)
    JobItem.objects.filter(pk=item.pk).update(accepted_at=timezone.now() - timedelta(days=2))
    monkeypatch.setattr(LOOK, failing(ServerUnavailableError("away"), b""))
    run_item(item.id)
    assert run.job is not None
    type(run.job).objects.filter(pk=run.job.pk).update(finished_at=timezone.now() - KEEP_FAILED * 2)
    tend()
    run.refresh_from_db()
    assert set(results(run).values()) == {("rejected", "inference_unavailable")}
    assert run.finished_at is not None
    assert not run.parts.get().file


def test_the_file_that_kills_its_workers_is_found_and_the_others_are_enrolled(
    run: Import, collins: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that is killed raises nothing that anybody could catch: here it stops half way."""

    class KilledError(BaseException):
        pass

    item = chunk_of(run)
    bad = picture(run, "Ada/bad.jpg", collins)
    monkeypatch.setattr(LOOK, failing(KilledError(), bad))  # type: ignore[arg-type]
    forgive = enrolling._forgive
    monkeypatch.setattr(enrolling, "_forgive", lambda row: None if sys.exc_info()[0] is KilledError else forgive(row))
    for _ in range(2):
        with pytest.raises(KilledError):
            run_item(item.id)
        JobItem.objects.filter(pk=item.pk).update(leased_until=timezone.now() - timedelta(seconds=1))
    monkeypatch.undo()
    run_item(item.id)
    found = drive(run)
    assert found["Ada/bad.jpg"] == ("rejected", "worker_lost")
    assert {found["Ada/a.jpg"], found["Ada/b.jpg"]} == {("accepted", "")}


def test_a_lost_lease_stores_nothing_and_the_chunk_is_done_once(
    run: Import, collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two workers have the same chunk: the slow one finds that it is done."""
    item = chunk_of(run)

    def slow(photos: Sequence[bytes], **how: Any) -> Any:
        prepared = gallery_photos.prepare_photos(photos, **how)
        monkeypatch.undo()
        JobItem.objects.filter(pk=item.pk).update(leased_until=timezone.now() - timedelta(seconds=1))
        run_item(item.id)  # another worker
        return prepared

    monkeypatch.setattr(LOOK, slow)
    run_item(item.id)
    assert {status for status, _ in drive(run).values()} == {"accepted"}
    assert Portrait.objects.filter(identity__collection=collection).count() == 3
    assert JobItem.objects.get(pk=item.pk).state == ItemState.DONE


def test_reports_go_after_their_time(run_import: RunImport) -> None:
    run, _ = run_import({"Ada/a.jpg": b"x"})
    tend()
    assert Import.objects.filter(pk=run.pk).exists()
    Import.objects.filter(pk=run.pk).update(finished_at=timezone.now() - KEEP_REPORTS * 2)
    tend()
    assert not Import.objects.filter(pk=run.pk).exists()
    assert not ImportFile.objects.exists()


def test_an_import_whose_command_was_killed_ends(collection: Collection, collins: bytes) -> None:
    made = create_import(collection=collection, principal=TESTER, face="", force=False)
    add_part(run=made, file=make_zip({"Ada/a.jpg": collins}))
    assert drive(made) == {"Ada/a.jpg": ("accepted", "")}
    assert made.job is not None
    ended = Job.objects.filter(pk=made.job.pk)
    for ago, over in ((timedelta(minutes=50), False), (timedelta(minutes=70), True)):
        ended.update(finished_at=timezone.now() - ago)
        tend()
        made.refresh_from_db()
        assert (made.sealed, made.finished_at is not None) == (over, over)
    before = stored_files("imports")
    with pytest.raises(ConflictError, match="closed"):
        add_part(run=made, file=make_zip({"Ada/b.jpg": collins}))
    assert stored_files("imports") == before


def test_imports_that_wait_for_a_hand_let_others_have_their_turn(
    run: Import, collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("portrait.transfer.tasks.SETTLED_AT_ONCE", 1)
    newer = start_import(
        collection=collection, file=make_zip({"x/a.jpg": b"x"}), principal=TESTER, face="", force=False
    )
    assert newer.job is not None
    cancel(job=newer.job)
    for _ in range(2):
        tend()
    newer.refresh_from_db()
    assert newer.finished_at is not None
    assert Import.objects.get(pk=run.pk).finished_at is None


def test_the_files_of_an_import_that_is_over_are_counted_once(run: Import) -> None:
    drive(run)
    counts = counts_of([run.pk])[run.pk]
    assert (counts["accepted"], sum(counts.values())) == (3, 3)
    ImportFile.objects.filter(run=run).delete()
    assert counts_of([run.pk])[run.pk] == counts
