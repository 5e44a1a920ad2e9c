"""A client of our own API, as anybody could write it."""

import base64
import time
from typing import Any

import urllib3
from django.core.management.base import CommandError

JOB_TIMEOUT_S = 120
PATIENCE_S = 300.0
# What the API answers where the picture is to blame.
_REFUSALS = frozenset({400, 413, 415, 422})


class PictureRefusedError(Exception):
    """The API does not take this picture, and says why; another one may be fine."""


class ApiClient:
    """Calls `/api/v1` with a key; an error answer becomes a CommandError with its message. Where it is asked to call
    less often (429) it waits as long as it is told."""

    def __init__(self, base_url: str, key: str) -> None:
        self._base_url = base_url
        self._headers = {"Authorization": f"Api-Key {key}"}
        self._http = urllib3.PoolManager(headers=self._headers, retries=False)

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        status, content = self._ask(method, path, body)
        if status >= 400:
            raise CommandError(f"{method} /api/v1/{path} answers {status}: {content}")
        return content

    def picture(self, path: str, body: dict[str, Any], media_type: str) -> bytes:
        """A call that is answered with a picture instead of JSON."""
        headers = self._headers | {"Accept": media_type}
        answer = self._http.request("POST", f"{self._base_url}/api/v1/{path}", json=body, headers=headers, timeout=60)
        if answer.status >= 400:
            raise CommandError(f"POST /api/v1/{path} answers {answer.status}: {_content(answer)}")
        return bytes(answer.data)

    def _send_picture(self, path: str, body: dict[str, Any]) -> Any:
        status, content = self._ask("POST", path, body)
        if status in _REFUSALS and isinstance(content, dict):
            raise PictureRefusedError(content["error"]["message"])
        if status >= 400:
            raise CommandError(f"POST /api/v1/{path} answers {status}: {content}")
        return content

    def _ask(self, method: str, path: str, body: dict[str, Any] | None) -> tuple[int, Any]:
        ends_at = time.monotonic() + PATIENCE_S
        while True:
            try:
                answer = self._http.request(method, f"{self._base_url}/api/v1/{path}", json=body, timeout=60)
            except urllib3.exceptions.HTTPError as error:
                raise CommandError(f"{method} /api/v1/{path}: the web server does not answer: {error}") from None
            wait_s = _wait_s(answer.headers.get("Retry-After", ""))
            if answer.status != 429 or time.monotonic() + wait_s > ends_at:
                return answer.status, _content(answer)
            time.sleep(wait_s)

    def ensure_person(self, collection: str, name: str) -> str:
        body = {"collection": collection, "external_id": name[:200], "name": name[:200]}
        return str(self.call("POST", "identities", body)["id"])

    def enrol(self, identity: str, photo: bytes) -> str:
        """Enrol through the queue; answers the job.

        Raises:
            PictureRefusedError: the API does not even put it into the queue.
        """
        body = {"image": base64.b64encode(photo).decode(), "face": "largest", "async": True}
        return str(self._send_picture(f"identities/{identity}/portraits", body)["job"])

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
        """The faces of a picture, each with at most one candidate.

        Raises:
            PictureRefusedError: it is no picture that the API takes.
        """
        body = {"collection": collection, "image": base64.b64encode(photo).decode(), "top_k": 1}
        return list(self._send_picture("recognize", body)["faces"])


def _wait_s(retry_after: str) -> float:
    return float(retry_after) if retry_after.isdigit() else 1.0


def _content(answer: urllib3.BaseHTTPResponse) -> Any:
    """What was answered: JSON, or text where a server before the API had to answer."""
    try:
        return answer.json() if answer.data else None
    except ValueError:
        return answer.data.decode("utf-8", "replace")[:500]
