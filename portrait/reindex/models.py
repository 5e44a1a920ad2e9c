"""From one embedding model to another: what was asked, how far it is, and what came out."""

from django.db import models

from portrait.core.models import BaseModel
from portrait.gallery.models import Collection, EmbeddingModel


class State(models.TextChoices):
    """Where a re-index stands. Up to `ready` it is open: a collection has one open re-index at most."""

    BUILDING = "building"
    CHECKING = "checking"
    READY = "ready", "ready: waits to be switched by hand"
    SWITCHED = "switched"
    ROLLED_BACK = "rolled_back"
    FAILED = "failed"
    CANCELLED = "cancelled"


OPEN = (State.BUILDING, State.CHECKING, State.READY)


class Reindex(BaseModel):
    """A collection gets the vectors of another model, and is searched by them from one moment to the next.

    `report`: numbers only, no person is named in it.
    """

    collection = models.ForeignKey(Collection, on_delete=models.CASCADE, related_name="reindexes")
    from_model = models.ForeignKey(EmbeddingModel, on_delete=models.PROTECT, related_name="+")
    to_model = models.ForeignKey(EmbeddingModel, on_delete=models.PROTECT, related_name="+")
    state = models.CharField(max_length=12, choices=State.choices, default=State.BUILDING)
    job_id = models.UUIDField(null=True, blank=True, db_index=True)
    from_pictures = models.BooleanField(default=False, help_text="The network looks at the stored pictures again.")
    switch_itself = models.BooleanField(default=True, help_text="When the checks are good; else it waits as ready.")
    from_threshold = models.FloatField(null=True, help_text="The collection's own, in distances of the old model.")
    to_threshold = models.FloatField(null=True, help_text="What it became, in distances of the new model.")
    report = models.JSONField(default=dict, blank=True)
    error = models.TextField(blank=True)
    built_at = models.DateTimeField(null=True)
    switched_at = models.DateTimeField(null=True)
    rolled_back_at = models.DateTimeField(null=True)
    retired_at = models.DateTimeField(null=True, help_text="The vectors that are not used any more are being removed.")

    class Meta:
        ordering = ["-created_at"]
        verbose_name_plural = "re-indexes"
        constraints = [
            models.UniqueConstraint(
                fields=["collection"],
                name="one_open_reindex",
                condition=models.Q(state__in=["building", "checking", "ready"]),
            )
        ]

    def __str__(self) -> str:
        return f"{self.collection}: {self.from_model} -> {self.to_model}"


class Chunk(models.Model):
    """A stretch of one table, done by the item of the job with the same index. Ids up to the next chunk's `first`."""

    class Table(models.TextChoices):
        PORTRAITS = "portraits"
        DETECTIONS = "detections"

    id = models.BigAutoField(primary_key=True)
    reindex = models.ForeignKey(Reindex, on_delete=models.CASCADE, related_name="chunks")
    index = models.PositiveIntegerField()
    table = models.CharField(max_length=10, choices=Table.choices)
    first = models.CharField(max_length=36, help_text="The first id of it.")
    after = models.CharField(max_length=36, blank=True, help_text="The first id beyond; empty: to the end.")
    rows = models.PositiveIntegerField(help_text="How many there were when it was planned.")
    done_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["index"]
        constraints = [models.UniqueConstraint(fields=["reindex", "index"], name="one_chunk_an_index")]

    def __str__(self) -> str:
        return f"{self.reindex_id}/{self.index}"
