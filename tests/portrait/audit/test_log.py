"""The audit log: what is in it, and what nobody can do to it."""

import json
import uuid
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, ProgrammingError, connection, transaction
from django.utils import timezone

from portrait.audit import services
from portrait.audit.models import Action, AuditCheckpoint, AuditEntry, AuditLink, AuditSubject
from portrait.audit.selectors import verify

pytestmark = pytest.mark.django_db

SOMEBODY = services.system("test")


def sql(text: str, *values: Any) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(text, values)
        return cursor.fetchall() if cursor.description else []


@pytest.fixture(autouse=True)
def nothing_logged(settings: Any, tmp_path: Any) -> None:
    """Tests that commit leave entries behind: here they are out of sight, until the test's transaction ends."""
    settings.PORTRAIT = _with_anchors(settings.PORTRAIT, tmp_path)
    for table in ("audit_auditlink", "audit_auditentry", "audit_auditcheckpoint"):
        sql(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        sql(f"DELETE FROM {table}")
        for trigger in ("never_changed", "never_emptied"):
            sql(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {trigger}")


def _with_anchors(environment: Any, folder: Any) -> Any:
    from dataclasses import replace

    return replace(environment, var=folder)


def entry(**values: Any) -> AuditEntry:
    asked: dict[str, Any] = {"principal": SOMEBODY, "action": Action.RECOGNIZE, "collection_id": uuid.uuid4()}
    services.record(**asked | values)
    return AuditEntry.objects.order_by("-id").first()  # type: ignore[return-value]


def meddle(text: str, *values: Any) -> None:
    """As the owner of the tables, who takes the triggers away."""
    for table in ("audit_auditlink", "audit_auditentry", "audit_auditcheckpoint"):
        sql(f"ALTER TABLE {table} DISABLE TRIGGER USER")
    sql(text, *values)
    for table in ("audit_auditlink", "audit_auditentry", "audit_auditcheckpoint"):
        sql(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER never_changed")
        sql(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER never_emptied")


def refused(text: str) -> bool:
    """Fails where it is not."""
    with pytest.raises(ProgrammingError, match=r"only ever added to|permission denied"), transaction.atomic():
        sql(text)
    return True


TABLES = ["audit_auditentry", "audit_auditlink", "audit_auditcheckpoint"]


@pytest.mark.parametrize("table", TABLES)
def test_postgresql_refuses_to_change_delete_or_empty(table: str) -> None:
    entry()
    services.seal()
    sql(
        "INSERT INTO audit_auditcheckpoint (position, hash, removed, at, key_id, mac)"
        " VALUES (0, '', 0, now() - interval '1 year', '', '')"
    )
    for before in ("", "SET session_replication_role = replica;", "SET portrait.audit_purge = 'on';"):
        assert refused(f"{before} UPDATE {table} SET key_id = 'x'")
        assert refused(f"{before} DELETE FROM {table}")
        assert refused(f"{before} TRUNCATE {table}")
    assert AuditEntry.objects.count() == AuditLink.objects.count() == 1
    assert refused(f"MERGE INTO {table} t USING (SELECT 1) s ON true WHEN MATCHED THEN DELETE")


def test_djangos_own_ways_are_refused_too() -> None:
    row = entry()
    for change in (
        lambda: AuditEntry.objects.update(actor="nobody"),
        lambda: AuditEntry.objects.all().delete(),
        row.save,
        row.delete,
    ):
        with pytest.raises(DatabaseError), transaction.atomic():
            change()
    row.refresh_from_db()
    assert row.actor == "test"


def test_a_role_of_its_own_may_write_and_read_and_nothing_else() -> None:
    """What docs/privacy.md grants to the application on an external database."""
    entry()
    services.seal()
    sql("CREATE ROLE portrait_app_test NOSUPERUSER")
    sql("GRANT USAGE ON SCHEMA public TO portrait_app_test")
    sql("GRANT SELECT, INSERT ON audit_auditentry, audit_auditlink, audit_auditcheckpoint TO portrait_app_test")
    sql("GRANT SELECT, INSERT, UPDATE, DELETE ON audit_auditsubject TO portrait_app_test")
    sql("GRANT USAGE ON SEQUENCE audit_auditentry_id_seq TO portrait_app_test")
    sql("GRANT EXECUTE ON FUNCTION portrait_audit_purge(bigint, bytea, text, bytea) TO portrait_app_test")
    sql("SET LOCAL ROLE portrait_app_test")
    try:
        entry(identities=[uuid.uuid4()])
        assert services.seal() == 1
        assert verify().intact
        for table in TABLES:
            assert refused(f"UPDATE {table} SET key_id = 'x'")
            assert refused(f"DELETE FROM {table}")
            assert refused(f"TRUNCATE {table}")
            with pytest.raises(ProgrammingError, match="owner"), transaction.atomic():
                sql(f"ALTER TABLE {table} DISABLE TRIGGER ALL")
    finally:
        sql("RESET ROLE")


def test_flush_leaves_the_log_alone() -> None:
    names = connection.introspection.django_table_names(only_existing=True)
    assert not set(TABLES) & set(names)


def test_an_entry_tells_who_what_and_the_hash_of_the_probe() -> None:
    somebody = uuid.uuid4()
    row = entry(probe=b"a picture", details={"faces": 1, "ratio": 0.123456, "odd": "a\0b"}, identities=[somebody])
    assert (row.actor_kind, row.actor, row.action) == ("system", "test", "recognize")
    assert row.probe_sha256 == services.sha256_of(b"a picture")
    assert row.details == {"faces": 1, "ratio": 0.1235, "odd": "ab"}
    assert str(somebody) not in str(AuditEntry.objects.filter(pk=row.pk).values())
    assert AuditSubject.objects.get(pk=row.subjects[0]).identity_id == somebody


def test_a_person_has_one_pseudonym_until_they_are_forgotten() -> None:
    somebody = uuid.uuid4()
    first, second = entry(identities=[somebody]), entry(identities=[somebody])
    assert first.subjects == second.subjects
    assert services.forget_subjects(identity_ids=[somebody]) == 1
    assert entry(identities=[somebody]).subjects != first.subjects
    services.seal()
    assert verify().intact


def test_an_untouched_log_verifies() -> None:
    for number in range(5):
        entry(details={"number": number, "half": number / 2, "small": 1e-5, "none": None, "yes": True, "é": ["ü", 1]})
    assert services.seal() == 5
    assert services.seal() == 0
    entry()
    found = verify()
    assert (found.intact, found.entries, found.links, found.unsealed) == (True, 6, 5, 1)


@pytest.mark.parametrize(
    "column", ["at", "actor", "action", "details", "probe_sha256", "collection_id", "subjects", "address", "mac"]
)
def test_a_changed_entry_is_found(column: str) -> None:
    values = {
        "at": "now()",
        "actor": "'nobody'",
        "action": "'verify'",
        "details": "'{\"faces\": 0}'",
        "probe_sha256": "repeat('0', 64)",
        "collection_id": "NULL",
        "subjects": "'{}'",
        "address": "'10.0.0.1'",
        "mac": "repeat('x', 32)::bytea",
    }
    rows = [entry(identities=[uuid.uuid4()], details={"faces": 2}) for _ in range(3)]
    services.seal()
    meddle(f"UPDATE audit_auditentry SET {column} = {values[column]} WHERE id = %s", rows[1].pk)
    faults = verify().faults
    assert any(f"entry {rows[1].pk}" in fault for fault in faults), faults


def test_an_entry_that_was_taken_out_is_found() -> None:
    rows = [entry() for _ in range(3)]
    services.seal()
    meddle("DELETE FROM audit_auditentry WHERE id = %s", rows[1].pk)
    assert f"entry {rows[1].pk} is gone" in verify().faults[0]
    meddle("DELETE FROM audit_auditlink WHERE entry_id = %s", rows[1].pk)
    assert "are gone" in verify().faults[0]
    # Even where the places behind it are moved up, as the hashes do not follow each other.
    meddle("UPDATE audit_auditlink SET position = position - 1 WHERE entry_id = %s", rows[2].pk)
    assert "does not follow" in verify().faults[0]


def test_an_entry_that_was_put_in_is_found() -> None:
    row = entry()
    services.seal()
    sql(
        "INSERT INTO audit_auditentry (at, actor_kind, actor, actor_id, action, subjects, details, probe_sha256,"
        " request_id, key_id, mac) SELECT at, actor_kind, 'forged', actor_id, action, subjects, details, probe_sha256,"
        " request_id, key_id, mac FROM audit_auditentry WHERE id = %s",
        row.pk,
    )
    services.seal()
    assert "is not as it was written" in verify().faults[0]


def test_the_newest_entries_cannot_be_cut_off_unnoticed() -> None:
    entry()
    services.seal()
    last = entry()
    services.seal()
    meddle("DELETE FROM audit_auditlink WHERE entry_id = %s", last.pk)
    meddle("DELETE FROM audit_auditentry WHERE id = %s", last.pk)
    assert "was noted outside of the database and is gone" in verify().faults[0]


def test_a_log_that_was_written_anew_differs_from_what_was_noted(tmp_path: Any, settings: Any) -> None:
    entry()
    services.seal()
    out = StringIO()
    call_command("audit", "head", stdout=out)
    noted = out.getvalue().strip()
    meddle("DELETE FROM audit_auditlink")
    meddle("DELETE FROM audit_auditentry")
    settings.PORTRAIT.audit_anchors.unlink()
    entry(details={"faces": 0})
    services.seal()
    assert verify().intact  # by somebody who has the key, too
    with pytest.raises(CommandError, match="not as it was written"):
        call_command("audit", "verify", "--noted", noted, stderr=StringIO())


def test_the_command_verifies_lists_and_exports() -> None:
    entry(probe=b"x", details={"faces": 3})
    out = StringIO()
    call_command("audit", "verify", stdout=out)
    assert "as it was written: 1 entries" in out.getvalue()
    out = StringIO()
    call_command("audit", "export", "--action", "recognize", stdout=out)
    (told,) = [json.loads(line) for line in out.getvalue().splitlines()]
    assert told["probe_sha256"] == services.sha256_of(b"x")
    out = StringIO()
    call_command("audit", "list", stdout=out)
    assert "recognize" in out.getvalue()
    assert AuditEntry.objects.filter(action="read").count() == 2


def age(days: int) -> None:
    """Entries that are so old, in place of waiting: their MACs and links are made anew for their new time."""
    for table in ("audit_auditlink", "audit_auditentry"):
        sql(f"ALTER TABLE {table} DISABLE TRIGGER USER")
    sql("DELETE FROM audit_auditlink")
    from portrait.audit import chain
    from portrait.audit.selectors import content_of, keyring

    for row in AuditEntry.objects.all():
        row.at -= timedelta(days=days)
        mac = keyring().mac(row.key_id, chain.canonical(content_of(row)))
        AuditEntry.objects.filter(pk=row.pk).update(at=row.at, mac=mac)
    services.seal()
    AuditLink.objects.update(at=timezone.now() - timedelta(days=days))
    for table in ("audit_auditlink", "audit_auditentry"):
        for trigger in ("never_changed", "never_emptied"):
            sql(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {trigger}")


def test_old_entries_go_by_rule_and_the_chain_stays_whole() -> None:
    for _ in range(3):
        entry()
    age(100)
    young = entry()
    services.seal()
    assert services.purge(before=timezone.now() - timedelta(days=200)) == 0
    assert services.purge(before=timezone.now() - timedelta(days=90)) == 3
    assert [row.pk for row in AuditEntry.objects.all()] == [young.pk]
    found = verify()
    assert (found.intact, found.checkpoint, found.links) == (True, 3, 1)
    entry()
    services.seal()
    assert verify().intact
    assert services.purge(before=timezone.now()) == 0  # nothing is that old yet: 30 days at least
    meddle("UPDATE audit_auditcheckpoint SET mac = '\\x00'")
    assert not verify().intact


def test_younger_entries_cannot_be_purged_by_sql_either() -> None:
    entry()
    services.seal()
    link = AuditLink.objects.get()
    with pytest.raises(ProgrammingError, match="only ever added to"), transaction.atomic():
        sql("SELECT portrait_audit_purge(%s, %s, 'x', 'x')", link.position, bytes(link.hash))
    assert AuditEntry.objects.count() == 1
    assert AuditCheckpoint.objects.count() == 0


def test_old_entries_deleted_without_the_rule_are_missed() -> None:
    entry()
    age(100)
    entry()
    services.seal()
    sql("SET LOCAL portrait.audit_purge = 'on'")
    sql("DELETE FROM audit_auditlink WHERE position = 1")
    sql("DELETE FROM audit_auditentry WHERE at < now() - interval '90 days'")
    assert not verify().intact


def test_entries_of_another_key_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    from portrait.audit import chain, selectors

    entry()
    services.seal()
    old = selectors.keyring()
    both = chain.Keyring((*chain.Keyring.of(["new"]).keys, *old.keys))
    for module in (selectors, services):
        monkeypatch.setattr(module, "keyring", lambda: both)
    entry()
    services.seal()
    assert verify().intact  # the key was changed, the old one is still known
    for module in (selectors, services):
        monkeypatch.setattr(module, "keyring", lambda: chain.Keyring.of(["new"]))
    assert any("is not among those of AUDIT_KEY" in fault for fault in verify().faults)


def test_entries_that_wait_for_long_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The schedule is off: what is removed before it is chained is not missed."""
    services.record(principal=SOMEBODY, action=Action.SEARCH, collection_id=None)
    monkeypatch.setattr("portrait.audit.selectors.LATE", timedelta(0))
    with pytest.raises(CommandError, match="1 entries waited"):
        call_command("audit", "verify", stdout=StringIO())
    call_command("audit", "verify", stdout=StringIO())
