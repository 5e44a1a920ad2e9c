"""Faces on pages: shown only as long as there is the portrait and the right to see it."""

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from tests.portrait.console.conftest import MakePeople

pytestmark = pytest.mark.django_db


def test_no_browser_keeps_a_face_and_it_takes_few_queries_to_show_one(root: Client, people: MakePeople) -> None:
    portrait = people(1, portraits=1)[0].portraits.get()
    portrait.thumbnail = default_storage.save("faces/test.jpg", ContentFile(b"face"))
    portrait.save()
    address = reverse("admin:gallery_portrait_face", args=[portrait.pk])
    with CaptureQueriesContext(connection) as captured:
        shown = root.get(address)
    assert b"".join(shown.streaming_content) == b"face"
    assert {"private", "no-store"} <= set(shown.headers["Cache-Control"].split(", "))
    assert len(captured) <= 3, "session, user, portrait"
    portrait.delete()
    assert root.get(address).status_code == 404
