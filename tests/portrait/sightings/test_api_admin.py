"""The admin's pages about sightings, watches and alerts."""

import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from portrait.core.admin_base import KeysetAdmin
from portrait.gallery.models import Collection, Identity
from portrait.sightings.models import Alert, Detection, Sighting, Track, Watch
from tests.portrait.sightings import seen
from tests.portrait.sightings.seen import NOON, STRANGER

pytestmark = pytest.mark.django_db


@pytest.fixture
def root(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("root", password="pw"))
    return client


@pytest.fixture
def nobody(collection: Collection) -> Identity:
    return Identity.objects.create(collection=collection, name="unknown_person_1", kind=Identity.Kind.UNKNOWN)


def alert_of(row: Sighting) -> Alert:
    watch = Watch.objects.create(collection=row.collection, name="w", identity=row.identity)
    return Alert.objects.create(
        watch=watch,
        camera=row.camera,
        identity=row.identity,
        sighting=row,
        captured_at=NOON,
        last_hit_at=NOON,
        similarity=0.9,
    )


def test_the_pages_show_pictures_and_lead_to_the_person(root: Client, collection: Collection, nobody: Identity) -> None:
    row = seen.seen_once(seen.make_camera(collection), STRANGER, nobody)
    alert = alert_of(row)
    for address in ("sighting/", f"sighting/{row.pk}/change/", "alert/", "watch/"):
        page = root.get(f"/admin/sightings/{address}").content.decode()
        assert f"/admin/gallery/identity/{nobody.pk}/change/" in page, address
        assert address == "watch/" or f"/api/v1/sightings/{row.pk}/picture" in page, address
    assert root.get(f"/api/v1/sightings/{row.pk}/picture")["Content-Type"] == "image/jpeg"
    assert root.get(f"/admin/sightings/alert/{alert.pk}/change/").status_code == 200
    for query in ("identity__kind=unknown", f"camera__id__exact={row.camera_id}", "q=unknown_person"):
        assert "1 sighting" in root.get(f"/admin/sightings/sighting/?{query}").content.decode()


def test_lists_ask_the_same_however_many_rows(root: Client, collection: Collection, nobody: Identity) -> None:
    camera = seen.make_camera(collection)
    addresses = [f"/admin/sightings/{name}/" for name in ("sighting", "watch", "alert")]
    counts = []
    for index in range(3):
        person = Identity.objects.create(collection=collection, name=f"P{index}")
        alert_of(seen.seen_once(camera, STRANGER, person, NOON + timedelta(minutes=index)))
        for address in addresses:
            with CaptureQueriesContext(connection) as queries:
                assert root.get(address).status_code == 200
            counts.append(len(queries))
    assert counts[3:6] == counts[6:]


def test_a_sighting_that_is_taken_back_leaves_faces_of_nobody(
    root: Client, collection: Collection, nobody: Identity
) -> None:
    row = seen.seen_once(seen.make_camera(collection), STRANGER, nobody)
    body = {"action": "delete_selected", "_selected_action": [str(row.pk)], "post": "yes"}
    assert root.post("/admin/sightings/sighting/", body).status_code == 302
    assert not Sighting.objects.exists()
    assert Detection.objects.get().identity is None
    assert root.get("/admin/sightings/sighting/add/").status_code == 403


def test_a_name_given_in_the_admin_makes_a_stranger_known(
    root: Client, collection: Collection, nobody: Identity
) -> None:
    row = seen.seen_once(seen.make_camera(collection), STRANGER, nobody)
    body = {
        "name": "Mia", "external_id": "", "metadata": "{}", "action": "", "kind": "unknown",
        "portraits-TOTAL_FORMS": "0", "portraits-INITIAL_FORMS": "0",
    }  # fmt: skip
    assert root.post(f"/admin/gallery/identity/{nobody.pk}/change/", body).status_code == 302
    answer = root.get(f"/api/v1/sightings/{row.id}").json()
    assert (answer["identity"]["name"], answer["identity"]["kind"]) == ("Mia", "known")
    body["name"], body["action"] = "Mia", "greet"
    nobody.refresh_from_db()
    assert root.post(f"/admin/gallery/identity/{nobody.pk}/change/", {**body, "kind": "unknown"}).status_code == 302
    nobody.refresh_from_db()
    assert nobody.kind == "unknown", "whoever says so by hand is heard"


