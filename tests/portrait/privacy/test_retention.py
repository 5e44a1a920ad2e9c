"""What is kept no longer goes, by rule; what is needed stays."""

import json
import threading
import uuid
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from portrait.audit.models import Action, AuditEntry, AuditSubject
from portrait.audit.services import record, system
from portrait.core.models import Scope
from portrait.gallery.models import Change, Collection, Identity
from portrait.gallery.services import editing, journal
from portrait.gallery.services.journal import Actor
from portrait.jobs.models import Job
from portrait.privacy.models import ErasureProof, RetentionReport, RetentionRule
from portrait.privacy.services import retention
from portrait.privacy.services.retention import Removed, run
from portrait.sightings.models import Watch
from portrait.transfer.models import Import, ImportPerson
from tests.api_clients import MakeClient
from tests.portrait.sightings import seen

pytestmark = pytest.mark.django_db(transaction=True)
LONG_AGO = timedelta(days=400)


def person(collection: Collection, name: str, *, old: bool = True, **values: Any) -> Identity:
    made = Identity.objects.create(collection=collection, name=name, **values)
    if old:
        then = timezone.now() - LONG_AGO
        Identity.objects.filter(pk=made.pk).update(created_at=then, updated_at=then)
    return made


def names(collection: Collection) -> set[str]:
    return set(Identity.objects.filter(collection=collection).values_list("name", flat=True))


def rule(purpose: str, days: int = 365, collection: Collection | None = None) -> RetentionRule:
    return RetentionRule.objects.create(purpose=purpose, days=days, collection=collection)


def counts(removed: list[Removed]) -> dict[str, int]:
    return {each.purpose: each.count for each in removed}


def test_without_a_rule_everything_stays(collection: Collection) -> None:
    person(collection, "Old")
    assert run() == []
    assert names(collection) == {"Old"}


def test_people_whom_nothing_was_heard_of(collection: Collection) -> None:
    person(collection, "Old")
    person(collection, "New", old=False)
    person(collection, "Stranger", kind=Identity.Kind.UNKNOWN)
    watched, asked, seen_here = (person(collection, name) for name in ("Watched", "Asked", "Seen"))
    person(collection, "Promised", keep_until=timezone.now().date() + timedelta(days=3))
    Watch.objects.create(collection=collection, name="w", identity=watched)
    by = {"principal": system("test"), "collection_id": collection.pk}
    record(action=Action.RECOGNIZE, identities=[asked.pk], **by)
    seen.seen_once(seen.make_camera(collection), "hopper", seen_here, at=timezone.now())
    rule("known", 365)
    assert counts(run(dry_run=True)) == {"known": 1}
    assert len(names(collection)) == 7
    assert counts(run()) == {"known": 1}
    assert names(collection) == {"New", "Stranger", "Watched", "Asked", "Seen", "Promised"}
    rule("unknown", 365)
    assert counts(run()) == {"unknown": 1}
    assert "Stranger" not in names(collection)
    assert ErasureProof.objects.count() == 2
    assert run() == []


def test_a_day_that_somebody_set(collection: Collection) -> None:
    today = timezone.now().date()
    person(collection, "Over", old=False, keep_until=today - timedelta(days=1))
    person(collection, "Today", old=False, keep_until=today)
    assert counts(run()) == {"keep_until": 1}
    assert names(collection) == {"Today"}
    (proof,) = ErasureProof.objects.all()
    assert proof.statement["why"] == "keep_until"
    (report,) = RetentionReport.objects.all()
    assert report.removed[0]["purpose"] == "keep_until"
    assert "Over" not in str(report.removed)


def test_a_collections_own_rule_wins(collection: Collection, other_collection: Collection) -> None:
    person(collection, "Old")
    person(other_collection, "Old")
    rule("known", 365)
    rule("known", 1000, collection)
    run()
    assert (names(collection), names(other_collection)) == ({"Old"}, set())


def test_contents_of_the_journal(collection: Collection) -> None:
    actor, who = Actor("tester"), person(collection, "Before")
    change = editing.update(identity=who, actor=actor, name="After")
    assert change is not None
    Change.objects.filter(pk=change.pk).update(at=timezone.now() - LONG_AGO)
    rule("journal", 365)
    assert counts(run(dry_run=True)) == {"journal": 1}
    assert counts(run()) == {"journal": 1}
    change.refresh_from_db()
    assert change.steps == []
    with pytest.raises(Exception, match="cannot be undone"):
        journal.undo(change=change, actor=actor)
    assert names(collection) == {"After"}
    assert run() == []


