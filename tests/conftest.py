"""Fixtures of every test."""

from collections.abc import Iterator

import pytest
from django.test import override_settings
from pytest_django import DjangoDbBlocker

from tests import quick_flush
from tests.api_clients import (  # noqa: F401  (fixtures)
    admin,
    collection,
    enroller,
    make_client,
    other_collection,
    photos,
    reader,
)


@pytest.fixture(autouse=True, scope="session")
def _quick_passwords() -> Iterator[None]:
    """A hash made to be slow takes half a second for each user that a test makes."""
    with override_settings(PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"]):
        yield


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> None:
    """The database of all tests, and what they leave of it to the next."""
    with django_db_blocker.unblock():
        quick_flush.use(quick_flush.Fresh.read())
