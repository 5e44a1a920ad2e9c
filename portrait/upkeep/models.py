"""What was checked when, and what came out."""

from django.db import models
from django.utils import timezone


class UpkeepRun(models.Model):
    """One run of a check or a repair. At most one of a kind is open: that is what keeps two from running at once."""

    class Kind(models.TextChoices):
        INTEGRITY = "integrity", "rows against files, and rows against each other"
        INDEXES = "indexes", "statistics and indexes of the database"
        LEDGER = "ledger", "every frame is accounted for"

    id = models.BigAutoField(primary_key=True)
    kind = models.CharField(max_length=20, choices=Kind.choices)
    started_at = models.DateTimeField(default=timezone.now)
    alive_at = models.DateTimeField(default=timezone.now, help_text="When it last said that it goes on.")
    ended_at = models.DateTimeField(null=True)
    ok = models.BooleanField(null=True, help_text="Nothing was found that needs a person.")
    report = models.JSONField(default=dict)
    error = models.TextField(blank=True, help_text="Why it did not come to its end.")

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["kind"], condition=models.Q(ended_at=None), name="one_open_run_a_kind")
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.started_at:%Y-%m-%d %H:%M}"
