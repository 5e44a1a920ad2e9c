"""Look for people who may be one and for portraits that do not fit: `manage.py suggest`."""

import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from portrait.core.errors import PortraitError
from portrait.core.models import Scope
from portrait.core.principal import Principal
from portrait.curation.models import Kind, State, Suggestion
from portrait.curation.services.starting import start_scan
from portrait.gallery.models import Collection
from portrait.gallery.selectors import find_collection
from portrait.jobs.models import Job
from portrait.jobs.selectors import progress_of, with_counts

POLL_S = 0.5
EVERYTHING = Principal("manage.py", Scope.ADMIN, None, "command")


class Command(BaseCommand):
    """Starts the scan as a job on the queue `reindex`."""

    help = "Look a collection (or all of them) through for suggestions, as a job."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--collection", help="only this one (name or id)")
        parser.add_argument("--full", action="store_true", help="everybody, not only those of whom something changed")
        parser.add_argument("--wait", action="store_true", help="show the progress until it is done")

    def handle(self, *args: Any, **options: Any) -> None:
        for collection in self._collections(options["collection"]):
            try:
                job, started = start_scan(collection=collection, full=options["full"])
            except PortraitError as error:
                raise CommandError(f"{collection.name}: {error.message}") from None
            told = "started" if started else "is under way already"
            self.stdout.write(f"{collection.name}: the scan {told}, job {job.pk}")
            if options["wait"]:
                self._follow(job, collection)

    def _collections(self, name: str | None) -> list[Collection]:
        if name is None:
            return list(Collection.objects.select_related("active_model").order_by("name"))
        try:
            return [find_collection(EVERYTHING, name)]
        except PortraitError as error:
            raise CommandError(error.message) from None

    def _follow(self, job: Job, collection: Collection) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task(collection.name)
            while True:
                progress = progress_of(with_counts(Job.objects.filter(pk=job.pk)).get())
                done = progress.done + progress.failed + progress.cancelled
                bar.update(task, total=progress.total, completed=done)
                if progress.finished:
                    break
                time.sleep(POLL_S)
        if progress.failed:
            failed = job.items.exclude(error_code="").order_by("index").first()
            raise CommandError(f"{progress.failed} of {progress.total} parts failed: {failed and failed.error_message}")
        self._tell(collection)

    def _tell(self, collection: Collection) -> None:
        waiting = Suggestion.objects.filter(collection=collection, state=State.OPEN)
        counts = {Kind(kind).label: waiting.filter(kind=kind).count() for kind in Kind.values}
        for label, count in counts.items():
            self.stdout.write(f"  {count:6d}  {label}")
