"""Lists that grow without end: audit, sightings, alerts, imports. Found by indexes, in pages, with few queries."""

import re
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from portrait.audit.models import Action, AuditEntry
from portrait.audit.services import record
from portrait.cameras.models import Camera
from portrait.core.models import Scope
from portrait.core.principal import Principal
from portrait.gallery.models import Collection, Identity
from portrait.sightings.models import Alert, Sighting, Watch
from portrait.transfer.models import Import, ImportFile, ImportPart
from tests.portrait.console.conftest import MakePeople

pytestmark = pytest.mark.django_db(transaction=True)

SHA = "ab" * 32


def rows(client: Client, name: str, **query: object) -> list[Any]:
    page = client.get(reverse(f"admin:{name}_changelist"), query)
    assert page.status_code == 200
    return list(page.context["cl"].page.rows)


def planned(sql: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute("SET enable_seqscan = off")
        cursor.execute("EXPLAIN " + sql)
        plan = "\n".join(line for (line,) in cursor.fetchall())
        cursor.execute("RESET enable_seqscan")
    return plan


def logged(name: str, count: int, probe: bytes | None = None) -> None:
    for _ in range(count):
        record(
            principal=Principal(name, Scope.READ, None, f"key-{name}"),
            action=Action.SEARCH,
            collection_id=None,
            probe=probe,
            details={},
        )


def test_the_audit_log_comes_in_pages_and_is_not_counted(root: Client) -> None:
    logged("door", 60)
    with CaptureQueriesContext(connection) as captured:
        first = root.get(reverse("admin:audit_auditentry_changelist"))
    assert not [each["sql"] for each in captured if "COUNT(*)" in each["sql"] and "LIMIT" not in each["sql"]]
    second = root.get(reverse("admin:audit_auditentry_changelist") + first.context["cl"].next_url)
    shown = [row.pk for page in (first, second) for row in page.context["cl"].page.rows]
    assert shown == sorted(shown, reverse=True)
    assert len(shown) == len(set(shown)) >= 60


def test_the_audit_log_is_searched_by_whole_words_and_by_indexes(root: Client) -> None:
    logged("door", 2)
    logged("gate", 1, uuid.uuid4().bytes)  # the log keeps what other tests wrote
    picture = AuditEntry.objects.exclude(probe_sha256="").latest("pk")
    name = "audit_auditentry"
    assert {row.actor for row in rows(root, name, q="door")} == {"door"}
    assert [row.pk for row in rows(root, name, q=picture.probe_sha256.upper())] == [picture.pk]
    assert picture.pk in [row.pk for row in rows(root, name, q=picture.actor_id)]
    assert rows(root, name, q="doo") == []
    with CaptureQueriesContext(connection) as captured:
        rows(root, name, q="door")
    read = next(each["sql"] for each in captured if "probe_sha256" in each["sql"] and "ORDER BY" in each["sql"])
    plan = planned(read.split("ORDER BY")[0])
    for index in ("audit_by_actor", "audit_by_actor_id", "audit_by_probe", "audit_by_request"):
        assert index in plan, plan


@pytest.fixture
def camera(collection: Collection) -> Camera:
    return Camera.objects.create(collection=collection, name="door")


def seen(camera: Camera, person: Identity) -> Sighting:
    now = timezone.now()
    return Sighting.objects.create(
        collection=camera.collection,
        camera=camera,
        identity=person,
        first_seen=now - timedelta(minutes=1),
        last_seen=now,
        hits=1,
    )


def alerted(watch: Watch, camera: Camera) -> Alert:
    now = timezone.now()
    return Alert.objects.create(
        watch=watch, camera=camera, identity=watch.identity, captured_at=now, last_hit_at=now, similarity=0.9
    )


def test_what_was_seen_is_found_by_whom(root: Client, people: MakePeople, camera: Camera) -> None:
    first, second = people(2, portraits=0)
    one, other = seen(camera, first), seen(camera, second)
    watch = Watch.objects.create(collection=camera.collection, name="Night shift", identity=first)
    alert = alerted(watch, camera)
    word = first.name.split()[1]
    assert rows(root, "sightings_sighting", q=word) == [one]
    assert rows(root, "sightings_sighting", q=second.external_id) == [other]
    assert rows(root, "sightings_sighting", q="nobody") == []
    assert rows(root, "sightings_alert", q=word) == [alert]
    assert rows(root, "sightings_alert", q="shift") == [alert]
    assert rows(root, "sightings_alert", q="nobody") == []
    with CaptureQueriesContext(connection) as captured:
        rows(root, "sightings_sighting", q=word)
        rows(root, "sightings_alert", q=word)
    assert not [
        each["sql"]
        for each in captured
        if "UPPER(" in each["sql"] and re.search('FROM "sightings_(sighting|alert)"', each["sql"])
    ]


def test_open_alerts_are_counted_by_an_index_of_their_own(people: MakePeople, camera: Camera) -> None:
    counted = Alert.objects.filter(acknowledged_at=None).order_by().values("pk")[:100]
    with connection.cursor() as cursor:
        cursor.execute("SET enable_seqscan = off")
        plan = counted.explain()
        cursor.execute("RESET enable_seqscan")
    assert "alert_open" in plan, plan


def imported(collection: Collection, files: int) -> Import:
    run = Import.objects.create(collection=collection, sealed=True, finished_at=timezone.now())
    part = ImportPart.objects.create(run=run, item=0)
    ImportFile.objects.bulk_create(
        ImportFile(run=run, part=part, index=each, path=f"a/{each:03}.jpg", status="accepted") for each in range(files)
    )
    return run


def test_imports_are_counted_together_and_their_files_come_in_pages(root: Client, collection: Collection) -> None:
    run = imported(collection, 130)
    address = reverse("admin:transfer_import_changelist")
    root.get(address)
    with CaptureQueriesContext(connection) as few:
        page = root.get(address).content.decode()
    assert "130 accepted" in page
    for _ in range(5):
        imported(collection, 2)
    with CaptureQueriesContext(connection) as many:
        root.get(address)
    assert len(many) == len(few)
    assert f"?run={run.pk}" in root.get(reverse("admin:transfer_import_change", args=[run.pk])).content.decode()
    files = reverse("admin:transfer_importfile_changelist") + f"?run={run.pk}"
    first = root.get(files)
    second = root.get(reverse("admin:transfer_importfile_changelist") + first.context["cl"].next_url)
    shown = [row.path for page in (first, second) for row in page.context["cl"].page.rows]
    assert shown == [f"a/{each:03}.jpg" for each in range(130)]


def test_a_cursor_that_no_text_can_be_leads_to_the_first_page(root: Client, people: MakePeople) -> None:
    everybody = people(3, portraits=0)
    cursor = "WyJcdTAwMDAiLCAiMDAwMDAwMDAtMDAwMC0wMDAwLTAwMDAtMDAwMDAwMDAwMDAwIl0"  # ["\\u0000", "00000000-..."]
    assert len(rows(root, "gallery_identity", o=0, _after=cursor)) == len(everybody)
