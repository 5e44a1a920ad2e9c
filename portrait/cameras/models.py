"""Cameras, and the ledger of their frames: every accepted frame has its row here, whatever becomes of it."""

import uuid

from django.core.files.storage import Storage, storages
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models.functions import Now
from django.utils import timezone

from portrait.core.models import BaseModel
from portrait.gallery.models import Collection


class Camera(BaseModel):
    """A source of frames: `watch_cameras` reads it, or (with an empty `source`) its frames are pushed."""

    class WindowMode(models.TextChoices):
        HOPPING = "hopping", "hopping: any window_s seconds"
        TUMBLING = "tumbling", "tumbling: windows side by side, from midnight UTC on"

    collection = models.ForeignKey(Collection, on_delete=models.CASCADE, related_name="cameras")
    name = models.SlugField(max_length=60)
    source = models.CharField(
        max_length=500,
        blank=True,
        help_text="rtsp:// or http:// address, a file or folder of pictures in a folder that PORTRAIT_SOURCE_DIRS "
        "names, or device:0; empty: its frames are pushed through the API.",
    )
    fps = models.FloatField(
        null=True,
        blank=True,
        validators=[MinValueValidator(0.01), MaxValueValidator(240)],
        help_text="Frames a second to take; empty: every frame. Of a folder of pictures each is taken; "
        "with --realtime or --start they are so far apart.",
    )
    enabled = models.BooleanField(default=True)
    min_hits = models.PositiveSmallIntegerField(
        default=4, validators=[MinValueValidator(1), MaxValueValidator(1000)], help_text="Frames that open a sighting"
    )
    window_s = models.FloatField(
        default=5.0, validators=[MinValueValidator(0.1), MaxValueValidator(3600)], help_text="within so many seconds."
    )
    gap_s = models.FloatField(
        default=10.0,
        validators=[MinValueValidator(0.1), MaxValueValidator(86400)],
        help_text="A sighting ends when nobody was seen for so many seconds.",
    )
    window_mode = models.CharField(max_length=10, choices=WindowMode.choices, default=WindowMode.HOPPING)
    keep_frames_h = models.PositiveIntegerField(default=168, help_text="Hours that frames' pictures are kept.")
    keep_unnamed_h = models.PositiveIntegerField(
        default=720, help_text="Hours that faces and sightings of nobody known by name are kept."
    )
    keep_named_h = models.PositiveIntegerField(
        null=True, blank=True, help_text="Hours that sightings of known people are kept; empty: until deleted."
    )
    next_sequence = models.BigIntegerField(default=0, editable=False, help_text="Above every sequence it has had.")
    accepted = models.BigIntegerField(default=0, editable=False, help_text="Frames that it has had, each counted once.")
    pruned = models.BigIntegerField(default=0, editable=False, help_text="Of those, rows that retention took away.")
    pruned_below = models.BigIntegerField(
        default=0, editable=False, help_text="Rows of the ledger below this sequence may be gone by retention."
    )

    class Meta:
        ordering = ["name"]
        constraints = [models.UniqueConstraint(fields=["collection", "name"], name="one_camera_a_name")]

    def __str__(self) -> str:
        return self.name


def _camera_of(row: "CaptureStatus | Frame") -> str:
    """Its name where the camera was read along with the row; never a query."""
    camera = row._state.fields_cache.get("camera")
    return str(camera or row.camera_id)


class CaptureStatus(models.Model):
    """How the reading of a camera goes; written by `watch_cameras`, apart from what people set."""

    class State(models.TextChoices):
        IDLE = "idle"
        CONNECTING = "connecting"
        RUNNING = "running"
        RETRYING = "retrying", "retrying: the source does not answer"
        PAUSED = "paused", "paused: the disk is nearly full"
        ENDED = "ended", "ended: the file was read to its end"
        FAILED = "failed", "failed: the source can never be read"

    camera = models.OneToOneField(Camera, primary_key=True, on_delete=models.CASCADE, related_name="status")
    state = models.CharField(max_length=12, choices=State.choices, default=State.IDLE)
    since = models.DateTimeField(default=timezone.now)
    message = models.TextField(blank=True)
    heartbeat_at = models.DateTimeField(null=True, help_text="When the reader last said that it lives.")
    last_frame_at = models.DateTimeField(null=True, help_text="Capture time of the newest accepted frame.")
    lag_s = models.FloatField(null=True, help_text="Seconds from a frame's capture to its acceptance.")
    captured = models.BigIntegerField(default=0, help_text="Frames taken from the source, since it began.")
    not_taken = models.BigIntegerField(default=0, help_text="Of those, frames that could not be stored.")
    restarts = models.PositiveIntegerField(default=0, help_text="Connections made anew.")
    # A file is read once: where it began, and how far it was read, for the same file.
    fingerprint = models.CharField(max_length=200, blank=True, editable=False)
    epoch = models.DateTimeField(null=True, editable=False, help_text="Capture time of the file's beginning.")
    base_sequence = models.BigIntegerField(default=0, editable=False)
    position = models.BigIntegerField(default=0, editable=False, help_text="Frames of the file that were looked at.")

    class Meta:
        verbose_name_plural = "capture statuses"

    def __str__(self) -> str:
        return f"{_camera_of(self)} {self.state}"


