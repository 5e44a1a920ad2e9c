"""A client of our own API, as anybody could write it."""

import base64
import time
from typing import Any

import urllib3
from django.core.management.base import CommandError

JOB_TIMEOUT_S = 120


class ApiClient:
    """Calls `/api/v1` with a key; an error answer becomes a CommandError with its message."""

    def __init__(self, base_url: str, key: str) -> None:
        self._base_url = base_url
        self._http = urllib3.PoolManager(headers={"Authorization": f"Api-Key {key}"}, retries=False)

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        answer = self._http.request(method, f"{self._base_url}/api/v1/{path}", json=body, timeout=60)
        content = answer.json() if answer.data else None
        if answer.status >= 400:
            raise CommandError(f"{method} /api/v1/{path} answers {answer.status}: {content}")
        return content

    def ensure_person(self, collection: str, name: str) -> str:
        body = {"collection": collection, "external_id": name[:200], "name": name[:200]}
        return str(self.call("POST", "identities", body)["id"])

    def enrol(self, identity: str, photo: bytes) -> str:
        """Enrol through the queue; answers the job."""
        body = {"image": base64.b64encode(photo).decode(), "face": "largest", "async": True}
        return str(self.call("POST", f"identities/{identity}/portraits", body)["job"])

    def wait(self, job: str) -> dict[str, Any]:
        """The job once it ended."""
        ends_at = time.monotonic() + JOB_TIMEOUT_S
        while time.monotonic() < ends_at:
            found: dict[str, Any] = self.call("GET", f"jobs/{job}")
            if found["finished_at"]:
                return found
            time.sleep(0.2)
        raise CommandError(f"Job {job} did not end within {JOB_TIMEOUT_S} s; see the worker's log in var/log.")

    def recognize(self, collection: str, photo: bytes) -> list[dict[str, Any]]:
        body = {"collection": collection, "image": base64.b64encode(photo).decode(), "top_k": 1}
        return list(self.call("POST", "recognize", body)["faces"])
