"""The portrait database: who is who, their pictures, and the vectors that find them."""

from django.contrib.postgres.fields import ArrayField
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models.functions import Now
from pgvector.django import VectorField

from portrait.core.models import BaseModel

DEFAULT_COLLECTION = "default"


class EmbeddingModel(models.Model):
    """A network (and version) that makes vectors. Vectors of different models never compare.

    `calibration`: {"threshold": distance at which two faces are as likely the same person as not,
    "slope": steepness of the logistic curve from distance to similarity}.
    """

    class State(models.TextChoices):
        BUILDING = "building"
        ACTIVE = "active"
        RETIRED = "retired"

    name = models.CharField(max_length=60)
    version = models.CharField(max_length=20)
    dims = models.PositiveIntegerField()
    metric = models.CharField(max_length=10, choices=[("l2", "Euclidean distance")], default="l2")
    calibration = models.JSONField()
    state = models.CharField(max_length=10, choices=State.choices, default=State.BUILDING)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["name", "version"], name="one_model_a_version")]

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


class Collection(BaseModel):
    """A tenant: identities in different collections never meet."""

    name = models.SlugField(max_length=60, unique=True)
    description = models.TextField(blank=True)
    threshold = models.FloatField(
        null=True,
        blank=True,
        validators=[MinValueValidator(0.01), MaxValueValidator(2)],
        help_text="Distance that counts as similarity 0.5; empty: the embedding model's own.",
    )
    active_model = models.ForeignKey(EmbeddingModel, on_delete=models.PROTECT, related_name="+")
    unknown_counter = models.PositiveIntegerField(default=0, editable=False)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Identity(BaseModel):
    """A person, known by name or not yet."""

    class Kind(models.TextChoices):
        KNOWN = "known"
        UNKNOWN = "unknown"

    collection = models.ForeignKey(Collection, on_delete=models.CASCADE, related_name="identities")
    external_id = models.CharField(max_length=200, null=True, blank=True, help_text="The caller's own id.")
    name = models.CharField(max_length=200)
    metadata = models.JSONField(default=dict, blank=True)
    action = models.CharField(max_length=200, blank=True, help_text="What a client does when this person is seen.")
    kind = models.CharField(max_length=10, choices=Kind.choices, default=Kind.KNOWN)
    hidden = models.BooleanField(default=False, help_text="Recognised, but left out of lists.")
    merged_into = models.ForeignKey("self", null=True, blank=True, on_delete=models.SET_NULL, related_name="merged")

    class Meta:
        verbose_name_plural = "identities"
        ordering = ["-created_at"]
        constraints = [
            models.UniqueConstraint(fields=["collection", "external_id"], name="one_identity_an_external_id")
        ]
        indexes = [models.Index(fields=["collection", "name"]), models.Index(fields=["-created_at", "-id"])]

    def __str__(self) -> str:
        return self.name


def _media_path(folder: str, portrait: "Portrait", suffix: str) -> str:
    return f"{folder}/{portrait.identity.collection_id}/{str(portrait.id)[:2]}/{portrait.id}{suffix}"


def image_path(portrait: "Portrait", filename: str) -> str:
    return _media_path("portraits", portrait, ".jpg")


def thumbnail_path(portrait: "Portrait", filename: str) -> str:
    return _media_path("thumbnails", portrait, ".jpg")


class Portrait(BaseModel):
    """One enrolled face in one picture. The picture is kept upright, as JPEG, without its metadata."""

    identity = models.ForeignKey(Identity, on_delete=models.CASCADE, related_name="portraits")
    image = models.FileField(upload_to=image_path, max_length=200)
    thumbnail = models.FileField(upload_to=thumbnail_path, max_length=200)
    width = models.PositiveIntegerField(editable=False)
    height = models.PositiveIntegerField(editable=False)
    box = ArrayField(models.FloatField(), size=4, help_text="x, y, width, height in pixels")
    landmarks = models.JSONField(null=True)
    detector = models.CharField(max_length=60)
    score = models.FloatField()
    quality = models.JSONField()
    sha256 = models.CharField(max_length=64, help_text="Of the bytes as they were sent.")

    class Meta:
        ordering = ["-created_at"]
        constraints = [models.UniqueConstraint(fields=["identity", "sha256"], name="one_portrait_an_image")]

    def __str__(self) -> str:
        return f"portrait {self.id}"


class PortraitEmbedding(models.Model):
    """A portrait's vector by one model. Collection and identity are repeated here, so that a filtered
    nearest-neighbour search needs no join; the HNSW index of each model is partial (`indexes.py`)."""

    portrait = models.ForeignKey(Portrait, on_delete=models.CASCADE, related_name="embeddings")
    model = models.ForeignKey(EmbeddingModel, on_delete=models.PROTECT, related_name="+", db_index=False)
    collection = models.ForeignKey(Collection, on_delete=models.CASCADE, related_name="+", db_index=False)
    identity = models.ForeignKey(Identity, on_delete=models.CASCADE, related_name="embeddings")
    vector = VectorField()  # no fixed size: models differ

    class Meta:
        constraints = [models.UniqueConstraint(fields=["portrait", "model"], name="one_vector_a_model")]
        indexes = [models.Index(fields=["collection", "model"], name="embedding_by_collection")]

    def __str__(self) -> str:
        return f"vector of {self.portrait_id} by {self.model_id}"
