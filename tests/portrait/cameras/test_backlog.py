"""What waits and when it will be done: as JSON, for Prometheus, and what this machine can do about it."""

import json
from dataclasses import replace
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families
from pytest_django import Settings
from rest_framework.test import APIClient

from portrait.cameras.incoming import IncomingFrame
from portrait.cameras.management.commands.capacity import verdict
from portrait.cameras.models import Camera, CaptureStatus, Frame
from portrait.cameras.services import backlog as module
from portrait.cameras.services import capacity
from portrait.cameras.services.accept import accept_frames
from portrait.cameras.services.backlog import Backlog, backlogs, total
from portrait.cameras.services.capacity import Speed
from portrait.celery import app
from portrait.core.models import Scope
from portrait.demo.photos import PhotoSet
from tests.api_clients import MakeClient
from tests.portrait.cameras.conftest import Accept

pytestmark = pytest.mark.django_db(transaction=True)


def ago(seconds: float) -> Any:
    return timezone.now() - timedelta(seconds=seconds)


def end(frames: list[Frame], state: str, seconds_ago: float = 5) -> None:
    Frame.objects.filter(pk__in=[frame.pk for frame in frames]).update(state=state, finished_at=ago(seconds_ago))


def test_what_waits_what_is_done_and_what_failed(camera: Camera, accept: Accept) -> None:
    frames = accept(30)
    end(frames[:12], "done")
    end(frames[12:18], "failed")
    end(frames[18:20], "done", seconds_ago=120)
    Frame.objects.filter(pk=frames[20].pk).update(waits_since=ago(90))
    found = backlogs([camera])[camera.pk]
    assert (found.waiting, found.failed) == (10, 6)
    assert found.oldest_at is not None
    assert 89 < found.oldest_age_s < 600
    assert found.waiting_bytes == sum(frame.size_bytes for frame in frames[20:])
    assert (found.accepted_per_s, found.done_per_s, found.failed_per_s) == (30 / 60, 12 / 60, 6 / 60)


@pytest.mark.parametrize(
    ("backlog", "drain_s"),
    [
        (Backlog(waiting=0), 0.0),
        (Backlog(waiting=100), None),
        (Backlog(waiting=100, done_per_s=10), 10.0),
        (Backlog(waiting=100, done_per_s=10, accepted_per_s=5), 20.0),
        (Backlog(waiting=100, done_per_s=3, failed_per_s=2), 20.0),
        (Backlog(waiting=100, done_per_s=10, accepted_per_s=10), None),
        (Backlog(waiting=100, done_per_s=10, accepted_per_s=50), None),
    ],
)
def test_drain_time(backlog: Backlog, drain_s: float | None) -> None:
    assert backlog.drain_s == drain_s


def test_all_cameras_together() -> None:
    old = ago(100)
    parts = [
        Backlog(waiting=10, oldest_at=ago(5), oldest_age_s=5, done_per_s=4, accepted_per_s=1, failed=1),
        Backlog(waiting=20, oldest_at=old, oldest_age_s=100, done_per_s=3, waiting_bytes=7),
        Backlog(),
    ]
    found = total(parts)
    assert (found.waiting, found.failed, found.waiting_bytes) == (30, 1, 7)
    assert (found.oldest_at, found.oldest_age_s, found.drain_s) == (old, 100, 5.0)
    assert total([]) == Backlog()


