"""A camera, pictures to push to it, and the real broker without a worker."""

import base64
import io
import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from django.conf import settings
from PIL import Image

from portrait.cameras.incoming import IncomingFrame
from portrait.cameras.models import Camera, Frame
from portrait.cameras.queue import QUEUE
from portrait.cameras.services.accept import accept_frames
from portrait.cameras.services.cameras import create_camera
from portrait.gallery.models import Collection

_shades = itertools.count()
Accept = Callable[..., list[Frame]]


def picture(kind: str = "JPEG", width: int = 64, height: int = 48) -> bytes:
    """A picture unlike all others."""
    number = next(_shades)
    colour = (number % 256, number // 256 % 256, 90)
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(buffer, kind, comment=str(number))
    return buffer.getvalue()


@pytest.fixture
def camera(collection: Collection) -> Camera:
    return create_camera(collection=collection, name="door")


@pytest.fixture
def other_camera(other_collection: Collection) -> Camera:
    return create_camera(collection=other_collection, name="door")


@pytest.fixture
def accept(camera: Camera) -> Accept:
    """`accept(3)`: three frames of the camera, in the store and in the ledger."""

    def make(count: int = 1, *, of: Camera | None = None, **values: Any) -> list[Frame]:
        frames = [IncomingFrame(picture(), **values) for _ in range(count)]
        outcomes = accept_frames(camera=of or camera, incoming=frames)
        return [outcome.frame for outcome in outcomes]  # type: ignore[union-attr]

    return make


class Broker:
    """The real one: what lies in its queue of frames."""

    def __init__(self, client: "redis.Redis") -> None:
        self.client = client

    def __len__(self) -> int:
        return int(self.client.llen(QUEUE))

    def frames(self) -> list[int]:
        """The frames that the messages name."""
        bodies = [base64.b64decode(json.loads(each)["body"]) for each in self.client.lrange(QUEUE, 0, -1)]
        return sorted(frame for body in bodies for frame in json.loads(body)[0][0])

    def empty(self) -> None:
        self.client.delete(QUEUE)


@pytest.fixture
def broker() -> Iterator[Broker]:
    with redis.Redis.from_url(settings.PORTRAIT.redis_url) as client:
        client.delete(QUEUE)
        yield Broker(client)
        client.delete(QUEUE)
