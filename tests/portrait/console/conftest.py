"""A signed-in team: somebody who may do everything, and people with some rights."""

from collections.abc import Callable

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from portrait.gallery.models import Collection, Identity, Portrait

SignIn = Callable[..., Client]
MakePeople = Callable[..., list[Identity]]


@pytest.fixture
def root(db: None) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    return client


@pytest.fixture
def sign_in(db: None) -> SignIn:
    """`sign_in("gallery.view_identity", ...)`: a member of the staff with these rights alone."""

    def make(*rights: str) -> Client:
        user = User.objects.create_user(f"clerk-{User.objects.count()}", is_staff=True)
        for right in rights:
            app, codename = right.split(".")
            user.user_permissions.add(Permission.objects.get(content_type__app_label=app, codename=codename))
        client = Client()
        client.force_login(user)
        return client

    return make


@pytest.fixture
def people(collection: Collection) -> MakePeople:
    """`people(3)`: people with two portraits each; no file is behind them."""

    def make(count: int, portraits: int = 2, **values: object) -> list[Identity]:
        start = Identity.objects.count()
        made = []
        for number in range(start, start + count):
            identity = Identity.objects.create(
                **{"collection": collection, "name": f"Person {number:05}", "external_id": f"emp-{number}"} | values
            )
            Portrait.objects.bulk_create(portrait_of(identity, f"{number}-{each}") for each in range(portraits))
            made.append(identity)
        return made

    return make


def portrait_of(identity: Identity, mark: str, score: float = 0.9) -> Portrait:
    return Portrait(
        identity=identity,
        image="portraits/none.jpg",
        thumbnail="thumbnails/none.jpg",
        width=10,
        height=10,
        box=[0, 0, 5, 5],
        detector="test",
        score=1,
        quality={"score": score, "reasons": []},
        sha256=f"{mark:0>64}",
    )