def test_alerts_are_acknowledged(root: Client, collection: Collection, nobody: Identity) -> None:
    alert = alert_of(seen.seen_once(seen.make_camera(collection), STRANGER, nobody))
    body = {"action": "acknowledge", "_selected_action": [str(alert.pk)]}
    assert root.post("/admin/sightings/alert/", body).status_code == 302
    alert.refresh_from_db()
    assert alert.acknowledged_at is not None


def test_a_watch_is_made_within_one_collection(
    root: Client, collection: Collection, other_collection: Collection, nobody: Identity
) -> None:
    camera, foreign = seen.make_camera(collection), seen.make_camera(other_collection)
    body = {"name": "w", "identity": str(nobody.pk), "min_similarity": "0.6", "enabled": "on"}
    refused = root.post("/admin/sightings/watch/add/", body | {"cameras": [str(foreign.pk)]})
    assert "Of another collection" in refused.content.decode()
    assert root.post("/admin/sightings/watch/add/", body | {"cameras": [str(camera.pk)]}).status_code == 302
    watch = Watch.objects.get()
    assert (watch.collection, list(watch.cameras.all())) == (collection, [camera])
    for action, enabled in (("switch_off", False), ("switch_on", True)):
        root.post("/admin/sightings/watch/", {"action": action, "_selected_action": [str(watch.pk)]})
        watch.refresh_from_db()
        assert watch.enabled is enabled


def test_staff_who_may_view_people_read_sightings(client: Client, collection: Collection, nobody: Identity) -> None:
    row = seen.seen_once(seen.make_camera(collection), STRANGER, nobody)
    clerk = User.objects.create_user("clerk", password="pw", is_staff=True)
    client.force_login(clerk)
    addresses = [
        f"sightings/{row.id}",
        f"sightings/{row.id}/picture",
        f"frames/{row.best.frame_id}/annotated",
        "alerts",
    ]
    assert {client.get(f"/api/v1/{address}").status_code for address in addresses} == {401}
    clerk.user_permissions.set(Permission.objects.filter(codename__in=["view_identity", "view_portrait"]))
    assert {client.get(f"/api/v1/{address}").status_code for address in addresses} == {200}
    assert client.delete(f"/api/v1/sightings/{row.id}").status_code == 403


def test_a_watch_looks_on_some_cameras_or_on_all_and_never_by_oversight(
    root: Client, collection: Collection, nobody: Identity
) -> None:
    camera = seen.make_camera(collection)
    body = {"name": "w", "identity": str(nobody.pk), "min_similarity": "0.6", "enabled": "on"}
    assert "Choose some cameras" in root.post("/admin/sightings/watch/add/", body).content.decode()
    root.post("/admin/sightings/watch/add/", body | {"all_cameras": "on"})
    assert Watch.objects.get().all_cameras
    address = f"/admin/sightings/watch/{Watch.objects.get().pk}/change/"
    root.post(address, body | {"all_cameras": "on", "cameras": [str(camera.pk)]})
    assert not Watch.objects.get().all_cameras
    camera.delete()
    assert "Choose some cameras" in root.post(address, body).content.decode()
    assert not Watch.objects.get().all_cameras


