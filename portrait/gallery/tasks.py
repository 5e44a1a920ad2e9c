"""The gallery's work on the queue `ingest`: enrolment, one picture an item."""

import uuid
from collections.abc import Sequence
from typing import Any

from portrait.core.errors import NotFoundError
from portrait.gallery.face_choice import parse_choice
from portrait.gallery.models import Identity
from portrait.gallery.reports import report_json
from portrait.gallery.services.enrolment import PreparedPhoto, prepare_photos, store_photo
from portrait.jobs.models import Job, JobItem
from portrait.jobs.services import create_job
from portrait.jobs.tasks import enqueue_job

ENROL = "enrol"


def start_enrolment(
    *, identity: Identity, photos: Sequence[bytes], face: str, force: bool, api_key_id: uuid.UUID | None = None
) -> Job:
    """Accept pictures for enrolment through the queue: stored first, then enqueued."""
    job = create_job(
        kind=ENROL,
        queue="ingest",
        uploads=photos,
        collection_id=identity.collection_id,
        parameters={"identity_id": str(identity.id), "face": face, "force": force},
        api_key_id=api_key_id,
    )
    enqueue_job(job)
    return job


class EnrolHandler:
    """Job kind `enrol`: parameters identity_id, face, force; an upload an item."""

    def prepare(self, item: JobItem) -> PreparedPhoto:
        with item.upload.open("rb") as file:
            data = file.read()
        parameters = item.job.parameters
        prepared = prepare_photos([data], choice=parse_choice(parameters["face"]), force=parameters["force"])[0]
        if not isinstance(prepared, PreparedPhoto):
            raise prepared
        return prepared

    def store(self, item: JobItem, prepared: PreparedPhoto) -> dict[str, Any]:
        identity = Identity.objects.filter(id=item.job.parameters["identity_id"]).first()
        if identity is None:
            raise NotFoundError("The identity was deleted before this picture was enrolled.")
        return report_json(store_photo(identity=identity, photo=prepared, index=item.index))
