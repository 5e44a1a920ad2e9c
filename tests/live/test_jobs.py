"""Enrolment through the queue with a real worker, and what happens when parts die."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from django.conf import settings
from django.core.files.storage import default_storage
from django.db import connection
from PIL import Image, ImageEnhance
from rest_framework.test import APIClient

from portrait.celery import app
from portrait.demo.photos import COLLINS, built_in
from portrait.embedded import services
from portrait.env import BASE_DIR
from portrait.gallery.models import Collection, Identity, Portrait
from portrait.jobs import tasks
from portrait.jobs.models import JobItem
from tests.api_clients import b64, plain_jpeg
from tests.live.conftest import wait_for

pytestmark = pytest.mark.django_db(transaction=True)

LEASE_S = 3


@pytest.fixture
def start_worker(tmp_path: Any) -> Iterator[Callable[[], "subprocess.Popen[bytes]"]]:
    """Starts Celery workers (with beat) on the test's database; none is left afterwards."""
    name = connection.settings_dict["NAME"]
    environment = {
        **os.environ,
        "DATABASE_URL": settings.PORTRAIT.database_url.rsplit("/", 1)[0] + f"/{name}",
        "REDIS_URL": settings.PORTRAIT.redis_url,
        "TRITON_URL": ",".join(settings.PORTRAIT.triton_urls),
        "PORTRAIT_JOB_LEASE_S": str(LEASE_S),
    }
    with redis.Redis.from_url(settings.PORTRAIT.redis_url) as client:
        client.flushdb()
    workers: list[subprocess.Popen[bytes]] = []

    def start() -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "celery", "-A", "portrait.celery", "worker", "--beat", "--loglevel=INFO"]
        with (tmp_path / "worker.log").open("ab") as log:
            worker = subprocess.Popen(
                [*command, "--schedule", str(tmp_path / "beat")],
                env=environment,
                cwd=BASE_DIR,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        workers.append(worker)
        return worker

    yield start
    for worker in workers:
        worker.terminate()
    for worker in workers:
        worker.wait(timeout=60)


@pytest.fixture
def identity(collection: Collection) -> Identity:
    return Identity.objects.create(collection=collection, name=COLLINS)


def variants(count: int) -> list[bytes]:
    """Pictures of one person that differ."""
    import io

    image = Image.open(io.BytesIO(built_in().people[COLLINS][0].data))
    pictures = []
    for index in range(count):
        buffer = io.BytesIO()
        ImageEnhance.Brightness(image).enhance(0.8 + 0.4 * index / count).save(buffer, "JPEG", quality=90)
        pictures.append(buffer.getvalue())
    return pictures


def enrol(client: APIClient, identity: Identity, photos: list[bytes]) -> str:
    body = {"images": [b64(photo) for photo in photos], "async": True}
    answer = client.post(f"/api/v1/identities/{identity.id}/portraits", body, format="json")
    assert answer.status_code == 202, answer.content
    assert answer["Location"] == f"/api/v1/jobs/{answer.json()['job']}"
    return str(answer.json()["job"])


def job_of(client: APIClient, job: str) -> Any:
    return client.get(f"/api/v1/jobs/{job}").json()


def test_a_job_answers_progress_and_a_result_a_picture(
    enroller: APIClient, identity: Identity, start_worker: Callable[[], Any]
) -> None:
    photos = [*variants(2), plain_jpeg(), b"rubbish", variants(2)[0]]
    job = enrol(enroller, identity, photos)
    assert job_of(enroller, job)["state"] == "waiting"
    start_worker()
    wait_for(lambda: job_of(enroller, job)["finished_at"], "the end of the job")
    found = job_of(enroller, job)
    assert found["state"] == "done"
    assert found["progress"] == {"total": 5, "waiting": 0, "running": 0, "done": 3, "failed": 2, "cancelled": 0}
    outcomes = [item["error"]["code"] if item["error"] else item["result"]["status"] for item in found["items"]]
    assert sorted(outcomes) == ["accepted", "accepted", "duplicate", "no_face", "unsupported_image"]
    assert outcomes[2:4] == ["no_face", "unsupported_image"]
    assert Portrait.objects.filter(identity=identity).count() == 2
    left = [name for name in _uploads() if job in name]
    assert left == [], "the uploads of a finished job are biometric data that nobody needs"


def _uploads(folder: str = "uploads") -> list[str]:
    if not default_storage.exists(folder):
        return []
    folders, files = default_storage.listdir(folder)
    return [f"{folder}/{name}" for name in files] + [name for sub in folders for name in _uploads(f"{folder}/{sub}")]


def test_a_worker_killed_in_the_middle_loses_nothing(
    enroller: APIClient, identity: Identity, start_worker: Callable[[], Any]
) -> None:
    photos = variants(24)
    job = enrol(enroller, identity, photos)
    worker = start_worker()
    wait_for(lambda: job_of(enroller, job)["progress"]["done"] >= 1, "the first result")
    os.killpg(worker.pid, signal.SIGKILL)  # with its beat, which is a process of its own
    worker.wait()
    assert job_of(enroller, job)["finished_at"] is None, "the worker was to be killed in the middle"
    start_worker()
    wait_for(lambda: job_of(enroller, job)["finished_at"], "the end of the job after the kill")
    assert job_of(enroller, job)["progress"]["done"] == len(photos)
    assert Portrait.objects.filter(identity=identity).count() == len(photos)
    accepted = [item["result"]["status"] for item in job_of(enroller, job)["items"]]
    assert accepted == ["accepted"] * len(photos), "an item whose worker died was counted twice"


def test_an_emptied_redis_loses_nothing(
    enroller: APIClient, identity: Identity, start_worker: Callable[[], Any]
) -> None:
    job = enrol(enroller, identity, variants(3))
    with redis.Redis.from_url(settings.PORTRAIT.redis_url) as client:
        client.flushall()
    start_worker()
    wait_for(lambda: job_of(enroller, job)["finished_at"], "the end of the job")
    assert job_of(enroller, job)["progress"]["done"] == 3


def test_triton_killed_and_back(enroller: APIClient, identity: Identity, start_worker: Callable[[], Any]) -> None:
    """Meanwhile callers are told so, and work in the queue waits."""
    start_worker()
    (photo,) = variants(1)
    status = {process.name: process for process, _ in services.status(environment=settings.PORTRAIT)}
    triton = status["triton"].pid
    os.kill(triton, signal.SIGKILL)
    answer = enroller.post("/api/v1/detect", {"image": b64(photo)}, format="json")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "inference_unavailable")
    assert int(answer["Retry-After"]) > 0
    ready = APIClient().get("/readyz")
    assert ready.status_code == 503
    assert ready.json()["checks"]["triton"] != "ok"
    assert ready.json()["checks"]["database"] == ready.json()["checks"]["redis"] == "ok"
    job = enrol(enroller, identity, [photo])
    wait_for(lambda: APIClient().get("/readyz").status_code == 200, "Triton's return")
    assert enroller.post("/api/v1/detect", {"image": b64(photo)}, format="json").status_code == 200
    wait_for(lambda: job_of(enroller, job)["finished_at"], "the end of the job")
    assert job_of(enroller, job)["progress"]["done"] == 1


