"""Celery's side of privacy: exports as jobs; retention, and files that are still to be deleted, on a schedule."""

from typing import IO, Any

from celery import shared_task

from portrait.core.errors import NotFoundError
from portrait.core.files import retry_deletions as delete_what_is_left
from portrait.core.spool import temporary_file
from portrait.gallery.models import Identity
from portrait.jobs.growing import renew_lease
from portrait.jobs.models import JobItem
from portrait.privacy.services import exporting
from portrait.privacy.services.retention import run

RENEW_EVERY = 50


class ExportHandler:
    """Makes the zip of one person."""

    def prepare(self, item: JobItem) -> "IO[bytes]":
        subject = item.job.subject_id
        identity = Identity.objects.filter(pk=subject).first() if subject else None
        if identity is None:
            raise NotFoundError("The person was erased meanwhile.")
        file = temporary_file()  # closed by `store`, or with the last reference
        exporting.write_zip(identity, file, going_on=_Renewing(item))
        file.seek(0)
        return file

    def store(self, item: JobItem, prepared: "IO[bytes]") -> dict[str, Any]:
        with prepared:
            return exporting.store_zip(export_id=item.job.parameters["export"], file=prepared)


class _Renewing:
    """Keeps a lease while somebody works."""

    def __init__(self, item: JobItem) -> None:
        self.item, self.calls = item, 0

    def __call__(self) -> None:
        self.calls += 1
        if self.calls % RENEW_EVERY == 0:
            renew_lease(item=self.item)


@shared_task
def retention() -> None:
    """Remove what no rule keeps any longer."""
    run()


@shared_task
def retry_deletions() -> None:
    """Delete files that could not be deleted."""
    delete_what_is_left()
