"""Long work and its items. The rows are the truth; what lies in the broker is only a hint to look here."""

from django.db import models
from django.utils import timezone

from portrait.core.models import ApiKey, BaseModel


class Job(BaseModel):
    """A piece of work in many items, each done once and each with a result of its own."""

    kind = models.CharField(max_length=40, help_text="Which handler does the items.")
    queue = models.CharField(max_length=20)
    # An id, not a row: collections belong to an app above this one. None: work for all collections.
    collection_id = models.UUIDField(null=True, blank=True, db_index=True)
    subject_id = models.UUIDField(
        null=True, blank=True, db_index=True, help_text="Whom the job is about: erased together with that person."
    )
    api_key = models.ForeignKey(ApiKey, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    parameters = models.JSONField(default=dict, blank=True)
    cancelled_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at"]
        indexes = [
            models.Index(fields=["created_at"], name="job_unfinished", condition=models.Q(finished_at=None)),
            models.Index(fields=["kind", "finished_at"], name="job_ended", condition=~models.Q(finished_at=None)),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.id}"


class ItemState(models.TextChoices):
    """Where an item stands. The last three are final."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


OPEN_STATES = (ItemState.WAITING, ItemState.RUNNING)


class JobItem(models.Model):
    """One unit of a job. A worker owns it while `lease` is its own and `leased_until` lies ahead."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="items")
    index = models.PositiveIntegerField()
    state = models.CharField(max_length=10, choices=ItemState.choices, default=ItemState.WAITING)
    upload = models.FileField(upload_to="uploads/%Y/%m/%d", blank=True, max_length=200)
    attempts = models.PositiveIntegerField(default=0, help_text="How often a worker took it.")
    crashes = models.PositiveSmallIntegerField(default=0, help_text="How many workers vanished while they had it.")
    failures = models.PositiveSmallIntegerField(default=0, help_text="How many tries ended in an unexpected error.")
    lease = models.UUIDField(null=True, editable=False)
    leased_until = models.DateTimeField(null=True)
    accepted_at = models.DateTimeField(default=timezone.now, help_text="When it was made, or retried by hand.")
    enqueued_at = models.DateTimeField(default=timezone.now, help_text="When the broker was last given it.")
    paused_until = models.DateTimeField(null=True, help_text="Set: it waits here and is not in the broker's queue.")
    result = models.JSONField(null=True)
    error_code = models.CharField(max_length=40, blank=True)
    error_message = models.TextField(blank=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["index"]
        constraints = [models.UniqueConstraint(fields=["job", "index"], name="one_item_an_index")]
        indexes = [
            models.Index(
                fields=["enqueued_at"], name="jobitem_unfinished", condition=models.Q(state__in=["waiting", "running"])
            ),
            models.Index(fields=["job"], name="jobitem_open", condition=models.Q(state__in=["waiting", "running"])),
            models.Index(fields=["job"], name="jobitem_failed", condition=models.Q(state="failed")),
            # What `remove_orphaned_uploads` looks for; a finished item has none.
            models.Index(fields=["upload"], name="jobitem_upload", condition=~models.Q(upload="")),
        ]

    def __str__(self) -> str:
        return f"{self.job_id}/{self.index}"
