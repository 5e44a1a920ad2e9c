"""Every table that we keep, and what it has of a person: what erasure, export and retention must reach.

A test compares this list with the models of all apps: whoever adds a table, or a column that can hold something of a
person, has to say here what becomes of it.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.apps import apps
from django.core.files.storage import Storage
from django.db.models import FileField, Model, Q, QuerySet

People = Collection[UUID]
"""A person's id, and the ids of those who were merged into them."""


@dataclass(frozen=True, slots=True)
class Kept:
    """rows: which rows are about people; None: the table has nothing of anybody. erased: what takes them away.
    exported: where a subject's export has them, or why it has not. stays: the rows stay, without what was personal.
    files: whether the files that the rows name are about these people."""

    rows: Callable[[People], Q] | None
    erased: str = ""
    exported: str = ""
    stays: bool = False
    files: bool = True


def nobody(why: str) -> Kept:
    """A table without anything of a person."""
    return Kept(None, why, why)


def of(*lookups: str, erased: str, exported: str, stays: bool = False) -> Kept:
    """Rows in which one of these columns is, or has, one of the people."""

    def rows(people: People) -> Q:
        found = Q()
        for lookup in lookups:
            found |= Q(**{lookup: list(people)})
        return found

    return Kept(rows, erased, exported, stays)


def _named_in(column: str) -> Callable[[People], Q]:
    """Rows of a table whose JSON has somebody's id, anywhere."""

    def rows(people: People) -> Q:
        found = Q(pk__in=[])
        for each in people:
            found |= Q(**{f"{column}__icontains": str(each)})
        return found

    return rows


def _jobs(people: People) -> Q:
    """Work that is about them, and edits of many people that name them."""
    named = Q(pk__in=[])
    for each in people:
        named |= Q(parameters__ids__contains=[str(each)])
    return Q(subject_id__in=list(people)) | (Q(kind="edit-people") & named)


CASCADE = "with the identity"
SEEN = "sightings.services.erasure"
HERE = "privacy.services.erasing"

