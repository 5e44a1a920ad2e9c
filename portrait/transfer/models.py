"""Imports: zips that wait, what is in them, and what became of every file. They hold names and faces: the zips go when
the import ends, the rows some weeks later, and both follow whoever is erased (`services.erasure`)."""

from django.contrib.postgres.fields import ArrayField
from django.db import models

from portrait.core.models import BaseModel
from portrait.gallery.models import Collection, Identity
from portrait.jobs.models import Job


class Import(BaseModel):
    """One import: one zip, or several parts of a folder that follow each other. Its work is the items of `job`."""

    collection = models.ForeignKey(Collection, on_delete=models.CASCADE, related_name="imports")
    job = models.OneToOneField(Job, null=True, on_delete=models.SET_NULL, related_name="+")
    root = models.CharField(max_length=1000, blank=True, help_text="The folder in the zip that holds the people's.")
    face = models.CharField(max_length=10, blank=True, help_text="`largest`, or empty: one face a photo.")
    force = models.BooleanField(default=False, help_text="Poor faces too.")
    sealed = models.BooleanField(default=False, help_text="No further part comes.")
    finished_at = models.DateTimeField(null=True, blank=True)
    results = models.JSONField(null=True, help_text="Once it is over: how many files have which status.")
    # HMACs of what names those who were erased while it waited: nobody may come back out of a zip. See `erasure`.
    erased = ArrayField(models.CharField(max_length=64), default=list)

    class Meta:
        ordering = ["-created_at"]
        indexes = [
            models.Index(fields=["collection", "-created_at"], name="import_newest"),
            models.Index(fields=["created_at"], name="import_unfinished", condition=models.Q(finished_at=None)),
        ]

    def __str__(self) -> str:
        return f"import {self.id}"


class ImportPart(models.Model):
    """A zip of an import. `item`: the job's item that reads its list of contents."""

    run = models.ForeignKey(Import, on_delete=models.CASCADE, related_name="parts")
    item = models.PositiveIntegerField()
    file = models.FileField(upload_to="imports/%Y/%m/%d", blank=True, max_length=200)
    entries = models.PositiveIntegerField(default=0)
    planned_at = models.DateTimeField(null=True)
    done_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["run", "item"], name="one_part_an_item")]
        indexes = [models.Index(fields=["file"], name="importpart_file", condition=~models.Q(file=""))]

    def __str__(self) -> str:
        return f"part {self.pk} of {self.run_id}"


class ImportChunk(models.Model):
    """Some files that are enrolled together, by one item of the job; `item` None: not in the queue yet."""

    part = models.ForeignKey(ImportPart, on_delete=models.CASCADE, related_name="chunks")
    run = models.ForeignKey(Import, on_delete=models.CASCADE, related_name="chunks")
    number = models.PositiveIntegerField()
    item = models.PositiveIntegerField(null=True)

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(fields=["part", "number"], name="one_chunk_a_number"),
            models.UniqueConstraint(fields=["run", "item"], name="one_chunk_an_item"),
        ]
        indexes = [models.Index(fields=["run", "id"], name="importchunk_unfed", condition=models.Q(item=None))]

    def __str__(self) -> str:
        return f"chunk {self.number} of part {self.part_id}"


class ImportPerson(models.Model):
    """A folder of an import, or a line of its `people.csv`. `problem_code`: why nobody can be enrolled by it."""

    run = models.ForeignKey(Import, on_delete=models.CASCADE, related_name="people")
    folder = models.CharField(max_length=200)
    alias = models.CharField(max_length=200, blank=True)
    name = models.CharField(max_length=200)
    external_id = models.CharField(max_length=200, null=True)
    key = models.CharField(max_length=36, blank=True, help_text="The column `id`: tells people of one name apart.")
    values = models.JSONField(default=dict)
    listed = models.BooleanField(default=False, help_text="It stands in people.csv.")
    identity = models.ForeignKey(Identity, null=True, on_delete=models.SET_NULL, related_name="+")
    erased = models.BooleanField(default=False)
    problem_code = models.CharField(max_length=40, blank=True)
    problem_message = models.TextField(blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["run", "folder"], name="one_person_a_folder")]
        indexes = [
            models.Index(fields=["run", "alias"], name="importperson_alias", condition=~models.Q(alias="")),
            models.Index(fields=["run", "name"], name="importperson_name"),
        ]

    def __str__(self) -> str:
        return f"person {self.pk} of {self.run_id}"


class FileStatus(models.TextChoices):
    """What became of a file. `failed`: through no fault of its own; `POST /jobs/{id}/retry` tries it again."""

    WAITING = "waiting"
    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    REJECTED = "rejected"
    SKIPPED = "skipped"
    FAILED = "failed"


UNDONE = (FileStatus.WAITING, FileStatus.FAILED)


class ImportFile(models.Model):
    """One file of an import: where it lies in its zip, and what became of it. identity, portrait: ids only."""

    run = models.ForeignKey(Import, on_delete=models.CASCADE, related_name="files")
    part = models.ForeignKey(ImportPart, on_delete=models.CASCADE, related_name="files")
    index = models.PositiveIntegerField(help_text="In its zip's list of contents.")
    chunk = models.ForeignKey(ImportChunk, null=True, on_delete=models.CASCADE, related_name="files")
    person = models.ForeignKey(ImportPerson, null=True, on_delete=models.SET_NULL, related_name="files")
    path = models.CharField(max_length=1100)
    place = models.JSONField(default=dict, help_text="See `zips.Place`.")
    claim = models.JSONField(null=True, help_text="What portraits.csv says of it.")
    status = models.CharField(max_length=10, choices=FileStatus.choices, default=FileStatus.WAITING)
    code = models.CharField(max_length=40, blank=True)
    message = models.TextField(blank=True)
    suspicions = models.PositiveSmallIntegerField(default=0, help_text="How many workers vanished while they had it.")
    identity_id = models.UUIDField(null=True)
    portrait_id = models.UUIDField(null=True)
    sha256 = models.CharField(max_length=64, blank=True)

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["part", "index"], name="one_row_a_file")]
        indexes = [
            models.Index(fields=["run", "id"], name="importfile_by_run"),
            models.Index(fields=["run", "status", "id"], name="importfile_by_status"),
            models.Index(fields=["part", "path"], name="importfile_path"),
            models.Index(
                fields=["part"], name="importfile_undone", condition=models.Q(status__in=["waiting", "failed"])
            ),
            models.Index(
                fields=["identity_id"], name="importfile_identity", condition=models.Q(identity_id__isnull=False)
            ),
        ]

    def __str__(self) -> str:
        return f"file {self.pk} of {self.run_id}"


class ImportedName(models.Model):
    """Whom the folder of a name, or the `id` of a `people.csv`, became: run again, an import finds the same person,
    whatever that person is called by now."""

    collection = models.ForeignKey(Collection, on_delete=models.CASCADE, related_name="+")
    key = models.CharField(max_length=210, help_text="`id:<uuid>` or `name:<name>`")
    identity = models.ForeignKey(Identity, on_delete=models.CASCADE, related_name="+")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["collection", "key"], name="one_person_an_imported_name")]

    def __str__(self) -> str:
        return f"imported name {self.pk}"