def test_the_pace_of_acceptance_of_few_and_of_many(
    camera: Camera, accept: Accept, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rate() -> float:
        return module.acceptance_rates([camera.pk], now=timezone.now()).get(camera.pk, 0.0)

    monkeypatch.setattr(module, "NEWEST_FRAMES", (4, 16))
    assert rate() == 0
    accept(10)
    assert rate() == 10 / 60, "the second step sees all of them"
    Frame.objects.update(accepted_at=ago(61))
    assert rate() == 0
    accept(20)
    Frame.objects.filter(accepted_at__gt=ago(60)).update(accepted_at=ago(20))
    assert rate() == pytest.approx(16 / 20, rel=0.2), "what is seen of more than a step holds: its own span counts"


def test_the_backlog_as_json(make_client: MakeClient, camera: Camera, other_camera: Camera, accept: Accept) -> None:
    accept(3)
    accept(2, of=other_camera)
    mine = make_client(Scope.READ, [camera.collection]).get("/api/v1/backlog").json()
    assert mine["total"]["waiting"] == 3
    assert [(row["camera"], row["name"], row["waiting"]) for row in mine["cameras"]] == [(str(camera.pk), "door", 3)]
    assert mine["total"]["drain_s"] is None
    assert mine["disk_free_bytes"] > 0
    everything = make_client(Scope.READ).get("/api/v1/backlog").json()
    assert everything["total"]["waiting"] == 5


def samples(client: APIClient, **headers: str) -> dict[tuple[str, str, str], float]:
    """(name, camera, state) -> value, as Prometheus' own reader understands the answer."""
    answer = client.get("/api/v1/metrics", **headers)
    assert answer.status_code == 200
    assert answer["Content-Type"].startswith("text/plain; version=0.0.4")
    return {
        (sample.name, sample.labels.get("camera", ""), sample.labels.get("portrait_capture_state", "")): sample.value
        for family in text_string_to_metric_families(answer.content.decode())
        for sample in family.samples
    }


def test_prometheus_reads_the_metrics(
    make_client: MakeClient, camera: Camera, other_camera: Camera, accept: Accept
) -> None:
    frames = accept(5)
    end(frames[:3], "failed")
    CaptureStatus.objects.filter(camera=camera).update(state="retrying", lag_s=2.5, captured=9, not_taken=4)
    client = make_client(Scope.READ, [camera.collection])
    found = samples(client, HTTP_ACCEPT="application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5")
    of_camera = {(name, state): value for (name, who, state), value in found.items() if who == str(camera.pk)}
    expected = {
        ("portrait_frames_waiting", ""): 2,
        ("portrait_frames_failed", ""): 3,
        ("portrait_frames_accepted_per_second", ""): 5 / 60,
        ("portrait_frames_failed_per_second", ""): 3 / 60,
        ("portrait_frames_drain_seconds", ""): float("inf"),
        ("portrait_capture_lag_seconds", ""): 2.5,
        ("portrait_capture_frames_total", ""): 9,
        ("portrait_capture_not_taken_total", ""): 4,
        ("portrait_capture_state", "retrying"): 1,
        ("portrait_capture_state", "running"): 0,
    }
    assert {key: of_camera[key] for key in expected} == expected
    assert found["portrait_frames_disk_free_bytes", "", ""] > 0
    assert not any(who == str(other_camera.pk) for _, who, _ in found)


def test_metrics_need_a_key() -> None:
    answer = APIClient().get("/api/v1/metrics", HTTP_ACCEPT="text/plain")
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "not_authenticated")


SPEED = Speed(pictures="x", time_alone_s=0.10, worker_cpu_s=0.04, frames_per_s=20, threads=8, cores=4)


def test_the_formula() -> None:
    need = capacity.need(name="c", produced_per_s=30, basis="fps", speed=SPEED)
    assert SPEED.core_s == 0.2
    assert (need.cores, need.workers, need.instances) == (pytest.approx(6.0), 2, 2)
    small = capacity.need(name="c", produced_per_s=0.1, basis="fps", speed=SPEED)
    assert (small.workers, small.instances) == (1, 1)
    together = capacity.sum_of([need, small], [SPEED, SPEED])
    assert together.produced_per_s == pytest.approx(30.1)
    assert together.cores == pytest.approx(need.cores + small.cores)
    assert (together.workers, together.instances) == (2, 2), "rounded once"


def test_the_verdict() -> None:
    assert "does not keep up" in verdict(6, 4)
    assert "little to spare" in verdict(3.5, 4)
    assert "keeps up: the cameras need 1.0 of 4 cores (25%)" in verdict(1, 4)
    assert "No camera produces" in verdict(0, 4)


