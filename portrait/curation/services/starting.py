"""Scans are started here: one a collection at a time, however many ask for one."""

import uuid
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone

from portrait.core.errors import ConflictError
from portrait.curation.models import Scan
from portrait.curation.people import living
from portrait.curation.services.scanning import due
from portrait.gallery.models import Collection
from portrait.jobs.models import Job
from portrait.jobs.services import create_job
from portrait.jobs.tasks import enqueue_job

SUGGEST, QUEUE = "suggest", "reindex"
PEOPLE_AN_ITEM = 200
MOST_ITEMS = 2000
FULL_EVERY = timedelta(days=7)
OVERLAP = timedelta(minutes=10)
"""What was written by transactions that began before a scan and ended after it, is looked at twice and not missed."""


def start_scan(*, collection: Collection, full: bool = False, api_key_id: uuid.UUID | None = None) -> tuple[Job, bool]:
    """A job that looks a collection through; False: one is under way, and that is answered.

    full: everybody, else only those of whom something changed since the last scan (where there was none by this
    embedding model, or none of everybody for a week, everybody too).
    """
    Scan.objects.get_or_create(collection=collection)
    with transaction.atomic():
        scan = Scan.objects.select_for_update(of=("self",)).get(collection=collection)
        running = Job.objects.filter(pk=scan.job_id, finished_at=None).first() if scan.job_id else None
        if running is not None:
            return running, False
        since = None if full else _since(scan, collection)
        parts = max(1, min(MOST_ITEMS, -(-living(collection.pk).count() // PEOPLE_AN_ITEM)))
        job = create_job(
            kind=SUGGEST,
            queue=QUEUE,
            collection_id=collection.pk,
            items=parts + 1,
            parameters=_parameters(collection, parts, since),
            api_key_id=api_key_id,
        )
        Scan.objects.filter(pk=scan.pk).update(job_id=job.pk)
        transaction.on_commit(lambda: enqueue_job(job))
    return job, True


def _since(scan: Scan, collection: Collection) -> datetime | None:
    through = scan.covers(collection.active_model_id)
    if through is None or scan.full_at is None or scan.full_at < timezone.now() - FULL_EVERY:
        return None
    return through - OVERLAP


def _parameters(collection: Collection, parts: int, since: datetime | None) -> dict[str, Any]:
    return {
        "parts": parts,
        "since": since.isoformat() if since else None,
        "began": timezone.now().isoformat(),
        "model": collection.active_model_id,
    }


def has_news(collection: Collection) -> bool:
    """Whether a scan would look at anybody."""
    scan = Scan.objects.filter(collection=collection).first()
    return due(collection.pk, _since(scan, collection) if scan else None).exists()


def collection_of(job: Job) -> Collection:
    """The collection of a scan, as it was when that began.

    Raises:
        ConflictError: it was deleted, or searches by another embedding model by now.
    """
    wanted = job.collection_id
    collection = Collection.objects.select_related("active_model").filter(pk=wanted).first() if wanted else None
    if collection is None:
        raise ConflictError("The collection was deleted meanwhile.")
    if collection.active_model_id != job.parameters["model"]:
        raise ConflictError("The collection got another embedding model meanwhile: start the scan again.")
    return collection
