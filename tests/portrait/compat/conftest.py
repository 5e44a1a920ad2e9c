"""The demo's photos by name."""

import pytest

from portrait.demo.photos import COLLINS, HOPPER, PhotoSet


@pytest.fixture(scope="session")
def pictures(photos: PhotoSet) -> dict[str, bytes]:
    """`collins` and `hopper` as enrolled; the probes by their names."""
    enrolled = {"collins": photos.people[COLLINS][0].data, "hopper": photos.people[HOPPER][0].data}
    return {photo.name: photo.data for photo in photos.probes} | enrolled
