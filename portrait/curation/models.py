"""What is proposed about identities, what people answered, and who looks like whom."""

import hashlib
from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.db import models

from portrait.core.models import BaseModel
from portrait.gallery.models import Collection, EmbeddingModel, Identity


class Kind(models.TextChoices):
    """What a suggestion says. `identities` and `portraits` of the row are its subjects."""

    SAME_PERSON = "same_person", "These two may be the same person"
    CLUSTER = "cluster", "These unknown people are probably one"
    DUPLICATE = "duplicate", "Enrolled twice"
    OUTLIER = "outlier", "This portrait looks like somebody else's"
    WEAK = "weak", "Poor portraits"


PAIRS = (Kind.SAME_PERSON, Kind.DUPLICATE)
OF_PEOPLE = (*PAIRS, Kind.CLUSTER)


class State(models.TextChoices):
    OPEN = "open"
    CONFIRMED = "confirmed"
    REJECTED = "rejected"
    STALE = "stale", "overtaken: its people or portraits changed"


def fingerprint_of(kind: str, identities: Iterable[UUID], portraits: Iterable[UUID] = ()) -> str:
    """One question has one fingerprint, however it came up: a pair is asked about once, whatever the kind."""
    what = "pair" if kind in PAIRS else str(kind)
    names = [what, *sorted(str(key) for key in identities), "portraits", *sorted(str(key) for key in portraits)]
    return hashlib.sha256(" ".join(names).encode()).hexdigest()


class Suggestion(BaseModel):
    """A question to people about identities. A row is kept when it is answered, so that it is never asked again.

    identities: of a pair or a cluster all of them; of a portrait its own person first, and then whose it may be.
    portraits: of `outlier` and `weak` those it is about. details: numbers, and the reason as a code; no names.
    """

    collection = models.ForeignKey(Collection, on_delete=models.CASCADE, related_name="suggestions")
    kind = models.CharField(max_length=20, choices=Kind.choices)
    state = models.CharField(max_length=10, choices=State.choices, default=State.OPEN)
    fingerprint = models.CharField(max_length=64, editable=False)
    identities = ArrayField(models.UUIDField(), default=list)
    portraits = ArrayField(models.UUIDField(), default=list, blank=True)
    score = models.FloatField(help_text="0..1, how sure it is: the surest stand first.")
    details = models.JSONField(default=dict, blank=True)
    decided_by = models.CharField(max_length=200, blank=True)
    decided_at = models.DateTimeField(null=True, blank=True)
    changes = ArrayField(
        models.BigIntegerField(), default=list, blank=True, help_text="Rows of the journal that the answer made."
    )

    class Meta:
        ordering = ["-score", "-id"]
        constraints = [models.UniqueConstraint(fields=["collection", "fingerprint"], name="one_suggestion_a_question")]
        indexes = [
            models.Index(fields=["collection", "state", "-score", "-id"], name="suggestion_queue"),
            models.Index(fields=["state", "-score", "-id"], name="suggestion_all_queues"),
            GinIndex(fields=["identities"], name="suggestion_by_identity"),
            GinIndex(fields=["portraits"], name="suggestion_by_portrait"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.id}"


class Likeness(models.Model):
    """Two identities whose faces are near by one model: an edge of the graph that clusters are made of.

    `first` has the lower id. distance: root of the mean squared distance of the faces of one to those of the other;
    nearest: the least of them.
    """

    id = models.BigAutoField(primary_key=True)
    collection = models.ForeignKey(Collection, on_delete=models.CASCADE, related_name="+", db_index=False)
    model = models.ForeignKey(EmbeddingModel, on_delete=models.CASCADE, related_name="+")
    first = models.ForeignKey(Identity, on_delete=models.CASCADE, related_name="+")
    second = models.ForeignKey(Identity, on_delete=models.CASCADE, related_name="+")
    distance = models.FloatField()
    nearest = models.FloatField()
    together = models.BooleanField(default=False, help_text="Once seen in one frame: they are two people.")

    class Meta:
        verbose_name_plural = "likenesses"
        constraints = [
            models.UniqueConstraint(fields=["model", "first", "second"], name="one_likeness_a_pair"),
            models.CheckConstraint(condition=models.Q(first__lt=models.F("second")), name="likeness_in_order"),
        ]
        indexes = [models.Index(fields=["collection", "model", "id"], name="likeness_by_collection")]

    def __str__(self) -> str:
        return f"{self.first_id} is like {self.second_id}"


class Scan(models.Model):
    """How far a collection was looked through. One row a collection; `job_id` is what one scan at a time stands on."""

    collection = models.OneToOneField(Collection, primary_key=True, on_delete=models.CASCADE, related_name="scan")
    model = models.ForeignKey(EmbeddingModel, null=True, on_delete=models.SET_NULL, related_name="+")
    job_id = models.UUIDField(null=True, help_text="The newest scan.")
    through = models.DateTimeField(null=True, help_text="Changes until then were looked at.")
    full_at = models.DateTimeField(null=True, help_text="When everybody was last looked at.")

    def __str__(self) -> str:
        return f"scan of {self.collection_id}"

    def covers(self, model_id: int) -> datetime | None:
        """Up to when nothing has to be looked at again by this model; None: everybody has to be."""
        return self.through if self.model_id == model_id else None
