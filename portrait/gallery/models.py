"""The portrait database: who is who, their pictures, and the vectors that find them."""

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex, OpClass
from django.contrib.postgres.search import SearchVector
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models.functions import Now, Upper
from django.utils import timezone
from pgvector.django import HalfVectorField, VectorField

from portrait.core.models import BaseModel

DEFAULT_COLLECTION = "default"
WEAK_BELOW = 0.5
"""Portraits of a lower quality score are shown as weak: a better one is welcome."""


class EmbeddingModel(models.Model):
    """A network (and version) that makes vectors. Vectors of different models never compare.

    `calibration`: {"threshold": distance at which two faces are as likely the same person as not,
    "slope": steepness of the logistic curve from distance to similarity}.
    """

    class State(models.TextChoices):
        BUILDING = "building"
        ACTIVE = "active"
        RETIRED = "retired"

    class Precision(models.TextChoices):
        SINGLE = "single", "4 bytes a number"
        HALF = "half", "2 bytes a number"

    name = models.CharField(max_length=60)
    version = models.CharField(max_length=20)
    dims = models.PositiveIntegerField()
    metric = models.CharField(max_length=10, choices=[("l2", "Euclidean distance")], default="l2")
    calibration = models.JSONField()
    state = models.CharField(max_length=10, choices=State.choices, default=State.BUILDING)
    precision = models.CharField(max_length=10, choices=Precision.choices, default=Precision.SINGLE)
    source = models.ForeignKey(
        "self",
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="derived",
        help_text="The network whose vectors this model projects; none: it is a network itself.",
    )
    projection = models.BinaryField(null=True, editable=False, help_text="Of a model with a source: see `vectors.py`.")
    reduced_at = models.DateTimeField(
        null=True,
        editable=False,
        help_text="Since when the index is of reduced vectors; empty: of whole ones.",
    )
    report = models.JSONField(
        default=dict, blank=True, editable=False, help_text="What was measured when it was learnt."
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["name", "version"], name="one_model_a_version")]

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


class VectorReduction(models.Model):
    """By what the vectors of a model with very many portraits are reduced for its index: `reduction.py`. In a table of
    its own, as it is read once a process, and models are read all the time."""

    model = models.OneToOneField(EmbeddingModel, on_delete=models.CASCADE, related_name="reduction")
    projection = models.BinaryField(editable=False)

    def __str__(self) -> str:
        return f"reduction of {self.model}"


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
    kept_models = models.ManyToManyField(
        EmbeddingModel,
        blank=True,
        editable=False,
        related_name="kept_by",
        help_text="Further models whose vectors every face gets: one that is being built, one to roll back to.",
    )
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
    deleted_at = models.DateTimeField(null=True, blank=True, help_text="Set: erased when the time of grace is over.")
    consent = models.TextField(blank=True, help_text="On what ground this person is kept: a note for people.")
    keep_until = models.DateField(null=True, blank=True, help_text="Erased after this day; empty: no such day.")

    class Meta:
        verbose_name_plural = "identities"
        ordering = ["-created_at"]
        constraints = [
            models.UniqueConstraint(fields=["collection", "external_id"], name="one_identity_an_external_id")
        ]
        indexes = [
            models.Index(fields=["collection", "name"]),
            models.Index(fields=["-created_at", "-id"]),
            models.Index(fields=["deleted_at"], name="identity_deleted", condition=models.Q(deleted_at__isnull=False)),
            models.Index(fields=["keep_until"], name="identity_expires", condition=models.Q(keep_until__isnull=False)),
            # The list of people: each order and filter of it, and the search by name (words of it, by their beginnings)
            # and by the caller's id (by its beginning).
            models.Index(fields=["name", "id"], name="identity_by_name"),
            models.Index(fields=["collection", "-created_at", "-id"], name="identity_newest_in"),
            models.Index(fields=["-created_at", "-id"], name="identity_hidden", condition=models.Q(hidden=True)),
            models.Index(fields=["-created_at", "-id"], name="identity_groundless", condition=models.Q(consent="")),
            GinIndex(SearchVector("name", config="simple"), name="identity_words"),
            models.Index(OpClass(Upper("external_id"), name="text_pattern_ops"), name="identity_external"),
        ]

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
    deleted_at = models.DateTimeField(null=True, blank=True, help_text="Set: removed when the time of grace is over.")

    class Meta:
        ordering = ["-created_at"]
        constraints = [models.UniqueConstraint(fields=["identity", "sha256"], name="one_portrait_an_image")]
        indexes = [
            models.Index(fields=["identity", "-created_at", "-id"], name="portrait_newest"),
            models.Index(fields=["identity"], name="portrait_weak", condition=models.Q(quality__score__lt=WEAK_BELOW)),
        ]

    def __str__(self) -> str:
        return f"portrait {self.id}"


