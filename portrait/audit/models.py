"""The audit log: who asked what about whom, and the chain that shows whether somebody meddled with it.

Django never creates, changes or empties these tables by itself (`managed` is off after the first migration): so that
`manage.py flush` spares them. PostgreSQL refuses to change or delete their rows (see the migration).
"""

import uuid

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import BrinIndex, GinIndex
from django.db import models
from django.utils import timezone


class Action(models.TextChoices):
    """What was done. `read`: somebody looked at this log itself."""

    RECOGNIZE = "recognize"
    SEARCH = "search"
    VERIFY = "verify"
    CAPTION = "caption", "caption: who is in a picture"
    IMPORT = "import"
    EXPORT = "export", "export: a collection left the house"
    EXPORT_SUBJECT = "export_subject", "export_subject: all about one person"
    DOWNLOAD = "download", "download: of such an export"
    ERASE = "erase"
    RETENTION = "retention", "retention: erased by rule"
    READ = "read"


class ActorKind(models.TextChoices):
    """Who asks: an API key, a signed-in user, or the installation itself (commands, schedules)."""

    KEY = "key"
    USER = "user"
    SYSTEM = "system"


class AuditEntry(models.Model):
    """One answered request. It holds no name of anybody who was found, no vector and no picture.

    subjects: pseudonyms of those whom the answer is about; `AuditSubject` tells who they are until they are erased.
    details: numbers and settings, never what a person is called. mac: over all of it but `id`, see `chain`.
    """

    id = models.BigAutoField(primary_key=True)
    at = models.DateTimeField(default=timezone.now)
    actor_kind = models.CharField(max_length=10, choices=ActorKind.choices)
    actor = models.CharField(max_length=200, help_text="Name of the key or user.")
    actor_id = models.CharField(max_length=64, blank=True)
    action = models.CharField(max_length=20, choices=Action.choices)
    # An id, not a row: collections belong to an app above this one. None: a question about no collection.
    collection_id = models.UUIDField(null=True)
    probe_sha256 = models.CharField(max_length=64, blank=True, help_text="Of the picture that was asked about.")
    subjects = ArrayField(models.UUIDField(), default=list)
    details = models.JSONField(default=dict)
    address = models.GenericIPAddressField(null=True, help_text="Of the caller, where PORTRAIT_AUDIT_ADDRESS is on.")
    request_id = models.CharField(max_length=64, blank=True)
    key_id = models.CharField(max_length=8, help_text="Which AUDIT_KEY made the mac.")
    mac = models.BinaryField()

    class Meta:
        managed = False
        db_table = "audit_auditentry"
        ordering = ["-id"]
        verbose_name = "audit entry"
        verbose_name_plural = "audit log"
        indexes = [
            models.Index(fields=["collection_id", "-id"], name="audit_by_collection"),
            GinIndex(fields=["subjects"], name="audit_by_subject"),
            BrinIndex(fields=["at"], name="audit_by_time"),
            models.Index(fields=["actor", "-id"], name="audit_by_actor"),
            models.Index(fields=["actor_id", "-id"], name="audit_by_actor_id"),
            models.Index(fields=["probe_sha256"], name="audit_by_probe", condition=~models.Q(probe_sha256="")),
            models.Index(fields=["request_id"], name="audit_by_request", condition=~models.Q(request_id="")),
        ]

    def __str__(self) -> str:
        return f"{self.action} {self.pk}"


class AuditLink(models.Model):
    """An entry's place in the chain: its hash is over the entry's mac and the link before it."""

    position = models.BigIntegerField(primary_key=True)
    entry_id = models.BigIntegerField(unique=True)
    at = models.DateTimeField(default=timezone.now)
    key_id = models.CharField(max_length=8)
    hash = models.BinaryField()

    class Meta:
        managed = False
        db_table = "audit_auditlink"
        ordering = ["position"]

    def __str__(self) -> str:
        return f"link {self.position}"


class AuditCheckpoint(models.Model):
    """Where the chain begins after its oldest entries were removed by rule: the last link that went, and its hash."""

    position = models.BigIntegerField(primary_key=True)
    hash = models.BinaryField()
    removed = models.BigIntegerField()
    at = models.DateTimeField(default=timezone.now)
    key_id = models.CharField(max_length=8)
    mac = models.BinaryField()

    class Meta:
        managed = False
        db_table = "audit_auditcheckpoint"
        ordering = ["position"]

    def __str__(self) -> str:
        return f"checkpoint {self.position}"


class AuditSubject(models.Model):
    """Whom a pseudonym of the log means. The row goes with the person: from then on nobody can tell any more, though
    the log itself is never changed."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    identity_id = models.UUIDField(unique=True)

    def __str__(self) -> str:
        return str(self.pk)
