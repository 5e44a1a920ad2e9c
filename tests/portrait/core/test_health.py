"""`/healthz` and `/readyz`."""

from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace

import pytest
from django.conf import settings
from rest_framework.test import APIClient

from portrait.core import health

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _nothing_remembered() -> Iterator[None]:
    health.outcome.forget()
    yield
    health.outcome.forget()


def test_health() -> None:
    assert APIClient().get("/healthz").json() == {"status": "ok"}
    ready = APIClient().get("/readyz")
    assert (ready.status_code, ready.json()["checks"]) == (200, {"database": "ok", "redis": "ok", "triton": "ok"})


def test_readiness_names_what_is_down_but_no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = replace(settings.PORTRAIT, redis_url="redis://:secret-password@127.0.0.1:1/0")
    monkeypatch.setattr(settings, "PORTRAIT", wrong)
    monkeypatch.setattr(health, "required_models", lambda: ("dlib_resnet", "no_such_model"))
    ready = APIClient().get("/readyz")
    assert ready.status_code == 503
    assert ready.json()["checks"]["database"] == "ok"
    assert ready.json()["checks"]["redis"] == "does not answer"
    assert ready.json()["checks"]["triton"] == "models not ready: no_such_model"
    assert b"secret-password" not in ready.content


def test_readiness_is_looked_at_once_a_second_whoever_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    now, looks = [100.0], []
    monkeypatch.setattr(health, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(health, "CHECKS", {"database": lambda: looks.append(1) or ("ok" if len(looks) > 1 else "away")})
    answers = [APIClient().get("/readyz").status_code for _ in range(5)]
    assert (answers, len(looks)) == ([503] * 5, 1)
    now[0] += 1
    assert APIClient().get("/readyz").status_code == 200
    assert len(looks) == 2