def test_no_verdict_over_cameras_whose_rate_is_not_known() -> None:
    assert "2 cameras unknown" in verdict(0, 4, unknown=2)
    told = verdict(1, 4, unknown=1)
    assert "1 camera unknown" in told
    assert "The others need 1.0 of 4 cores (25%)" in told
    assert "machine keeps up:" not in told
    assert "does not keep up" in verdict(6, 4, unknown=1)
    assert "1 more unknown" in verdict(6, 4, unknown=1)


def test_capacity_warns_of_a_running_worker_and_counts_unknown_cameras(
    camera: Camera, other_camera: Camera, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, err = StringIO(), StringIO()
    call_command("capacity", "--seconds", "0.5", "--json", stdout=out, stderr=err)
    told = json.loads(out.getvalue())
    assert (told["unknown"], told["keeps_up"], err.getvalue()) == (2, None, "")
    monkeypatch.setattr(app.control, "ping", lambda **options: [{"worker@here": {"ok": "pong"}}])
    out, err = StringIO(), StringIO()
    call_command("capacity", "--seconds", "0.5", stdout=out, stderr=err)
    assert "2 cameras unknown" in out.getvalue()
    assert "A worker is running (worker@here)" in err.getvalue()


def test_the_fps_of_a_folder_is_no_rate(camera: Camera, tmp_path: Path, settings: Settings) -> None:
    settings.PORTRAIT = replace(settings.PORTRAIT, source_dirs=[tmp_path.resolve()])
    (tmp_path / "pictures").mkdir()
    Camera.objects.update(source="pictures", fps=2)
    assert capacity.produced([Camera.objects.get()])[camera.pk] == (0.0, capacity.UNKNOWN)


def test_what_a_camera_produces(camera: Camera, accept: Accept) -> None:
    def rate() -> tuple[float, str]:
        return capacity.produced([Camera.objects.get()])[camera.pk]

    assert rate() == (0.0, "unknown: no frame came yet")
    accept(6)
    assert rate() == (6 / 60, "accepted in the last minute")
    begin = ago(500)
    for index, frame in enumerate(Frame.objects.order_by("id")):
        captured_at = begin + timedelta(seconds=index / 2)
        Frame.objects.filter(pk=frame.pk).update(accepted_at=ago(300), captured_at=captured_at)
    assert rate() == (pytest.approx(2.0), "its newest 6 frames")
    Camera.objects.update(source="rtsp://10.0.0.1/", fps=12.5)
    assert rate() == (12.5, "its setting fps")
    Camera.objects.update(enabled=False)
    assert rate() == (0.0, "switched off")


def test_measured_on_this_machine_with_the_cameras_own_frames(
    camera: Camera, other_camera: Camera, photos: PhotoSet
) -> None:
    accept_frames(camera=camera, incoming=[IncomingFrame(photos.probes[0].data)])
    out = StringIO()
    call_command("capacity", "--seconds", "2", "--json", stdout=out)
    told = json.loads(out.getvalue())
    assert len(told["speeds"]) == 2
    for speed in told["speeds"]:
        assert speed["worker_cpu_s"] > 0
        assert speed["time_alone_s"] > 0
        assert speed["core_s"] == pytest.approx(told["cores"] / speed["frames_per_s"])
    assert any(speed["pictures"] == "its newest 1 frames" for speed in told["speeds"])
    of_camera = next(row for row in told["cameras"] if row["name"].startswith(camera.collection.name))
    assert of_camera["produced_per_s"] == 1 / 60
    out = StringIO()
    call_command("capacity", "--seconds", "1", "--camera", str(camera.pk), stdout=out)
    assert "This machine" in out.getvalue()


def test_capacity_without_cameras_and_without_triton(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    out = StringIO()
    call_command("capacity", "--seconds", "0.5", stdout=out)
    assert "No camera produces frames yet." in out.getvalue()
    with pytest.raises(CommandError, match="There is no camera"):
        call_command("capacity", "--camera", "nobody", stdout=out)
