"""Calls as the clients of the first generation make them: addresses, fields and shapes of their documents."""

from typing import Any

from rest_framework.test import APIClient

from portrait.gallery.models import Collection
from tests.api_clients import b64

FACES = "/face-recognition"
UPDATE = f"{FACES}/update-samples"
CLEAR = f"{FACES}/clear-samples"
RENAME = f"{FACES}/update-metadata"
CONFIG = f"{FACES}/config-database"


def data_uri(picture: bytes) -> str:
    return "data:image/jpeg;base64," + b64(picture)


def sample(sample_id: str, picture: bytes, **values: Any) -> dict[str, Any]:
    """An entry of `update-samples`, with all of its five fields."""
    told = {"id": sample_id, "name": sample_id, "image": data_uri(picture)}
    return {**told, "metadata": f"example.org/{sample_id}", "action": "embedlink", **values}


def call(client: APIClient, path: str, body: Any, status: int = 200, collection: Collection | None = None) -> Any:
    answer = client.post(f"{path}?collection={collection.name}" if collection else path, body, format="json")
    assert answer.status_code == status, answer.content
    return answer.json()


def recognise(client: APIClient, picture: bytes, collection: Collection, **values: Any) -> Any:
    """The candidates from left to right."""
    found = call(client, FACES, {"image": data_uri(picture), **values}, collection=collection)
    return sorted(found, key=lambda candidate: int(candidate["bbox"].split(", ")[0]))
