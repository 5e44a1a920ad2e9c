"""What was seen: faces in frames, tracks of a face over neighbouring frames, and sightings, the true events."""

from django.contrib.postgres.fields import ArrayField
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils import timezone
from pgvector.django import HalfVectorField, VectorField

from portrait.cameras.models import Camera, Frame
from portrait.core.models import BaseModel
from portrait.gallery.models import Change, Collection, EmbeddingModel, Identity


class Timeline(models.Model):
    """One row a camera. Whoever changes the camera's tracks and sightings holds its lock."""

    camera = models.OneToOneField(Camera, primary_key=True, on_delete=models.CASCADE, related_name="timeline")
    latest = models.DateTimeField(null=True, help_text="Capture time of the newest frame that was processed.")
    advanced_at = models.DateTimeField(default=timezone.now, help_text="When a frame was last processed.")

    def __str__(self) -> str:
        return f"timeline of {self.camera_id}"


class Track(models.Model):
    """The same face over neighbouring frames of one camera: identity is decided here, not frame by frame."""

    id = models.BigAutoField(primary_key=True)
    camera = models.ForeignKey(Camera, on_delete=models.CASCADE, related_name="tracks")
    identity = models.ForeignKey(Identity, null=True, blank=True, on_delete=models.SET_NULL, related_name="tracks")
    registered = models.ForeignKey(
        Identity,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
        help_text="The unknown person who was first met in this track.",
    )
    similarity = models.FloatField(null=True)
    first_seen = models.DateTimeField()
    last_seen = models.DateTimeField()
    frames = models.PositiveIntegerField(default=0, help_text="Frames in which it has a face.")
    # Ids of the best few detections, best first; `judging` compares them with the gallery, once as long as they stay.
    template = ArrayField(models.BigIntegerField(), default=list, blank=True)
    evidence = models.JSONField(default=dict, blank=True, help_text="What came out of that.")
    candidates = ArrayField(models.UUIDField(), default=list, blank=True, help_text="Identities in the evidence.")
    stranger_due = models.BooleanField(default=False, help_text="A steady stranger who is yet to be registered.")
    pinned = models.BooleanField(default=False, help_text="Somebody said who it is: faces that come do not change it.")

    class Meta:
        indexes = [
            models.Index(fields=["id"], name="track_stranger_due", condition=models.Q(stranger_due=True)),
            models.Index(fields=["camera", "last_seen"], name="track_by_time"),
        ]

    def __str__(self) -> str:
        return f"track {self.pk}"

    @property
    def likens_itself(self) -> bool:
        """Its person is a stranger who was registered by its own faces: the similarity tells nothing."""
        return self.registered_id is not None and self.registered_id == self.identity_id


class Detection(models.Model):
    """One face in one frame. Its identity is its track's."""

    id = models.BigAutoField(primary_key=True)
    frame = models.ForeignKey(Frame, on_delete=models.CASCADE, related_name="detections")
    camera = models.ForeignKey(Camera, on_delete=models.CASCADE, related_name="+", db_index=False)
    track = models.ForeignKey(Track, null=True, on_delete=models.SET_NULL, related_name="detections")
    identity = models.ForeignKey(Identity, null=True, blank=True, on_delete=models.SET_NULL, related_name="detections")
    similarity = models.FloatField(null=True, help_text="Of the track to the identity, when it got it.")
    captured_at = models.DateTimeField()
    box = ArrayField(models.FloatField(), size=4, help_text="x, y, width, height in pixels")
    landmarks = models.JSONField(null=True)
    score = models.FloatField()
    quality = models.JSONField()
    quality_score = models.FloatField()
    acceptable = models.BooleanField(help_text="Good enough for a portrait.")
    grade = models.PositiveSmallIntegerField(default=0, help_text="How far it may decide who it is: `decide.Grade`.")
    dismissed = models.BooleanField(
        default=False, help_text="Its sighting was taken back by hand: it never becomes part of a track again."
    )

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["camera", "captured_at"], name="detection_by_time"),
            models.Index(fields=["camera", "identity", "captured_at"], name="detection_by_identity"),
            models.Index(
                fields=["track", "-grade", "-quality_score"], name="detection_best", condition=models.Q(grade__gt=0)
            ),
        ]

    def __str__(self) -> str:
        return f"detection {self.pk}"


