"""Jobs of a kind whose work a test decides, and the real broker without a worker."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from django.conf import settings
from django.core.files.storage import default_storage

from portrait.jobs import registry
from portrait.jobs.models import Job, JobItem
from portrait.jobs.services import create_job

QUEUE = "ingest"


class Handler:
    """Does what the test says; `done` lists the items it stored."""

    def __init__(self) -> None:
        self.work: Callable[[JobItem], Any] = lambda item: None
        self.done: list[int] = []

    def prepare(self, item: JobItem) -> Any:
        return self.work(item)

    def store(self, item: JobItem, prepared: Any) -> dict[str, Any]:
        self.done.append(item.index)
        return {"index": item.index}


@pytest.fixture
def handler(monkeypatch: pytest.MonkeyPatch) -> Handler:
    made = Handler()
    monkeypatch.setitem(registry._handlers, "test", made)
    return made


@pytest.fixture
def make_job(handler: Handler, collection: Any) -> Callable[..., Job]:
    def make(count: int = 1, **values: Any) -> Job:
        given = {"kind": "test", "queue": QUEUE, "collection_id": collection.id, "parameters": {}, **values}
        return create_job(uploads=[b"picture %d" % index for index in range(count)], **given)

    return make


class Broker:
    """The real one: what lies in its queue."""

    def __init__(self, client: "redis.Redis") -> None:
        self.client = client

    def __len__(self) -> int:
        return int(self.client.llen(QUEUE))

    def lose(self, count: int) -> None:
        for _ in range(count):
            assert self.client.rpop(QUEUE) is not None


@pytest.fixture
def broker() -> Iterator[Broker]:
    with redis.Redis.from_url(settings.PORTRAIT.redis_url) as client:
        client.delete(QUEUE)
        yield Broker(client)
        client.delete(QUEUE)


def uploads_of(job: Job) -> list[str]:
    """The job's files that lie in the storage."""
    return sorted(name for name in files("uploads") if str(job.id) in name)


def files(folder: str) -> list[str]:
    if not default_storage.exists(folder):
        return []
    folders, names = default_storage.listdir(folder)
    return [f"{folder}/{name}" for name in names] + [name for sub in folders for name in files(f"{folder}/{sub}")]