TABLES: Mapping[str, Kept] = {
    # Not our own tables.
    "admin.LogEntry": of("object_id__in", erased="privacy.files", exported="of others too: who works here, not told"),
    "auth.Permission": nobody("settings"),
    "auth.Group": nobody("settings"),
    "auth.User": nobody("those who work here"),
    "contenttypes.ContentType": nobody("names of tables"),
    "sessions.Session": nobody("who is signed in"),
    "django_celery_beat.CrontabSchedule": nobody("settings"),
    "django_celery_beat.IntervalSchedule": nobody("settings"),
    "django_celery_beat.PeriodicTask": nobody("settings"),
    "django_celery_beat.SolarSchedule": nobody("settings"),
    "core.ApiKey": nobody("keys of callers"),
    "core.PendingDeletion": nobody("paths of files that go; each row goes with its file"),
    "audit.AuditEntry": nobody("pseudonyms, which mean nobody once the row of AuditSubject is gone"),
    "audit.AuditLink": nobody("hashes"),
    "audit.AuditCheckpoint": nobody("hashes"),
    "audit.AuditSubject": of("identity_id__in", erased=HERE, exported="audit"),
    "jobs.Job": Kept(_jobs, "gallery.files; out of edits of many by console.following, which stay", "jobs"),
    "jobs.JobItem": of("job__subject_id__in", erased="gallery.files", exported="jobs"),
    "gallery.EmbeddingModel": nobody("a projection is learnt from many people and holds none of them"),
    "gallery.VectorReduction": nobody("a mean and directions, learnt from many people"),
    "gallery.Collection": nobody("settings"),
    "gallery.Identity": of("pk__in", erased="gallery.services.identities", exported="identities"),
    "gallery.Portrait": of("identity_id__in", erased=CASCADE, exported="portraits"),
    "gallery.PortraitEmbedding": of("identity_id__in", erased=CASCADE, exported="portraits"),
    "gallery.Change": of(
        "identities__overlap", erased="gallery.services.journal.forget", exported="journal", stays=True
    ),
    "gallery.Rejection": of("identity_id__in", "portrait__identity_id__in", erased=CASCADE, exported="constraints"),
    "gallery.Distinct": of("first_id__in", "second_id__in", erased=CASCADE, exported="constraints"),
    "cameras.Camera": nobody("settings"),
    "cameras.CaptureStatus": nobody("state of a camera"),
    # Their rows stay as the ledger's; the pictures go.
    "cameras.Frame": of(
        "detections__identity_id__in",
        "detections__track__identity_id__in",
        erased=SEEN,
        exported="sightings",
        stays=True,
    ),
    "sightings.Timeline": nobody("state of a camera"),
    "sightings.Track": of("identity_id__in", "registered_id__in", erased=SEEN, exported="tracks"),
    "sightings.Detection": of("identity_id__in", "track__identity_id__in", erased=SEEN, exported="faces"),
    "sightings.DetectionEmbedding": of(
        "detection__identity_id__in", "detection__track__identity_id__in", erased=SEEN, exported="faces"
    ),
    "sightings.FaceRejection": of("identity_id__in", erased=CASCADE, exported="constraints"),
    "sightings.HistoryMove": of("before__in", "after__in", erased=HERE, exported="journal: which edit it belongs to"),
    "sightings.Sighting": of("identity_id__in", erased=SEEN, exported="sightings"),
    "sightings.Stranger": of("identity_id__in", erased=CASCADE, exported="identities: first met"),
    "sightings.Watch": of("identity_id__in", erased=CASCADE, exported="watches"),
    "sightings.Alert": of("identity_id__in", erased=CASCADE, exported="alerts"),
    "scenes.Caption": of(
        "portrait__identity_id__in", "frame__detections__identity_id__in", erased=SEEN, exported="captions"
    ),
    "scenes.Segmentation": of(
        "portrait__identity_id__in", "frame__detections__identity_id__in", erased=SEEN, exported="objects"
    ),
    "scenes.SceneObject": of(
        "segmentation__portrait__identity_id__in",
        "segmentation__frame__detections__identity_id__in",
        erased=SEEN,
        exported="objects",
    ),
    "scenes.PersonInResult": of("identity_id__in", erased="scenes.services.forgetting", exported="jobs"),
    "scenes.CameraScenes": nobody("settings"),
    "curation.Suggestion": of("identities__overlap", erased="curation", exported="suggestions"),
    "curation.Likeness": of("first_id__in", "second_id__in", erased=CASCADE, exported="of others too: not told"),
    "curation.Scan": nobody("state of a collection"),
    "transfer.Import": nobody("keyed hashes, so that an erased person does not come back out of a zip"),
    "transfer.ImportPart": nobody("a zip of many people; it goes when its import ends"),
    "transfer.ImportChunk": nobody("numbers"),
    "transfer.ImportPerson": of("identity_id__in", erased="transfer.services.erasure", exported="imports", stays=True),
    "transfer.ImportFile": of(
        "identity_id__in", "person__identity_id__in", erased="transfer.services.erasure", exported="imports", stays=True
    ),
    "transfer.ImportedName": of("identity_id__in", erased=CASCADE, exported="imports"),
    "reindex.Reindex": nobody("numbers"),
    "reindex.Chunk": nobody("bounds of stretches of a table: ids that mean nobody once their row is gone"),
    # Numbers, a drawing of how distances are spread, and ids of pairs that look like one person.
    "calibration.CalibrationRun": Kept(
        _named_in("report"), "calibration.following", "of others too: not told", stays=True, files=False
    ),
    "privacy.SubjectExport": of("identity_id__in", erased=CASCADE, exported="exports"),
    "privacy.ErasureProof": nobody("a salted hash of an id, and numbers; ids and paths while an erasure is under way"),
    "privacy.RetentionRule": nobody("settings"),
    "privacy.RetentionReport": nobody("numbers"),
    # Numbers, paths that lead nowhere, and ids of the first few rows that are amiss.
    "upkeep.UpkeepRun": Kept(
        _named_in("report"), "upkeep.following", "of others too: not told", stays=True, files=False
    ),
}


def rows_of(label: str, people: People) -> "QuerySet[Model]":
    """What a table has of people."""
    kept = TABLES[label]
    manager: Any = apps.get_model(label)._default_manager
    found: QuerySet[Model] = manager.filter(kept.rows(people)).order_by().distinct() if kept.rows else manager.none()
    return found


def personal() -> Iterator[tuple[str, type[Model], Kept]]:
    """The tables that have something of a person."""
    for label, kept in TABLES.items():
        if kept.rows is not None:
            yield label, apps.get_model(label), kept


def counts(people: People) -> dict[str, int]:
    """How many rows each table has of people; tables without any are left out."""
    found = {label: rows_of(label, people).values("pk").count() for label, _, _ in personal()}
    return {label: number for label, number in found.items() if number}


def files(people: People) -> Iterator[tuple[Storage, str]]:
    """Every file that a row of theirs names: storage and path."""
    for label, model, kept in personal():
        for field in model._meta.fields:
            if isinstance(field, FileField) and kept.files:
                named = rows_of(label, people).exclude(**{field.name: ""}).values_list(field.name, flat=True)
                yield from ((field.storage, str(name)) for name in named.iterator(1000) if name)