def test_reports_of_jobs(collection: Collection) -> None:
    Job.objects.create(kind="x", queue="ingest", collection_id=collection.pk, finished_at=timezone.now() - LONG_AGO)
    waiting = Job.objects.create(kind="x", queue="ingest", collection_id=collection.pk)
    rule("reports", 30, collection)
    assert counts(run()) == {"reports": 1}
    assert list(Job.objects.filter(collection_id=collection.pk)) == [waiting]


def asked_about(collection: Collection, who: Identity) -> None:
    by = {"principal": system("test"), "collection_id": collection.pk}
    record(action=Action.RECOGNIZE, identities=[who.pk], **by)


def test_who_is_asked_for_again_and_again_hides_nobody_behind_them(
    collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time is up after some people; the next run begins with others."""
    monkeypatch.setattr(retention, "CHUNK", 2)
    ids = sorted(uuid.uuid4() for _ in range(9))
    for key in ids[:-1]:
        asked_about(collection, person(collection, "Asked", id=key))
    person(collection, "Old", id=ids[-1])
    rule("known", 365)
    looked: list[int] = []
    asked_of = retention._asked_about

    def counted(keys: list[uuid.UUID], since: Any) -> set[uuid.UUID]:
        looked.append(len(keys))
        return asked_of(keys, since)

    monkeypatch.setattr(retention, "_asked_about", counted)
    monkeypatch.setattr(retention._Run, "time_is_up", property(lambda run: len(looked) > 2))
    for start, expected in ((0, {"Asked", "Old"}), (3, {"Asked", "Old"}), (6, {"Asked"})):
        looked.clear()
        monkeypatch.setattr(retention, "uuid4", lambda start=start: ids[start])
        run()
        assert names(collection) == expected


def test_many_people_are_asked_about_by_few_queries(collection: Collection, django_assert_max_num_queries: Any) -> None:
    for number in range(40):
        who = person(collection, "Asked", hidden=number % 2 == 0)
        asked_about(collection, who)
    merged = person(collection, "Asked under another name")
    asked_about(collection, merged)
    into = person(collection, "Target")
    Identity.objects.filter(pk=merged.pk).update(merged_into=into)
    rule("known", 365)
    with django_assert_max_num_queries(30):
        assert run() == []
    assert Identity.objects.filter(pk=into.pk).exists(), "who was merged into somebody counts for them"


def test_reports_of_imports_go_one_after_the_other(collection: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each may have a million rows: not all of them in one transaction."""
    for _ in range(3):
        old = Import.objects.create(collection=collection, sealed=True, finished_at=timezone.now() - LONG_AGO)
        ImportPerson.objects.create(run=old, folder="x", name="x")
    rule("reports", 30, collection)
    assert counts(run(dry_run=True)) == {"reports": 3}
    with monkeypatch.context() as patched:
        patched.setattr(retention._Run, "time_is_up", property(lambda run: Import.objects.count() < 3))
        assert counts(run()) == {"reports": 1}
    assert counts(run()) == {"reports": 2}
    assert not ImportPerson.objects.exists()


def test_two_runs_at_once_do_no_harm(collection: Collection) -> None:
    for number in range(6):
        person(collection, f"Old {number}")
    rule("known", 365)
    problems: list[BaseException] = []

    def go() -> None:
        try:
            run()
        except BaseException as error:
            problems.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=go) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    run()
    assert names(collection) == set()
    assert not ErasureProof.objects.filter(finished_at=None).exists()


def test_pseudonyms_of_nobody_are_forgotten(collection: Collection) -> None:
    """Somebody was recognised at the very moment of their erasure."""
    AuditSubject.objects.create(identity_id=uuid.uuid4())
    kept = person(collection, "Kept", old=False)
    AuditSubject.objects.create(identity_id=kept.pk)
    assert counts(run(dry_run=True)) == {"pseudonyms": 1}
    assert counts(run()) == {"pseudonyms": 1}
    assert list(AuditSubject.objects.values_list("identity_id", flat=True)) == [kept.pk]