def frame_storage() -> Storage:
    """Where frames' pictures lie: the storage named `frames` of the settings."""
    return storages["frames"]


def frame_path(frame: "Frame", filename: str) -> str:
    """A folder an hour, so that none grows without end; the name tells nothing and meets no other."""
    return f"frames/{frame.camera_id}/{frame.captured_at:%Y/%m/%d/%H}/{uuid.uuid4().hex}.jpg"


class FrameState(models.TextChoices):
    """Where a frame stands. `done` and `failed` are final but for retries; `expired`: its picture is gone by rule."""

    WAITING = "waiting"
    DONE = "done"
    FAILED = "failed"
    EXPIRED = "expired"


class Frame(models.Model):
    """One accepted frame. A worker owns a waiting one while `lease` is its own and `leased_until` lies ahead."""

    id = models.BigAutoField(primary_key=True)
    camera = models.ForeignKey(Camera, on_delete=models.CASCADE, related_name="frames", db_index=False)
    sequence = models.BigIntegerField()
    captured_at = models.DateTimeField()
    accepted_at = models.DateTimeField(db_default=Now(), editable=False)
    state = models.CharField(max_length=10, choices=FrameState.choices, default=FrameState.WAITING)
    picture = models.FileField(upload_to=frame_path, storage=frame_storage, blank=True, max_length=200)
    sha256 = models.CharField(max_length=64, help_text="Of the bytes as they were sent.")
    size_bytes = models.PositiveIntegerField()
    width = models.PositiveIntegerField()
    height = models.PositiveIntegerField()
    metadata = models.JSONField(default=dict, blank=True)
    attempts = models.PositiveIntegerField(default=0, help_text="How often a worker took it.")
    crashes = models.PositiveSmallIntegerField(default=0, help_text="How many workers vanished while they had it.")
    failures = models.PositiveSmallIntegerField(default=0, help_text="How many tries ended in an unexpected error.")
    lease = models.UUIDField(null=True, editable=False)
    leased_until = models.DateTimeField(null=True)
    waits_since = models.DateTimeField(default=timezone.now, help_text="When it was accepted, or retried by hand.")
    enqueued_at = models.DateTimeField(default=timezone.now, help_text="When the broker was last given it.")
    paused_until = models.DateTimeField(null=True, help_text="Set: it waits here and is not in the broker's queue.")
    finished_at = models.DateTimeField(null=True)
    error_code = models.CharField(max_length=40, blank=True)
    error_message = models.TextField(blank=True)

    class Meta:
        ordering = ["-id"]
        constraints = [models.UniqueConstraint(fields=["camera", "sequence"], name="one_frame_a_sequence")]
        indexes = [
            models.Index(fields=["camera", "captured_at"], name="frame_by_time"),
            models.Index(fields=["camera", "-id"], name="frame_newest"),
            models.Index(fields=["leased_until"], name="frame_leased", condition=models.Q(state="waiting")),
            models.Index(fields=["paused_until"], name="frame_paused", condition=models.Q(state="waiting")),
            models.Index(fields=["id"], name="frame_waiting", condition=models.Q(state="waiting")),
            models.Index(fields=["camera", "id"], name="frame_waiting_camera", condition=models.Q(state="waiting")),
            models.Index(fields=["camera", "id"], name="frame_failed", condition=models.Q(state="failed")),
            models.Index(fields=["finished_at"], name="frame_finished"),
            models.Index(
                fields=["camera", "captured_at"], name="frame_ended", condition=models.Q(state__in=["done", "failed"])
            ),
        ]

    def __str__(self) -> str:
        return f"{_camera_of(self)}/{self.sequence}"