class FaceRejection(BaseModel):
    """Not this person: as `gallery.Rejection`, of a face that was seen. It is forgotten together with the face."""

    identity = models.ForeignKey(Identity, on_delete=models.CASCADE, related_name="face_rejections")
    detection = models.ForeignKey(Detection, on_delete=models.CASCADE, related_name="rejections")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["identity", "detection"], name="one_face_rejection")]

    def __str__(self) -> str:
        return f"detection {self.detection_id} is not {self.identity_id}"


class HistoryMove(models.Model):
    """A track that a change of the journal gave to somebody else: the ledger of the job that does it, and of its undo.

    before, after: identities, as ids: None is nobody.
    """

    id = models.BigAutoField(primary_key=True)
    change = models.ForeignKey(Change, on_delete=models.CASCADE, related_name="moves")
    chunk = models.PositiveIntegerField(help_text="The item of the job that does it.")
    track = models.ForeignKey(Track, on_delete=models.CASCADE, related_name="+")
    before = models.UUIDField(null=True)
    before_similarity = models.FloatField(null=True)
    before_pinned = models.BooleanField(default=False)
    after = models.UUIDField(null=True)
    done = models.BooleanField(default=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["change", "track"], name="one_move_a_track")]
        indexes = [
            models.Index(fields=["change", "chunk"], name="move_by_chunk"),
            models.Index(fields=["before"], name="move_before"),
            models.Index(fields=["after"], name="move_after"),
        ]

    def __str__(self) -> str:
        return f"track {self.track_id} by change {self.change_id}"


class DetectionEmbedding(models.Model):
    """A detected face's vector by one model. Collection, camera and time are repeated here, so that a filtered search
    needs no join. Only exemplars, the best few of a track, are in the HNSW index (`indexes.py`)."""

    id = models.BigAutoField(primary_key=True)
    detection = models.ForeignKey(Detection, on_delete=models.CASCADE, related_name="embeddings")
    model = models.ForeignKey(EmbeddingModel, on_delete=models.PROTECT, related_name="+", db_index=False)
    collection = models.ForeignKey(Collection, on_delete=models.CASCADE, related_name="+")
    camera = models.ForeignKey(Camera, on_delete=models.CASCADE, related_name="+")  # indexed: it may be deleted
    captured_at = models.DateTimeField()
    exemplar = models.BooleanField(default=False)
    vector = VectorField(null=True)  # no fixed size: models differ
    half = HalfVectorField(null=True)  # instead of `vector`, for models of half precision

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["detection", "model"], name="one_detection_vector_a_model"),
            models.CheckConstraint(
                condition=models.Q(vector__isnull=True) ^ models.Q(half__isnull=True), name="one_detection_precision"
            ),
        ]
        indexes = [
            models.Index(
                fields=["collection", "model", "camera", "captured_at"],
                name="detection_exemplars",
                condition=models.Q(exemplar=True),
            )
        ]

    def __str__(self) -> str:
        return f"vector of {self.detection_id} by {self.model_id}"


def sighting_path(sighting: "Sighting", filename: str) -> str:
    return f"sightings/{sighting.camera_id}/{str(sighting.id)[:2]}/{sighting.id}.jpg"


class HeldSightings(models.Manager["Sighting"]):
    """Without those that are parked."""

    def get_queryset(self) -> "models.QuerySet[Sighting]":
        return super().get_queryset().filter(parked_at=None)