def test_rules_by_the_api(admin: APIClient, make_client: MakeClient, collection: Collection) -> None:
    mine = make_client(Scope.ADMIN, [collection])
    body = {"purpose": "known", "days": 30}
    assert mine.post("/api/v1/retention-rules", body, format="json").status_code == 403
    made = mine.post("/api/v1/retention-rules", body | {"collection": collection.name}, format="json")
    assert made.status_code == 201, made.content
    assert made.json()["collection"] == collection.name
    again = mine.post("/api/v1/retention-rules", body | {"collection": str(collection.pk)}, format="json")
    assert again.status_code == 409
    general = admin.post("/api/v1/retention-rules", body, format="json").json()
    assert admin.post("/api/v1/retention-rules", body, format="json").status_code == 409
    assert len(mine.get("/api/v1/retention-rules").json()["results"]) == 2
    assert mine.delete(f"/api/v1/retention-rules/{general['id']}").status_code == 403
    assert mine.delete(f"/api/v1/retention-rules/{made.json()['id']}").status_code == 204
    for bad in ({"days": 0}, {"days": 40_000}, {"purpose": "x"}, {"collection": "x"}, {"dayz": 1}):
        assert admin.post("/api/v1/retention-rules", body | bad, format="json").status_code in {400, 404}
    audit = {"purpose": "audit", "days": 90, "collection": collection.name}
    assert admin.post("/api/v1/retention-rules", audit, format="json").status_code == 400
    short = admin.post("/api/v1/retention-rules", {"purpose": "audit", "days": 29}, format="json")
    assert (short.status_code, short.json()["error"]["field"]) == (400, "days")
    with pytest.raises(CommandError, match="at least 30 days"):
        call_command("retention", "set", "audit", "29")


def test_rules_are_logged(admin: APIClient, client: Client, collection: Collection) -> None:
    def told() -> Any:
        row = AuditEntry.objects.latest("id")
        return row.action, row.actor, row.collection_id, row.details

    body = {"purpose": "known", "days": 30, "collection": collection.name}
    made = admin.post("/api/v1/retention-rules", body, format="json").json()
    assert told() == ("retention", "test", collection.pk, {"rule": "known", "days": 30})
    admin.delete(f"/api/v1/retention-rules/{made['id']}")
    assert told() == ("retention", "test", collection.pk, {"rule": "known", "removed": True})
    call_command("retention", "set", "unknown", "7", stdout=StringIO())
    assert told() == ("retention", "manage.py retention", None, {"rule": "unknown", "days": 7})
    User.objects.create_superuser("root", password="pw")
    client.login(username="root", password="pw")
    key = RetentionRule.objects.get().pk
    client.post(f"/admin/privacy/retentionrule/{key}/change/", {"purpose": "unknown", "days": 8, "collection": ""})
    assert told() == ("retention", "root", None, {"rule": "unknown", "days": 8})
    client.post(f"/admin/privacy/retentionrule/{key}/delete/", {"post": "yes"})
    assert told() == ("retention", "root", None, {"rule": "unknown", "removed": True})


def test_the_command(collection: Collection) -> None:
    old = person(collection, "Old")
    out = StringIO()
    call_command("retention", "set", "known", "365", "--collection", collection.name, stdout=out)
    call_command("retention", "show", stdout=out)
    assert f"365 days in {collection.name}" in out.getvalue()
    out = StringIO()
    call_command("retention", "run", "--dry-run", stdout=out)
    assert "known" in out.getvalue()
    assert f"{old.pk} Old" in out.getvalue()
    assert names(collection) == {"Old"}
    out = StringIO()
    call_command("retention", "run", stdout=out)
    assert "known" in out.getvalue()
    assert "Old" not in out.getvalue()
    assert str(old.pk) not in json.dumps(RetentionReport.objects.get().removed)
    assert names(collection) == set()
    call_command("retention", "unset", "known", "--collection", collection.name, stdout=StringIO())
    with pytest.raises(CommandError, match="no such rule"):
        call_command("retention", "unset", "known")
    with pytest.raises(CommandError, match="no collection"):
        call_command("retention", "set", "known", "3", "--collection", "nonsense")


def test_people_without_a_note_on_consent_are_found(reader: APIClient, collection: Collection) -> None:
    person(collection, "Signed", consent="form of May")
    person(collection, "Never asked")
    address = f"/api/v1/identities?collection={collection.name}"
    for value, expected in (("false", {"Never asked"}), ("true", {"Signed"})):
        assert {row["name"] for row in reader.get(f"{address}&consent={value}").json()["results"]} == expected
    assert len(reader.get(address).json()["results"]) == 2
