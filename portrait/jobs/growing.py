"""Jobs whose work becomes known as it goes, and items that take many steps."""

from django.db import transaction
from django.db.models import Max
from django.utils import timezone

from portrait.core.errors import ConflictError
from portrait.jobs.models import Job, JobItem
from portrait.jobs.services import extend_lease


def add_items(*, job: Job, count: int) -> list[JobItem]:
    """More items without uploads for a job whose work becomes known as it goes; it is open again. The caller enqueues
    them after the commit.

    Raises:
        ConflictError: the job was cancelled, or is gone.
    """
    with transaction.atomic():  # the lock: two at once would give the same indexes
        if not Job.objects.select_for_update(of=("self",)).filter(id=job.id, cancelled_at=None).exists():
            raise ConflictError("The job was cancelled, or removed.")
        newest = JobItem.objects.filter(job_id=job.id).aggregate(newest=Max("index"))["newest"]
        first = 0 if newest is None else newest + 1
        items = JobItem.objects.bulk_create(JobItem(job_id=job.id, index=first + number) for number in range(count))
        Job.objects.filter(id=job.id).update(finished_at=None, updated_at=timezone.now())
    return items


def renew_lease(*, item: JobItem) -> None:
    """`extend_lease` for work of many steps, each of which may be what made earlier workers vanish: they stay counted.

    Raises:
        LeaseLostError: the item went to another worker meanwhile, or was erased.
    """
    extend_lease(item=item, forgive=False)