def test_sightings_and_alerts_are_counted_no_further_than_needed(
    root: Client, collection: Collection, nobody: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("portrait.core.keyset.MOST_COUNTED", 2)
    monkeypatch.setattr(KeysetAdmin, "list_per_page", 1)
    camera = seen.make_camera(collection)
    for minutes in range(4):
        row = seen.seen_once(camera, STRANGER, nobody, NOON + timedelta(minutes=minutes))
        alert_of(row)
    for name in ("sighting", "alert"):
        with CaptureQueriesContext(connection) as queries:
            page = root.get(f"/admin/sightings/{name}/").content.decode()
        counts = [query["sql"] for query in queries if "COUNT(" in query["sql"] and f"sightings_{name}" in query["sql"]]
        assert all(re.search(r"LIMIT (3|100)\b", sql) for sql in counts), f"{counts}: 100 is what the menu counts to"
        assert f"more than 2 {name}s" in page or "about " in page, "the planner may know that they are more"


def test_the_page_of_a_frame_shows_its_faces(root: Client, collection: Collection, nobody: Identity) -> None:
    row = seen.seen_once(seen.make_camera(collection), STRANGER, nobody)
    assert row.best
    address = f"/admin/cameras/frame/{row.best.frame_id}/change/"
    page = root.get(address).content.decode()
    assert f'<img src="/api/v1/frames/{row.best.frame_id}/annotated"' in page
    assert f"/admin/gallery/identity/{nobody.pk}/change/" in page
    assert "0.90" in page
    Track.objects.update(registered=nobody, similarity=1.0)
    assert "0.90" not in root.get(address).content.decode(), "compared with himself"
    assert root.post(address, {}).status_code == 403


def test_a_stranger_is_not_compared_with_himself(root: Client, collection: Collection, nobody: Identity) -> None:
    row = seen.seen_once(seen.make_camera(collection), STRANGER, nobody, seconds=75)
    addresses = ["/admin/sightings/sighting/", f"/admin/sightings/sighting/{row.pk}/change/"]
    for address in addresses:
        page = root.get(address).content.decode()
        assert "0.90" in page
        assert "0:01:15" in page
    Track.objects.update(registered=nobody)
    assert not any("0.90" in root.get(address).content.decode() for address in addresses)


def test_an_alert_has_a_picture_before_its_sighting(root: Client, collection: Collection, nobody: Identity) -> None:
    row = seen.seen_once(seen.make_camera(collection), STRANGER, nobody)
    alert = alert_of(row)
    Alert.objects.update(sighting=None, detection=row.best, similarity=0.98765)
    assert row.best
    for address in ("/admin/sightings/alert/", f"/admin/sightings/alert/{alert.pk}/change/"):
        page = root.get(address).content.decode()
        assert f'<img src="/api/v1/frames/{row.best.frame_id}/annotated"' in page
        assert "0.99" in page
        assert "0.98765" not in page


def where_of(root: Client) -> list[str]:
    page = root.get("/admin/sightings/watch/").content.decode()
    return [text.strip() for text in re.findall(r"<td[^>]*field-where[^>]*>([^<]*)<", page)]


def test_watches_tell_their_cameras(root: Client, collection: Collection, nobody: Identity) -> None:
    watch = Watch.objects.create(collection=collection, name="w", identity=nobody)
    assert where_of(root) == ["all"]
    Watch.objects.update(all_cameras=False)
    watch.cameras.set([seen.make_camera(collection, name) for name in ("gate", "yard")])
    assert where_of(root) == ["gate, yard"]


def test_a_person_leads_to_his_sightings(root: Client, collection: Collection, nobody: Identity) -> None:
    other = Identity.objects.create(collection=collection, name="Mia")
    camera = seen.make_camera(collection)
    seen.seen_once(camera, STRANGER, nobody)
    seen.seen_once(camera, STRANGER, other, NOON + timedelta(minutes=1))
    address = f"/admin/sightings/sighting/?identity__id__exact={other.pk}"
    assert address in root.get(f"/admin/gallery/identity/{other.pk}/change/").content.decode()
    assert "1 sighting" in root.get(address).content.decode()
    Identity.objects.filter(pk=other.pk).update(hidden=True)
    page = root.get("/admin/gallery/identity/").content.decode()
    assert page.count('<span class="portrait-badge">hidden</span>') == 1
