"""Import people and photos from a folder or a zip of this machine."""

from argparse import BooleanOptionalAction
from pathlib import Path
from time import monotonic, sleep
from typing import IO, Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from portrait.audit.services import system
from portrait.core.errors import PortraitError
from portrait.gallery.models import DEFAULT_COLLECTION, Collection
from portrait.jobs import services as jobs
from portrait.transfer import selectors
from portrait.transfer.models import FileStatus, Import, ImportFile
from portrait.transfer.names import parse_root
from portrait.transfer.services import imports
from portrait.transfer.services.packing import Unpacked, pack

LOOK_EVERY_S = 0.5
LOOK_SHARE = 10
"""It waits so many times as long as it looks."""
PARTS_AHEAD = 2
"""Zips that wait on the disk: the next is packed when one of them is done."""
SHOWN = 20
PARTIAL = 3


class Command(BaseCommand):
    """Exit code 0: all is enrolled; 3: some files were rejected or failed; 130: interrupted, the job goes on."""

    help = (
        "Import people and photos: DIR or ZIP holds <person>/<photo>, and people.csv if there is more to say of the "
        "people. The work is done by the workers; run again, it imports only what is new."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("source", type=Path, metavar="DIR|ZIP")
        parser.add_argument("--collection", default=DEFAULT_COLLECTION, help="name of the collection")
        parser.add_argument("--face", choices=["largest"], default="", help="which face, of photos with several")
        parser.add_argument("--force", action="store_true", help="faces of poor quality too")
        parser.add_argument("--root", default="", help="the folder in the zip that holds the people's")
        parser.add_argument("--wait", action=BooleanOptionalAction, default=True, help="until all is done")

    def handle(self, *args: Any, **options: Any) -> None:
        out: Any = self.stdout
        self._console = Console(file=getattr(out, "_out", None))
        source: Path = options["source"]
        if not source.exists():
            raise CommandError(f"There is no folder or zip {source}.")
        collection = Collection.objects.filter(name=options["collection"]).first()
        if collection is None:
            raise CommandError(f"There is no collection {options['collection']!r}: make it first, in the admin.")
        try:
            run = imports.create_import(
                collection=collection,
                principal=system("import_portraits"),
                face=options["face"],
                force=options["force"],
                root=parse_root(options["root"]),
            )
        except (PortraitError, ValueError) as error:
            raise CommandError(str(error)) from None
        self._run(run, source, wait=options["wait"])

    def _run(self, run: Import, source: Path, *, wait: bool) -> None:
        unpacked = Unpacked()
        try:
            with _bar(self._console) as progress:
                self._task = progress.add_task("import", total=None, accepted=0, had=0, rejected=0, rate="")
                self._hand_over(run, source, progress, unpacked)
                if wait:
                    self._follow(run, progress)
        except KeyboardInterrupt:
            imports.seal(run=run)
            self._console.print(
                f"Interrupted. What was handed over goes on: GET /api/v1/imports/{run.pk}; cancel it as its job, "
                f"{run.job_id}. Run the same command again for the rest: nothing is imported twice."
            )
            raise SystemExit(130) from None
        except PortraitError as error:
            self._stop(run)
            raise CommandError(error.message) from None
        if not wait:
            self._console.print(f"Handed over. The results: GET /api/v1/imports/{run.pk}")
            return
        self._summary(run, unpacked)

    def _hand_over(self, run: Import, source: Path, progress: Progress, unpacked: Unpacked) -> None:
        if source.is_file():
            with source.open("rb") as file:
                imports.add_part(run=run, file=file)
        elif source.is_dir():
            for part in pack(source, unpacked):
                self._add_in_turn(run, part, progress)
        else:
            self._stop(run)
            raise CommandError(f"There is no folder or zip {source}.")
        imports.seal(run=run)

    def _add_in_turn(self, run: Import, part: IO[bytes], progress: Progress) -> None:
        """Zips are read in order: people.csv is in the first. And few of them wait on the disk at a time."""
        while run.parts.filter(planned_at=None, done_at=None).exists() or (
            run.parts.filter(done_at=None).count() >= PARTS_AHEAD
        ):
            self._look(run, progress)
        imports.add_part(run=run, file=part)

    def _stop(self, run: Import) -> None:
        if run.job is not None:
            jobs.cancel(job=run.job)
        imports.seal(run=run)

    def _follow(self, run: Import, progress: Progress) -> None:
        while self._look(run, progress).state not in ("done", "cancelled", "stopped"):
            pass

    def _look(self, run: Import, progress: Progress) -> selectors.Progress:
        """Show where it stands, a moment later; of a large import, to look takes time itself."""
        began = monotonic()
        fresh = Import.objects.select_related("job").get(pk=run.pk)
        told = selectors.progress_of(fresh)
        progress.update(
            self._task,
            total=told.total if told.planned else None,
            completed=told.done,
            accepted=told.counts[FileStatus.ACCEPTED],
            had=told.counts[FileStatus.DUPLICATE],
            rejected=told.counts[FileStatus.REJECTED] + told.counts[FileStatus.FAILED],
            rate=f"{told.files_per_s:g} files/s" if told.files_per_s else "",
        )
        connection.close()
        sleep(max(LOOK_EVERY_S, LOOK_SHARE * (monotonic() - began)))
        return told

    def _summary(self, run: Import, unpacked: Unpacked) -> None:
        run.refresh_from_db()
        told = selectors.progress_of(run)
        table = Table(title=f"Import into {run.collection.name}: {told.state}")
        table.add_column("result")
        table.add_column("files", justify="right")
        for status, count in told.counts.items():
            if count:
                table.add_row(status, str(count))
        if unpacked.files:
            table.add_row("not handed over", str(len(unpacked.files)))
        self._console.print(table)
        bad = ImportFile.objects.filter(run=run, status__in=(FileStatus.REJECTED, FileStatus.FAILED))
        for file in bad[:SHOWN]:
            self._console.print(f"{file.path}: {file.code}: {file.message}", markup=False, highlight=False)
        for name, reason in unpacked.files[:SHOWN]:
            self._console.print(f"{name}: {reason}", markup=False, highlight=False)
        count = bad.count() + len(unpacked.files)
        if count:
            self._console.print(f"{count} files were not imported. All results: /api/v1/imports/{run.pk}/results.csv")
        if count or told.state != "done":
            raise SystemExit(PARTIAL)


def _bar(console: Console) -> Progress:
    return Progress(
        SpinnerColumn(),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(
            "[green]{task.fields[accepted]} accepted[/], {task.fields[had]} there already, "
            "[red]{task.fields[rejected]} rejected[/]"
        ),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=console,
    )