class Sighting(BaseModel):
    """A person was there, on one camera, from `first_seen` to `last_seen` (capture times)."""

    everything = models.Manager["Sighting"]()  # first: what erasure, files and the admin's relations go by
    objects = HeldSightings()

    collection = models.ForeignKey(Collection, on_delete=models.CASCADE, related_name="+", db_index=False)
    camera = models.ForeignKey(Camera, on_delete=models.CASCADE, related_name="sightings", db_index=False)
    identity = models.ForeignKey(Identity, on_delete=models.CASCADE, related_name="sightings")
    first_seen = models.DateTimeField()
    last_seen = models.DateTimeField()
    hits = models.PositiveIntegerField(help_text="Frames in which the person was seen.")
    best = models.ForeignKey(Detection, null=True, on_delete=models.SET_NULL, related_name="+")
    best_quality = models.FloatField(default=0.0, help_text="Its grade, and within a grade its quality score.")
    similarity = models.FloatField(null=True, help_text="Of the best detection's track.")
    picture = models.FileField(
        upload_to=sighting_path, blank=True, max_length=200, help_text="The best face, once its frame is gone."
    )
    parked_at = models.DateTimeField(
        null=True,
        editable=False,
        help_text="Set: an edit of people left it without hits. Kept for the edit's undo, and shown nowhere.",
    )

    class Meta:
        ordering = ["-first_seen", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["camera", "identity", "first_seen"],
                name="one_sighting_a_beginning",
                condition=models.Q(parked_at=None),
            )
        ]
        indexes = [
            models.Index(fields=["-first_seen", "-id"], name="sighting_newest"),
            models.Index(fields=["collection", "-first_seen", "-id"], name="sighting_collection"),
            models.Index(fields=["camera", "-first_seen", "-id"], name="sighting_camera"),
            models.Index(fields=["camera", "identity", "last_seen"], name="sighting_touching"),
            models.Index(
                fields=["camera", "parked_at"], name="sighting_parked", condition=models.Q(parked_at__isnull=False)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.identity} from {self.first_seen:%Y-%m-%d %H:%M:%S}"


class Stranger(models.Model):
    """An unknown person who was met by a camera: kept as long as that camera's rule for the unnamed says."""

    identity = models.OneToOneField(Identity, primary_key=True, on_delete=models.CASCADE, related_name="stranger")
    camera = models.ForeignKey(Camera, null=True, on_delete=models.SET_NULL, related_name="+")
    met_at = models.DateTimeField(help_text="Capture time.")

    def __str__(self) -> str:
        return f"{self.identity_id} met by {self.camera_id}"


class Watch(BaseModel):
    """Somebody to look for, on all cameras of the collection or on some."""

    collection = models.ForeignKey(Collection, on_delete=models.CASCADE, related_name="watches")
    name = models.CharField(max_length=100)
    identity = models.ForeignKey(Identity, on_delete=models.CASCADE, related_name="watches")
    all_cameras = models.BooleanField(default=True, help_text="Of the collection; else those that are named.")
    cameras = models.ManyToManyField(Camera, blank=True, related_name="+")
    min_similarity = models.FloatField(default=0.5, validators=[MinValueValidator(0.5), MaxValueValidator(1)])
    enabled = models.BooleanField(default=True)

    class Meta:
        ordering = ["-created_at"]
        verbose_name_plural = "watches"

    def __str__(self) -> str:
        return self.name


class Alert(models.Model):
    """A watched person was seen; one a sighting, made at the first hit. `sighting` is set once that has opened."""

    id = models.BigAutoField(primary_key=True)
    watch = models.ForeignKey(Watch, on_delete=models.CASCADE, related_name="alerts")
    camera = models.ForeignKey(Camera, on_delete=models.CASCADE, related_name="alerts")
    identity = models.ForeignKey(Identity, on_delete=models.CASCADE, related_name="+")
    sighting = models.ForeignKey(Sighting, null=True, blank=True, on_delete=models.SET_NULL, related_name="alerts")
    detection = models.ForeignKey(Detection, null=True, on_delete=models.SET_NULL, related_name="+")
    captured_at = models.DateTimeField(help_text="Capture time of the hit.")
    last_hit_at = models.DateTimeField(help_text="Capture time of the last hit that was taken for the same stay.")
    similarity = models.FloatField()
    created_at = models.DateTimeField(default=timezone.now)
    acknowledged_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["watch", "sighting"], name="one_alert_a_sighting", condition=models.Q(sighting__isnull=False)
            )
        ]
        indexes = [
            models.Index(fields=["-created_at", "-id"], name="alert_newest"),
            # Every page of the admin counts them.
            models.Index(fields=["-created_at", "-id"], name="alert_open", condition=models.Q(acknowledged_at=None)),
            models.Index(
                fields=["camera", "identity", "captured_at"],
                name="alert_without_sighting",
                condition=models.Q(sighting__isnull=True),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.watch} at {self.captured_at:%Y-%m-%d %H:%M:%S}"
