"""Frames are described by real workers, whatever dies in between."""

import os
import signal
import subprocess
from collections.abc import Callable
from datetime import timedelta

import pytest
from rest_framework.test import APIClient

from portrait.cameras.models import Frame, FrameState
from portrait.gallery.models import Collection
from portrait.jobs.models import Job, JobItem
from portrait.scenes.models import CameraScenes, Caption
from tests.api_clients import b64, plain_jpeg
from tests.live.conftest import wait_for
from tests.live.test_jobs import start_worker  # noqa: F401  (a fixture)
from tests.portrait.sightings.scenes import BEGIN, make_camera

pytestmark = pytest.mark.django_db(transaction=True)

StartWorker = Callable[[], "subprocess.Popen[bytes]"]
FRAMES = 6


def test_pushed_frames_are_described_and_found_though_a_worker_dies(
    start_worker: StartWorker,  # noqa: F811
    enroller: APIClient,
    collection: Collection,
) -> None:
    camera = make_camera(collection, "door")
    CameraScenes.objects.create(camera=camera, caption_model="describe", every_s=10)
    for number in range(FRAMES):
        body = {
            "image": b64(plain_jpeg(64 + number)),
            "sequence": number,
            "captured_at": (BEGIN + timedelta(seconds=5 * number)).isoformat(),
        }
        assert enroller.post(f"/api/v1/cameras/{camera.pk}/frames", body, format="json").status_code == 202
    first = start_worker()
    wait_for(JobItem.objects.filter(state="done").exists, "the first description")
    os.killpg(first.pid, signal.SIGKILL)
    start_worker()
    wait_for(lambda: Frame.objects.filter(state=FrameState.DONE).count() == FRAMES, "the frames' end")
    wait_for(lambda: not JobItem.objects.filter(state__in=["waiting", "running"]).exists(), "the jobs' end")
    assert set(JobItem.objects.values_list("state", flat=True)) == {"done"}
    assert {job.kind for job in Job.objects.all()} == {"describe_frames"}
    described = list(Caption.objects.order_by("shown_at").values_list("shown_at", flat=True))
    assert [int((at - BEGIN).total_seconds()) // 10 for at in described] == [0, 1, 2], "one each ten seconds"
    found = enroller.get("/api/v1/captions?q=face").json()["results"]
    assert len(found) == len(described)
