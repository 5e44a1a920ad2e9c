"""Fixtures of every test."""

from tests.api_clients import (  # noqa: F401  (fixtures)
    admin,
    collection,
    enroller,
    make_client,
    other_collection,
    photos,
    reader,
)
