"""The gallery's work on the queue `ingest`: enrolment, one picture an item."""

import uuid
from collections.abc import Sequence
from typing import Any

from celery import shared_task
from django.db import transaction

from portrait.audit.services import asked_by
from portrait.core.errors import NotFoundError
from portrait.gallery.face_choice import parse_choice
from portrait.gallery.models import Identity
from portrait.gallery.reports import log_resemblances, report_json
from portrait.gallery.services import identities
from portrait.gallery.services.enrolment import store_photo
from portrait.gallery.services.people import survivor
from portrait.gallery.services.photos import PreparedPhoto, prepare_photos
from portrait.gallery.services.spaces import networks_of
from portrait.jobs.models import Job, JobItem
from portrait.jobs.services import create_job
from portrait.jobs.tasks import enqueue_job

ENROL = "enrol"

WARNINGS = {
    "possible_duplicate": "The face looks like this identity: perhaps the same person.",
    "unlike_other_portraits": "The face does not look like the other portraits of its identity.",
}


def start_enrolment(
    *, identity: Identity, photos: Sequence[bytes], face: str, force: bool, api_key_id: uuid.UUID | None = None
) -> Job:
    """Accept pictures for enrolment through the queue: stored first, then enqueued."""
    job = create_job(
        kind=ENROL,
        queue="ingest",
        uploads=photos,
        collection_id=identity.collection_id,
        subject_id=identity.id,
        parameters={"face": face, "force": force},
        api_key_id=api_key_id,
    )
    transaction.on_commit(lambda: enqueue_job(job))
    return job


class EnrolHandler:
    """Job kind `enrol`: the subject is the identity; parameters face, force; an upload an item."""

    def prepare(self, item: JobItem) -> PreparedPhoto:
        with item.upload.open("rb") as file:
            data = file.read()
        parameters = item.job.parameters
        prepared = prepare_photos(
            [data],
            choice=parse_choice(parameters["face"]),
            force=parameters["force"],
            networks=networks_of([item.job.collection_id] if item.job.collection_id else []),
        )[0]
        if not isinstance(prepared, PreparedPhoto):
            raise prepared
        return prepared

    def store(self, item: JobItem, prepared: PreparedPhoto) -> dict[str, Any]:
        identity = _owner(item.job)
        try:
            report = store_photo(identity=identity, photo=prepared, index=item.index)
        except NotFoundError:
            into = _owner(item.job)
            if into == identity:
                raise
            identity = into  # merged at this very moment
            report = store_photo(identity=identity, photo=prepared, index=item.index)
        log_resemblances(
            principal=asked_by(item.job.api_key_id, "enrolment"),
            collection_id=identity.collection_id,
            reports=[report],
            job=str(item.job_id),
        )
        return _to_keep(report_json(report))


def _owner(job: Job) -> Identity:
    identity = Identity.objects.filter(id=job.subject_id).first() if job.subject_id else None
    if identity is None:
        raise NotFoundError("The identity was deleted before this picture was enrolled.")
    return survivor(identity)


def _to_keep(report: dict[str, Any]) -> dict[str, Any]:
    """A report outlives the people it warns of: it names them by id only, so that their erasure leaves no name here."""
    warnings = [
        warning | {"message": WARNINGS[warning["code"]], "identity": {"id": warning["identity"]["id"]}}
        for warning in report["warnings"]
    ]
    return report | {"warnings": warnings}


@shared_task
def purge() -> None:
    """Remove for good what was deleted and whose time of grace is over."""
    identities.purge_deleted()