def test_cancel_stops_what_has_not_begun(enroller: APIClient, identity: Identity) -> None:
    job = enrol(enroller, identity, variants(3))
    answer = enroller.post(f"/api/v1/jobs/{job}/cancel").json()
    assert (answer["state"], answer["progress"]["cancelled"]) == ("cancelled", 3)
    assert [name for name in _uploads() if job in name] == []
    for item in JobItem.objects.filter(job_id=job):
        tasks.run_item(item.id)
    assert not Portrait.objects.filter(identity=identity).exists()


def test_without_a_broker_work_is_accepted_and_done_when_it_is_back(
    enroller: APIClient, identity: Identity, start_worker: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as away:
        away.setenv("CELERY_BROKER_WRITE_URL", "redis://127.0.0.1:1/0")
        away.setattr(app.amqp, "_producer_pool", None)  # it holds connections to the broker that is there
        job = enrol(enroller, identity, variants(2))
    assert job_of(enroller, job)["progress"]["waiting"] == 2
    with redis.Redis.from_url(settings.PORTRAIT.redis_url) as client:
        assert client.llen("ingest") == 0
    start_worker()
    wait_for(lambda: job_of(enroller, job)["finished_at"], "the end of the job")
    assert job_of(enroller, job)["progress"]["done"] == 2
