"""Callers of the API with keys of every kind, and the demo's photos."""

import base64
import io
import uuid
from collections.abc import Callable
from functools import lru_cache

import pytest
from PIL import Image
from rest_framework.test import APIClient

from portrait.core.models import Scope
from portrait.core.services import create_api_key
from portrait.demo.photos import PhotoSet, built_in
from portrait.gallery.models import Collection
from portrait.gallery.services.identities import create_collection

MakeClient = Callable[..., APIClient]


@lru_cache(maxsize=1)
def _photos() -> PhotoSet:
    return built_in()


@pytest.fixture(scope="session")
def photos() -> PhotoSet:
    return _photos()


@pytest.fixture
def make_client(db: None) -> MakeClient:
    """`make_client(scope, collections)`: a client with a fresh key."""

    def make(scope: Scope = Scope.READ, collections: list[Collection] | None = None) -> APIClient:
        ids = None if collections is None else [collection.id for collection in collections]
        _, key = create_api_key(name="test", scope=scope, collection_ids=ids)
        return APIClient(HTTP_AUTHORIZATION=f"Api-Key {key}")

    return make


@pytest.fixture
def reader(make_client: MakeClient) -> APIClient:
    return make_client(Scope.READ)


@pytest.fixture
def enroller(make_client: MakeClient) -> APIClient:
    return make_client(Scope.ENROL)


@pytest.fixture
def admin(make_client: MakeClient) -> APIClient:
    return make_client(Scope.ADMIN)


@pytest.fixture
def collection(db: None) -> Collection:
    return create_collection(name=f"c-{uuid.uuid4().hex[:8]}")


@pytest.fixture
def other_collection(db: None) -> Collection:
    return create_collection(name=f"o-{uuid.uuid4().hex[:8]}")


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def plain_jpeg(width: int = 64, height: int = 48) -> bytes:
    """A picture without a face."""
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (90, 120, 150)).save(buffer, "JPEG")
    return buffer.getvalue()
