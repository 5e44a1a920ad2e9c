"""Cameras, frames and keys in the admin; and keys at the command line."""

import re
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from portrait.cameras.models import Camera, CaptureStatus, Frame
from portrait.cameras.services.cameras import create_camera
from portrait.core.admin_base import KeysetAdmin
from portrait.core.models import ApiKey
from portrait.gallery.models import Collection
from tests.portrait.cameras.conftest import Accept, Broker

pytestmark = pytest.mark.django_db(transaction=True)

SOURCE = "rtsp://admin:geheim@10.0.0.7:554/stream"
CAMERAS, FRAMES = "admin:cameras_camera_changelist", "admin:cameras_frame_changelist"


@pytest.fixture
def clerk() -> Iterator[Client]:
    User.objects.create_superuser("root", password="pw")
    client = Client()
    assert client.login(username="root", password="pw")
    return client


def form_of(camera: Camera | None, **values: Any) -> dict[str, Any]:
    counts = ("TOTAL_FORMS", "INITIAL_FORMS", "MIN_NUM_FORMS", "MAX_NUM_FORMS")
    inline = {f"{part}-{name}": "0" for part in ("status", "scenes") for name in counts}
    if camera:
        inline |= {"status-TOTAL_FORMS": "1", "status-INITIAL_FORMS": "1"}
    fields = {"name": "gate", "source": "", "fps": "", "enabled": "on", "min_hits": 4, "window_s": 5, "gap_s": 10}
    fields |= {"window_mode": "hopping", "keep_frames_h": 168, "keep_unnamed_h": 720, "keep_named_h": ""}
    return {**inline, **fields, **values}


def test_a_camera_by_its_form(clerk: Client, collection: Collection) -> None:
    add = reverse("admin:cameras_camera_add")
    page = clerk.post(add, form_of(None, collection=str(collection.pk), gap_s=1)).content.decode()
    assert "gap_s must be at least window_s: gap_s is 1, window_s is 5" in page
    page = clerk.post(add, form_of(None, collection=str(collection.pk), source="/etc/passwd")).content.decode()
    assert "is outside of the folders" in page
    assert not Camera.objects.exists()
    answer = clerk.post(add, form_of(None, collection=str(collection.pk), source=SOURCE))
    assert answer.status_code == 302
    camera = Camera.objects.get()
    assert camera.source == SOURCE
    assert CaptureStatus.objects.get().camera_id == camera.pk


def test_a_password_is_not_shown_and_stays(clerk: Client, collection: Collection) -> None:
    camera = create_camera(collection=collection, name="gate", source=SOURCE)
    create_camera(collection=collection, name="second")
    change = reverse("admin:cameras_camera_change", args=[camera.pk])
    shown = clerk.get(change).content.decode()
    assert "geheim" not in shown
    assert "rtsp://admin:***@10.0.0.7:554/stream" in shown
    assert "geheim" not in clerk.get(reverse(CAMERAS)).content.decode()
    form = form_of(camera, source="rtsp://admin:***@10.0.0.7:554/stream", fps="2")
    assert clerk.post(change, form).status_code == 302
    camera.refresh_from_db()
    assert (camera.source, camera.fps) == (SOURCE, 2)
    page = clerk.post(change, form_of(camera, source="rtsp://admin:***@6.6.6.6/")).content.decode()
    assert "write the secret again" in page
    assert "geheim" not in page
    assert (
        "has a camera &#x27;second&#x27; already" in clerk.post(change, form_of(camera, name="second")).content.decode()
    )


def test_who_may_only_look_sees_no_password(collection: Collection) -> None:
    camera = create_camera(collection=collection, name="gate", source=SOURCE)
    guard = User.objects.create_user("guard", password="pw", is_staff=True)
    guard.user_permissions.set(Permission.objects.filter(codename__in=["view_camera", "view_frame"]))
    client = Client()
    client.login(username="guard", password="pw")
    page = client.get(reverse("admin:cameras_camera_change", args=[camera.pk]))
    assert page.status_code == 200
    assert "geheim" not in page.content.decode()
    assert "admin:***@" in page.content.decode()


def test_a_camera_is_deleted_with_its_frames(clerk: Client, camera: Camera, accept: Accept) -> None:
    accept(3)
    delete = reverse("admin:cameras_camera_delete", args=[camera.pk])
    with CaptureQueriesContext(connection) as captured:
        assert "with its frames" in clerk.get(delete).content.decode()
    assert not any(query["sql"].startswith('SELECT "cameras_frame"') for query in captured), "not one by one"
    clerk.post(delete, {"post": "yes"})
    assert not Camera.objects.exists()
    assert not Frame.objects.exists()


def queries(client: Client, url: str) -> int:
    with CaptureQueriesContext(connection) as captured:
        assert client.get(url).status_code == 200
    return len(captured)


def test_no_query_per_row(clerk: Client, camera: Camera, accept: Accept) -> None:
    accept(1)
    pages = [reverse(name) for name in (CAMERAS, FRAMES, "admin:core_apikey_changelist")]
    clerk.get(pages[0])
    few = [queries(clerk, page) for page in pages]
    accept(30)
    for number in range(10):
        create_camera(collection=camera.collection, name=f"c-{number}")
    assert [queries(clerk, page) for page in pages] == few


