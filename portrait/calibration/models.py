"""What was measured of a collection, and the threshold that was set by it."""

from django.db import models

from portrait.core.models import BaseModel
from portrait.gallery.models import Collection, EmbeddingModel


def picture_path(run: "CalibrationRun", filename: str) -> str:
    return f"calibrations/{run.collection_id}/{run.id}.png"


class CalibrationRun(BaseModel):
    """One measurement of genuine and impostor distances, its report, and whether its threshold was taken over.

    report: see `measuring`. It holds distances and counts; of people only ids, of pairs that look like one person
    (`suspects`), which go when a person is erased.
    """

    class State(models.TextChoices):
        WAITING = "waiting"
        DONE = "done"
        REFUSED = "refused", "refused: too little data"

    collection = models.ForeignKey(Collection, on_delete=models.CASCADE, related_name="calibrations")
    model = models.ForeignKey(EmbeddingModel, on_delete=models.CASCADE, related_name="+")
    state = models.CharField(max_length=10, choices=State.choices, default=State.WAITING)
    job_id = models.UUIDField(null=True, blank=True)
    parameters = models.JSONField(default=dict, help_text="fmr, group_by, seed and the bounds of the samples.")
    report = models.JSONField(default=dict, blank=True)
    picture = models.FileField(upload_to=picture_path, blank=True, max_length=200)
    threshold = models.FloatField(null=True, blank=True, help_text="The distance that was found.")
    threshold_before = models.FloatField(null=True, blank=True, help_text="The collection's own, when it was applied.")
    applied_at = models.DateTimeField(null=True, blank=True)
    reverted_at = models.DateTimeField(null=True, blank=True)
    actor = models.CharField(max_length=200, blank=True, help_text="Who measured; then who applied it last.")

    class Meta:
        ordering = ["-created_at", "-id"]
        indexes = [models.Index(fields=["-created_at", "-id"], name="calibration_newest")]

    def __str__(self) -> str:
        return f"calibration of {self.created_at:%Y-%m-%d %H:%M}"

    @property
    def in_force(self) -> bool:
        """Applied, not reverted since, and still what the collection decides by: no other threshold, nor another
        embedding model, came after it."""
        now = (self.collection.threshold, self.collection.active_model_id)
        return self.stands and now == (self.threshold, self.model_id)

    @property
    def stands(self) -> bool:
        """Applied, and not reverted since."""
        return self.applied_at is not None and self.reverted_at is None