class PortraitEmbedding(models.Model):
    """A portrait's vector by one model. Collection and identity are repeated here, so that a filtered
    nearest-neighbour search needs no join; the HNSW index of each model is partial (`indexes.py`)."""

    portrait = models.ForeignKey(Portrait, on_delete=models.CASCADE, related_name="embeddings")
    model = models.ForeignKey(EmbeddingModel, on_delete=models.PROTECT, related_name="+", db_index=False)
    collection = models.ForeignKey(Collection, on_delete=models.CASCADE, related_name="+", db_index=False)
    identity = models.ForeignKey(Identity, on_delete=models.CASCADE, related_name="embeddings")
    vector = VectorField(null=True)  # no fixed size: models differ
    half = HalfVectorField(null=True)  # instead of `vector`, for models of half precision
    live = models.BooleanField(default=True, help_text="Neither the portrait nor its person is deleted.")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["portrait", "model"], name="one_vector_a_model"),
            models.CheckConstraint(
                condition=models.Q(vector__isnull=True) ^ models.Q(half__isnull=True), name="one_precision"
            ),
        ]
        indexes = [models.Index(fields=["collection", "model"], name="embedding_by_collection")]

    def __str__(self) -> str:
        return f"vector of {self.portrait_id} by {self.model_id}"


class Change(models.Model):
    """The journal: one row an edit of identities, by whom and when, with what it takes to undo it.

    `steps`: see `services.journal`. They hold names: whoever is erased is taken out of them.
    """

    id = models.BigAutoField(primary_key=True)
    collection = models.ForeignKey(Collection, on_delete=models.CASCADE, related_name="changes")
    action = models.CharField(max_length=20, help_text="rename, edit, hide, merge, split, move, reject, delete ...")
    actor = models.CharField(max_length=200, help_text="The key or user.")
    at = models.DateTimeField(default=timezone.now)
    identities = ArrayField(models.UUIDField(), default=list, help_text="Whom it is about.")
    steps = models.JSONField(default=list)
    details = models.JSONField(default=dict, blank=True, help_text="What a reader wants to know beyond the steps.")
    undoes = models.OneToOneField("self", null=True, blank=True, on_delete=models.CASCADE, related_name="undone_by")
    job_id = models.UUIDField(null=True, blank=True, help_text="The job that brings the history after it.")

    class Meta:
        ordering = ["-id"]
        indexes = [
            GinIndex(fields=["identities"], name="change_by_identity"),
            models.Index(fields=["collection", "-id"], name="change_newest"),
        ]

    def __str__(self) -> str:
        return f"{self.action} {self.pk}"


class Rejection(BaseModel):
    """Not this person: the face of `portrait` is not `identity`'s, whatever the distance says. Faces nearer to
    it than to the identity's own portraits are not named so either (`selectors`). Of seen faces: `FaceRejection`.
    """

    identity = models.ForeignKey(Identity, on_delete=models.CASCADE, related_name="rejections")
    portrait = models.ForeignKey(Portrait, on_delete=models.CASCADE, related_name="rejections")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["identity", "portrait"], name="one_rejection")]

    def __str__(self) -> str:
        return f"{self.portrait_id} is not {self.identity_id}"


class Distinct(BaseModel):
    """Two identities that somebody said are two people: never suggested as one again. `first` has the lower id."""

    first = models.ForeignKey(Identity, on_delete=models.CASCADE, related_name="+")
    second = models.ForeignKey(Identity, on_delete=models.CASCADE, related_name="+")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["first", "second"], name="one_distinction"),
            models.CheckConstraint(condition=models.Q(first__lt=models.F("second")), name="distinct_in_order"),
        ]

    def __str__(self) -> str:
        return f"{self.first_id} is not {self.second_id}"