def test_frames_are_counted_no_further_than_needed(
    clerk: Client, camera: Camera, accept: Accept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("portrait.core.keyset.MOST_COUNTED", 7)
    monkeypatch.setattr(KeysetAdmin, "list_per_page", 5)
    accept(20)
    for query in ("", f"?camera__id__exact={camera.pk}", "?state__exact=waiting"):
        with CaptureQueriesContext(connection) as captured:
            page = clerk.get(reverse(FRAMES) + query).content.decode()
        counting = [each["sql"] for each in captured if "COUNT(" in each["sql"] and "cameras_frame" in each["sql"]]
        assert all("LIMIT 8" in sql for sql in counting)
        assert "more than 7 frames" in page or "about " in page, "the planner may know that they are more"


def test_failed_frames_are_tried_again(clerk: Client, accept: Accept, broker: Broker) -> None:
    failed, done = accept(2)
    Frame.objects.filter(pk=failed.pk).update(state="failed", error_code="x", error_message="because of <x>")
    Frame.objects.filter(pk=done.pk).update(state="done")
    broker.empty()
    page = clerk.get(reverse(FRAMES) + "?state__exact=failed").content.decode()
    assert "because of &lt;x&gt;" in page
    assert f"/api/v1/frames/{failed.pk}/picture" in page
    action = {"action": "try_again", "_selected_action": [str(failed.pk), str(done.pk)]}
    assert "1 frame(s) wait again." in clerk.post(reverse(FRAMES), action, follow=True).content.decode()
    assert dict(Frame.objects.values_list("id", "state")) == {failed.pk: "waiting", done.pk: "done"}
    assert broker.frames() == [failed.pk]


def test_the_ledger_is_not_edited(clerk: Client, accept: Accept) -> None:
    frame = accept(1)[0]
    assert clerk.get(reverse("admin:cameras_frame_change", args=[frame.pk])).status_code == 200
    assert clerk.post(reverse("admin:cameras_frame_change", args=[frame.pk]), {"state": "done"}).status_code == 403
    assert clerk.get(reverse("admin:cameras_frame_add")).status_code == 403
    assert clerk.get(reverse("admin:cameras_frame_delete", args=[frame.pk])).status_code == 403


def test_a_key_for_a_camera_by_form(clerk: Client, camera: Camera, other_camera: Camera) -> None:
    add = reverse("admin:core_apikey_add")
    form = {"name": "cam", "scope": "enrol", "cameras": [str(camera.pk)]}
    wrong = clerk.post(add, form | {"collections": [str(other_camera.collection_id)]}).content.decode()
    assert "of other collections than those chosen" in wrong
    clerk.post(add, form)
    key = ApiKey.objects.get()
    assert (key.camera_ids, key.collection_ids) == ([camera.pk], [camera.collection_id])
    assert "only 1" in clerk.get(reverse("admin:core_apikey_changelist")).content.decode()


def test_a_key_for_a_camera_at_the_command_line(camera: Camera, other_camera: Camera) -> None:
    out, name = StringIO(), f"{camera.collection.name}/door"
    call_command("apikey", "create", "cam", "--scope", "enrol", "--camera", name, stdout=out)
    key = ApiKey.objects.get()
    assert (key.camera_ids, key.collection_ids) == ([camera.pk], [camera.collection_id])
    listing = StringIO()
    call_command("apikey", "list", stdout=listing)
    assert "1 camera(s)" in listing.getvalue()
    for arguments in (["--camera", "door"], ["--camera", "roof"]):
        with pytest.raises(CommandError):
            call_command("apikey", "create", "x", *arguments)
    with pytest.raises(CommandError, match="Of another collection"):
        foreign = other_camera.collection.name
        call_command("apikey", "create", "x", "--camera", name, "--collection", foreign)
    with pytest.raises(CommandError, match="--scope enrol"):
        call_command("apikey", "create", "x", "--scope", "admin", "--camera", name)
    assert ApiKey.objects.count() == 1


def test_a_long_error_is_cut_in_the_list(clerk: Client, accept: Accept) -> None:
    frame, message = accept(1)[0], "Nothing answered. " * 10
    Frame.objects.filter(pk=frame.pk).update(state="failed", error_code="x", error_message=message)
    page = clerk.get(reverse(FRAMES)).content.decode()
    assert page.count(message) == 1, "only as the title"
    assert "x: Nothing answered." in page
    assert message.strip() in clerk.get(reverse("admin:cameras_frame_change", args=[frame.pk])).content.decode()


def test_titles_name_the_camera(clerk: Client, collection: Collection, accept: Accept) -> None:
    frame = accept(1)[0]
    page = clerk.get(reverse("admin:cameras_frame_change", args=[frame.pk])).content.decode()
    title = re.search(r"<h1.*?</h1>", page, re.DOTALL)
    assert title
    assert f"{frame.camera.name}/{frame.sequence}" in title[0].lower()
    assert f"{frame.captured_at:%Y-%m-%d %H:%M:%S}" in page, "with seconds"
    camera = create_camera(collection=collection, name="street", source=SOURCE)
    assert "street idle" in clerk.get(reverse("admin:cameras_camera_change", args=[camera.pk])).content.decode()
    with CaptureQueriesContext(connection) as captured:
        assert str(Frame.objects.get(pk=frame.pk)) == f"{frame.camera_id}/{frame.sequence}"
    assert len(captured) == 1, "a name that was not read is not asked for"


def test_the_menu_has_what_is_used(clerk: Client) -> None:
    page = clerk.get(reverse("admin:index")).content.decode()
    assert f'href="{reverse("admin:django_celery_beat_periodictask_changelist")}"' in page
    assert "Schedule" in page
    assert not [name for name in ("Solar", "Clocked", "Crontab", "Interval") if name in page]
