"""What portraits and frames show, as networks or rules told it. No name of a person is ever stored here: who is in a
picture is looked up when a caption is read."""

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchVector, SearchVectorField
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils import timezone

from portrait.cameras.models import Camera, Frame
from portrait.gallery.models import Collection, Identity, Portrait
from portrait.jobs.models import JobItem

LABEL_CHARS = 100
MODEL_CHARS = 60


class Method(models.TextChoices):
    """How a sentence came about."""

    NETWORK = "network"
    RULES = "rules"


class Shown(models.Model):
    """What was told of one picture: of a portrait, or of a camera's frame, by one model; the newest only.

    Collection, camera and time are repeated here, so that a filtered search needs no join.
    """

    id = models.BigAutoField(primary_key=True)
    portrait = models.ForeignKey(Portrait, null=True, blank=True, on_delete=models.CASCADE, related_name="%(class)ss")
    frame = models.ForeignKey(Frame, null=True, blank=True, on_delete=models.CASCADE, related_name="%(class)ss")
    collection = models.ForeignKey(Collection, on_delete=models.CASCADE, related_name="+", db_index=False)
    camera = models.ForeignKey(Camera, null=True, blank=True, on_delete=models.CASCADE, related_name="+")
    shown_at = models.DateTimeField(help_text="Capture time of the frame, or when the portrait was enrolled.")
    model = models.CharField(max_length=MODEL_CHARS)
    domain = models.CharField(
        max_length=200, blank=True, help_text="What the model knows, where that is not what photos show."
    )
    settings = models.JSONField(default=dict, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        abstract = True

    def __str__(self) -> str:
        what = f"portrait {self.portrait_id}" if self.portrait_id else f"frame {self.frame_id}"
        return f"{what} by {self.model}"


ONE_SUBJECT = models.Q(portrait=None) ^ models.Q(frame=None)


class Caption(Shown):
    """A sentence about a picture. `text` names nobody."""

    text = models.TextField()
    method = models.CharField(max_length=10, choices=Method.choices, default=Method.NETWORK)
    score = models.FloatField(null=True, help_text="Mean log-likelihood of its tokens; rules have none.")
    faces = models.PositiveIntegerField(null=True, help_text="Faces that were found; empty: nobody looked.")
    words = models.GeneratedField(
        expression=SearchVector("text", config="english"), output_field=SearchVectorField(), db_persist=True
    )

    class Meta:
        ordering = ["-shown_at", "-id"]
        constraints = [
            models.CheckConstraint(condition=ONE_SUBJECT, name="caption_of_one_picture"),
            models.UniqueConstraint(fields=["portrait", "model"], name="one_caption_a_portrait"),
            models.UniqueConstraint(fields=["frame", "model"], name="one_caption_a_frame"),
        ]
        indexes = [
            GinIndex(fields=["words"], name="caption_words"),
            models.Index(fields=["-shown_at", "-id"], name="caption_newest"),
            models.Index(fields=["collection", "-shown_at", "-id"], name="caption_collection"),
            models.Index(fields=["camera", "-shown_at", "-id"], name="caption_camera"),
        ]


class Segmentation(Shown):
    """One look at a picture for objects; it may have found none."""

    class Meta:
        ordering = ["-shown_at", "-id"]
        constraints = [
            models.CheckConstraint(condition=ONE_SUBJECT, name="segmentation_of_one_picture"),
            models.UniqueConstraint(fields=["portrait", "model"], name="one_segmentation_a_portrait"),
            models.UniqueConstraint(fields=["frame", "model"], name="one_segmentation_a_frame"),
        ]
        indexes = [models.Index(fields=["collection"], name="segmentation_collection")]


class SceneObject(models.Model):
    """An object of a picture. `mask`: COCO's run-length encoding, {"size": [height, width], "counts"}."""

    id = models.BigAutoField(primary_key=True)
    segmentation = models.ForeignKey(Segmentation, on_delete=models.CASCADE, related_name="found")
    collection = models.ForeignKey(Collection, on_delete=models.CASCADE, related_name="+", db_index=False)
    camera = models.ForeignKey(Camera, null=True, blank=True, on_delete=models.CASCADE, related_name="+")
    shown_at = models.DateTimeField()
    label = models.CharField(max_length=LABEL_CHARS)
    score = models.FloatField()
    box = ArrayField(models.FloatField(), size=4, help_text="x, y, width, height in pixels")
    mask = models.JSONField()

    class Meta:
        ordering = ["-shown_at", "-id"]
        indexes = [
            models.Index(fields=["-shown_at", "-id"], name="object_newest"),
            models.Index(fields=["label", "-shown_at", "-id"], name="object_label"),
            models.Index(fields=["collection", "label", "-shown_at", "-id"], name="object_collection"),
            models.Index(fields=["camera", "label", "-shown_at", "-id"], name="object_camera"),
        ]

    def __str__(self) -> str:
        return f"{self.label} {self.score:.2f}"


class PersonInResult(models.Model):
    """Whom the result of a job's item shows: who is erased is found in it without a look at all results."""

    id = models.BigAutoField(primary_key=True)
    identity = models.ForeignKey(Identity, on_delete=models.CASCADE, related_name="+")
    item = models.ForeignKey(JobItem, on_delete=models.CASCADE, related_name="+")

    def __str__(self) -> str:
        return f"{self.identity_id} in {self.item_id}"


class CameraScenes(models.Model):
    """Whether and how often a camera's frames are described."""

    camera = models.OneToOneField(Camera, primary_key=True, on_delete=models.CASCADE, related_name="scenes")
    caption_model = models.CharField(
        max_length=MODEL_CHARS, blank=True, help_text="A model, `default`, `describe` (rules); empty: no captions."
    )
    segment_model = models.CharField(
        max_length=MODEL_CHARS, blank=True, help_text="A model or `default`; empty: no objects."
    )
    every_s = models.FloatField(
        default=10.0,
        validators=[MinValueValidator(0.1), MaxValueValidator(86400)],
        help_text="At most one frame in so many seconds of capture time is described.",
    )
    skipped = models.BigIntegerField(
        default=0, editable=False, help_text="Frames that were due and left out, as too much work waited."
    )

    class Meta:
        verbose_name_plural = "camera scenes"

    def __str__(self) -> str:
        camera = self._state.fields_cache.get("camera")  # where it was read along; never a query
        return str(camera or self.camera_id)
