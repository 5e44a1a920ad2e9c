"""A browser on a site: Django's live server and Debian's Chromium."""

import functools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DESKTOP, PHONE = (1366, 900), (390, 844)


def _missing() -> str:
    if not CHROMIUM.exists():
        return f"{CHROMIUM} is not there: apt-get install chromium"
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        return "playwright is not installed"
    return ""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """Chromium; skipped where it is absent, but never in CI.

    It ends with its module: as long as Playwright lives, this thread counts as one that runs an event loop.
    """
    missing = _missing()
    if missing and os.environ.get("CI"):
        pytest.fail(missing)
    if missing:
        pytest.skip(missing)
    from playwright.sync_api import sync_playwright

    # Its loop runs in this thread, and Django would think that this were asynchronous code.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield browser
        browser.close()
    del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


@dataclass
class Visit:
    """A page of the browser, and all that went wrong on it."""

    page: Any
    base: str
    faults: list[str] = field(default_factory=list)

    def open(self, path: str) -> Any:
        self.page.goto(self.base + path)
        return self.page

    def watch(self) -> None:
        self.page.on("pageerror", lambda error: self.faults.append(f"script: {error}"))
        self.page.on("console", self._told)
        self.page.on("response", self._answered)
        self.page.on("request", lambda asked: self._asked(asked.url))

    def _told(self, line: Any) -> None:
        if line.type in ("error", "warning"):
            self.faults.append(f"console: {line.text}")

    def _answered(self, answer: Any) -> None:
        if answer.status >= 400:
            self.faults.append(f"{answer.status}: {answer.url}")

    def _asked(self, url: str) -> None:
        if not url.startswith((self.base, "data:", "blob:")):
            self.faults.append(f"foreign host: {url}")


@pytest.fixture(scope="module")
def context_of(chromium: Any) -> Callable[[tuple[int, int]], Any]:
    """A laptop's or a phone's profile: what pages are made of is loaded once a module, and not once a test."""

    @functools.cache
    def made(size: tuple[int, int]) -> Any:
        phone = size == PHONE
        viewport = {"width": size[0], "height": size[1]}
        context = chromium.new_context(viewport=viewport, has_touch=phone, is_mobile=phone)
        context.set_default_timeout(60_000)
        return context

    return made


@pytest.fixture
def visit(
    context_of: Callable[[tuple[int, int]], Any], live_server: Any, request: pytest.FixtureRequest
) -> Iterator[Visit]:
    """Signed in as `root`, on a laptop or (parametrised indirectly) on a phone; nothing may have gone wrong."""
    client = Client()
    client.force_login(User.objects.create_superuser("root", password="pw"))
    context = context_of(getattr(request, "param", DESKTOP))
    session = client.cookies[settings.SESSION_COOKIE_NAME].value
    context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": session, "url": live_server.url}])
    made = Visit(context.new_page(), live_server.url)
    made.watch()
    yield made
    made.page.close()
    context.clear_cookies()
    assert not made.faults
