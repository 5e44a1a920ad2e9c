"""Re-indexes in the admin: begun by a form, then only looked at; refusals are messages."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from portrait.gallery.models import Collection, EmbeddingModel
from portrait.reindex.models import Reindex, State
from tests.portrait.reindex.population import enrol, people

pytestmark = pytest.mark.django_db
LIST = "/admin/reindex/reindex/"


@pytest.fixture
def staff() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    return client


def test_a_reindex_is_begun_looked_at_and_rolled_back(
    staff: Client,
    collection: Collection,
    projection: EmbeddingModel,
    django_capture_on_commit_callbacks: Any,
) -> None:
    enrol(collection, people(3, 2))
    form = {"collection": str(collection.pk), "to_model": str(projection.pk), "switch_itself": "on"}
    assert staff.get(f"{LIST}add/").status_code == 200
    with django_capture_on_commit_callbacks(execute=True):
        answer = staff.post(f"{LIST}add/", form, follow=True)
    assert "was added successfully" in answer.content.decode()
    reindex = Reindex.objects.get()
    assert (reindex.state, reindex.to_model, reindex.chunks.count()) == (State.BUILDING, projection, 1)
    page = staff.get(f"{LIST}{reindex.pk}/change/", follow=True).content.decode()
    assert "0 of 6" in page
    again = staff.post(f"{LIST}add/", form, follow=True)
    assert "Another re-index of this collection is open" in again.content.decode()
    assert Reindex.objects.count() == 1
    action = {"action": "roll_back", "_selected_action": [str(reindex.pk)]}
    assert "Only what was switched" in staff.post(LIST, action, follow=True).content.decode()


def test_others_than_superusers_begin_nothing(collection: Collection, projection: EmbeddingModel) -> None:
    client = Client()
    client.force_login(User.objects.create_user("clerk", is_staff=True))
    assert client.get(LIST).status_code == 403
    assert client.post(f"{LIST}add/", {"collection": str(collection.pk)}).status_code == 403
    assert not Reindex.objects.exists()
