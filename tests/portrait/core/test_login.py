"""The admin's login: passwords cannot be guessed."""

from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache
from django.test import Client
from django.urls import reverse
from redis.exceptions import ConnectionError as RedisConnectionError

from portrait.core import throttling
from portrait.core.login import MAX_FAILURES, WINDOW_S

pytestmark = pytest.mark.django_db

TOO_MANY = "Too many failed tries"


@pytest.fixture(autouse=True)
def _users() -> Iterator[None]:
    cache.clear()
    User.objects.create_superuser("root", password="right")
    User.objects.create_superuser("other", password="right")
    yield
    cache.clear()


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """The time of the counters; it stands still until it is set."""
    now = [1_800_000_000.0]
    monkeypatch.setattr(throttling, "time", SimpleNamespace(time=lambda: now[0]))

    def pass_by(seconds: float) -> None:
        now[0] += seconds

    return pass_by


def sign_in(password: str, name: str = "root", address: str = "192.0.2.1", **headers: str) -> str:
    """What the page says, or where it leads."""
    answer = Client(REMOTE_ADDR=address, **headers).post(
        reverse("admin:login") + "?next=/admin/", {"username": name, "password": password}
    )
    return str(answer["Location"]) if answer.status_code == 302 else answer.content.decode()


def test_after_too_many_wrong_passwords_even_the_right_one_is_refused_for_a_while(
    clock: Callable[[float], None],
) -> None:
    clock(100)
    for _ in range(MAX_FAILURES):
        page = sign_in("wrong")
        assert "Please enter the correct" in page
        assert TOO_MANY not in page
    for password in ("wrong", "right"):
        page = sign_in(password, HTTP_X_FORWARDED_FOR="198.51.100.7")
        assert f"{TOO_MANY} to sign in with this name: wait 4 minutes" in page
        assert "Please enter the correct" not in page
    assert sign_in("right", name="other") == "/admin/"
    assert sign_in("right", address="192.0.2.2") == "/admin/"
    clock(WINDOW_S - 100)
    assert sign_in("right") == "/admin/"


def test_a_name_that_nobody_has_is_answered_alike() -> None:
    pages = [sign_in("wrong", name="nobody") for _ in range(MAX_FAILURES + 1)]
    assert [TOO_MANY in page for page in pages] == [False] * MAX_FAILURES + [True]


def test_who_signs_in_starts_anew() -> None:
    for _ in range(3):
        for _ in range(MAX_FAILURES - 1):
            sign_in("wrong")
        assert sign_in("right") == "/admin/"


def test_without_redis_people_can_sign_in(monkeypatch: pytest.MonkeyPatch) -> None:
    def down(*args: object, **kwargs: object) -> None:
        raise RedisConnectionError("down")

    for name in ("add", "incr", "delete"):
        monkeypatch.setattr(throttling.cache, name, down)
    for _ in range(MAX_FAILURES + 1):
        assert TOO_MANY not in sign_in("wrong")
    assert sign_in("right") == "/admin/"


def test_an_incomplete_form_is_no_try() -> None:
    for _ in range(MAX_FAILURES + 1):
        assert "This field is required" in sign_in("")
    assert sign_in("right") == "/admin/"
