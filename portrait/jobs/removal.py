"""What becomes of jobs that are over, and of those about somebody or something that is erased."""

import uuid

from django.db import transaction
from django.db.models import QuerySet

from portrait.core.files import delete_on_commit, stored
from portrait.jobs.models import Job, JobItem


def delete_ended(*, jobs: "QuerySet[Job]", batch: int = 500, most: int = 20_000) -> int:
    """Remove jobs that ended, in small transactions, at most so many at a time; answers how many."""
    removed = 0
    while removed < most:
        ids = list(jobs.exclude(finished_at=None).order_by("finished_at").values_list("id", flat=True)[:batch])
        if not ids:
            break
        _delete_jobs(Job.objects.filter(id__in=ids))
        removed += len(ids)
    return removed


def delete_job(*, job: Job) -> None:
    """Remove a job, its items and what is left of its uploads."""
    _delete_jobs(Job.objects.filter(id=job.id))


def forget_portrait(*, subject_id: uuid.UUID, portrait_id: uuid.UUID) -> None:
    """Empty the reports that describe a portrait that is gone."""
    items = JobItem.objects.filter(job__subject_id=subject_id, result__portrait__id=str(portrait_id))
    items.update(result={"status": "erased"})


def erase_jobs(*, subject_id: uuid.UUID | None = None, collection_id: uuid.UUID | None = None) -> None:
    """Remove all jobs about a person, or of a collection: items, results and uploads.

    A worker that has one of their items at this moment stores nothing.

    Raises:
        ValueError: neither is named; that would be all jobs there are.
    """
    if (subject_id is None) == (collection_id is None):
        raise ValueError("name the subject or the collection")
    _delete_jobs(
        Job.objects.filter(subject_id=subject_id) if subject_id else Job.objects.filter(collection_id=collection_id)
    )


def _delete_jobs(jobs: "QuerySet[Job]") -> None:
    with transaction.atomic():
        job_ids = list(jobs.values_list("id", flat=True))
        # Locked: a worker that is about to end an item ends it first, or finds it gone.
        items = list(
            JobItem.objects.select_for_update(of=("self",)).filter(job_id__in=job_ids).only("upload").order_by("id")
        )
        delete_on_commit(stored(*(item.upload for item in items)))
        JobItem.objects.filter(job_id__in=job_ids).delete()
        Job.objects.filter(id__in=job_ids).delete()
