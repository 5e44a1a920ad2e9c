"""What people may ask of us about their data: exports, proofs of erasure, and how long what is kept."""

import secrets

from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.core.validators import MinValueValidator
from django.db import models
from django.utils import timezone

from portrait.audit.services import MIN_KEEP
from portrait.core.models import BaseModel
from portrait.gallery.models import Collection, Identity


def export_path(export: "SubjectExport", filename: str) -> str:
    return f"subject_exports/{export.created_at:%Y/%m/%d}/{export.pk}.zip"


class SubjectExport(BaseModel):
    """All about one person, as a zip that is kept for a day. It follows the person when they are erased."""

    collection = models.ForeignKey(Collection, on_delete=models.CASCADE, related_name="+")
    identity = models.ForeignKey(Identity, on_delete=models.CASCADE, related_name="+")
    requested_by = models.CharField(max_length=200)
    job_id = models.UUIDField(null=True)
    file = models.FileField(upload_to=export_path, blank=True, max_length=200)
    size_bytes = models.BigIntegerField(default=0)
    sha256 = models.CharField(max_length=64, blank=True)
    ready_at = models.DateTimeField(null=True)
    expires_at = models.DateTimeField(help_text="The zip is removed then.")
    downloads = models.PositiveIntegerField(default=0)

    class Meta:
        ordering = ["-created_at"]
        indexes = [models.Index(fields=["expires_at"], name="subjectexport_expires")]

    def __str__(self) -> str:
        return f"export {self.pk}"


def new_salt() -> str:
    """32 hexadecimal digits."""
    return secrets.token_hex(16)


class ErasureProof(BaseModel):
    """That somebody was erased, and what went. It tells nobody who that was: who knows the person's id can check by
    `salt` and `subject` that it is about them. `finished_at` None: it is under way, or was cut off; then
    retention goes on with it, and so does who asks again."""

    # An id, not a row: the proof outlives the collection.
    collection_id = models.UUIDField()
    reference = models.CharField(max_length=200, blank=True, help_text="The caller's own, of the request to erase.")
    requested_by = models.CharField(max_length=200)
    salt = models.CharField(max_length=32, default=new_salt)
    subject = models.CharField(max_length=64, help_text="SHA-256 of the salt and the person's id, both as text.")
    counted = models.JSONField(default=dict, help_text="What was there when it began: counts and hashes of names.")
    # Emptied at the end: so that somebody can go on with it where it was cut off, whatever is gone by then.
    people = ArrayField(models.UUIDField(), default=list)
    paths = models.JSONField(default=list, help_text="While it is under way: storage and path of every file.")
    why = models.CharField(max_length=200, blank=True)
    finished_at = models.DateTimeField(null=True)
    statement = models.JSONField(default=dict, help_text="What is signed, as canonical JSON.")
    signature = models.CharField(max_length=100, blank=True, help_text="Ed25519, base64.")

    class Meta:
        ordering = ["-created_at"]
        indexes = [models.Index(fields=["collection_id", "-created_at", "-id"], name="proof_newest")]

    def __str__(self) -> str:
        return f"proof {self.pk}"


class Purpose(models.TextChoices):
    """What is kept, and why it is kept at all. `known` and `unknown` are kinds of identities too. What cameras saw has
    rules of its own: the cameras'."""

    KNOWN = "known", "people known by name, to recognise them: not seen, added to or changed for so many days"
    UNKNOWN = "unknown", "unknown people, to meet them again: not seen for so many days"
    JOURNAL = "journal", "contents of the journal, to undo edits"
    SUGGESTIONS = "suggestions", "suggestions that were confirmed or overtaken"
    REPORTS = "reports", "reports of imports and other jobs that ended"
    AUDIT = "audit", "the audit log, to answer for what was asked (at least 30 days)"
    PROOFS = "proofs", "proofs of erasure"


OF_THE_INSTALLATION = (Purpose.AUDIT,)
"""Of these there is one rule for all collections."""


class RetentionRule(BaseModel):
    """How long something is kept: in a collection, or (collection empty) in all that have no rule of their own."""

    collection = models.ForeignKey(Collection, null=True, blank=True, on_delete=models.CASCADE, related_name="+")
    purpose = models.CharField(max_length=20, choices=Purpose.choices)
    days = models.PositiveIntegerField(validators=[MinValueValidator(1)], help_text="Kept for so many days.")

    class Meta:
        ordering = ["purpose", "created_at"]
        constraints = [
            models.UniqueConstraint(fields=["collection", "purpose"], name="one_rule_a_purpose", nulls_distinct=False),
            models.CheckConstraint(condition=models.Q(days__gte=1), name="at_least_a_day"),
        ]

    def __str__(self) -> str:
        return f"{self.purpose}: {self.days} days"

    def clean(self) -> None:
        if self.purpose == Purpose.AUDIT and self.days is not None and self.days < MIN_KEEP.days:
            raise ValidationError({"days": f"Entries of the audit log are kept for at least {MIN_KEEP.days} days."})


class RetentionReport(models.Model):
    """What one run removed, and by which rule: numbers only."""

    id = models.BigAutoField(primary_key=True)
    started_at = models.DateTimeField(default=timezone.now)
    ended_at = models.DateTimeField(null=True)
    removed = models.JSONField(default=list)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"retention {self.started_at:%Y-%m-%d %H:%M}"
