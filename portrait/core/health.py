"""`/healthz`: the process lives. `/readyz`: everything it needs answers; what does not is named."""

import logging
import threading
import time
from collections.abc import Callable

import redis
from django.conf import settings
from django.db import connection
from django.http import HttpRequest, JsonResponse

from portrait.core.database import release_connection
from portrait.core.pipelines import inference_client, required_models

logger = logging.getLogger(__name__)

KEEP_S = 1.0


def _database() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_extension WHERE extname = 'vector'")
        row = cursor.fetchone()
    release_connection()  # the other checks may be slow
    return "ok" if row and row[0] else "the extension 'vector' is not installed: run manage.py migrate"


def _redis() -> str:
    with redis.Redis.from_url(settings.PORTRAIT.redis_url, socket_connect_timeout=1, socket_timeout=1) as client:
        client.ping()
    return "ok"


def _triton() -> str:
    client = inference_client()
    if not client.ready():
        return "no server answers"
    missing = [model for model in required_models() if not client.ready(model)]
    return f"models not ready: {', '.join(missing)}" if missing else "ok"


CHECKS: dict[str, Callable[[], str]] = {"database": _database, "redis": _redis, "triton": _triton}


def _run(name: str, check: Callable[[], str]) -> str:
    try:
        return check()
    except Exception as error:  # any failure at all means: not ready
        logger.warning("readiness: %s: %s", name, error)  # addresses stay in the log
        return "does not answer"


class _Outcome:
    """What the checks said last, for `KEEP_S`: anybody may ask, and however many do, one of them has the checks run."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.forget()

    def forget(self) -> None:
        self._checks: dict[str, str] = {}
        self._known_until = 0.0

    def get(self) -> dict[str, str]:
        with self._lock:
            if time.monotonic() >= self._known_until:
                self._checks = {name: _run(name, check) for name, check in CHECKS.items()}
                self._known_until = time.monotonic() + KEEP_S
            return self._checks


outcome = _Outcome()


def healthz(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"status": "ok"})


def readyz(request: HttpRequest) -> JsonResponse:
    checks = outcome.get()
    ready = all(state == "ok" for state in checks.values())
    return JsonResponse({"status": "ok" if ready else "down", "checks": checks}, status=200 if ready else 503)
