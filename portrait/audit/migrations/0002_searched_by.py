"""What the log is searched by. Django leaves tables alone that it does not manage: the indexes are made by SQL."""

from django.db import migrations, models

INDEXES = {
    "audit_by_actor": ("(actor, id DESC)", {"fields": ["actor", "-id"]}),
    "audit_by_actor_id": ("(actor_id, id DESC)", {"fields": ["actor_id", "-id"]}),
    "audit_by_probe": (
        "(probe_sha256) WHERE probe_sha256 <> ''",
        {"fields": ["probe_sha256"], "condition": ~models.Q(probe_sha256="")},
    ),
    "audit_by_request": (
        "(request_id) WHERE request_id <> ''",
        {"fields": ["request_id"], "condition": ~models.Q(request_id="")},
    ),
}


class Migration(migrations.Migration):
    dependencies = [("audit", "0001_initial")]

    operations = [
        migrations.RunSQL(
            f"CREATE INDEX {name} ON audit_auditentry {columns}",
            f"DROP INDEX {name}",
            state_operations=[migrations.AddIndex("auditentry", models.Index(name=name, **stated))],
        )
        for name, (columns, stated) in INDEXES.items()
    ]
