"""Write a collection into a zip that can be imported elsewhere."""

import os
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from portrait.audit.models import Action
from portrait.audit.services import record, system
from portrait.gallery.models import Collection, Portrait
from portrait.transfer.services.exporting import ExportReport, export_collection

MISSING = 3


class Command(BaseCommand):
    """Exit code 0: all is in it; 3: pictures are missing from the storage."""

    help = "Write all people and portraits of a collection into FILE.zip, in the format of import_portraits."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("collection", help="name of the collection")
        parser.add_argument("file", type=Path, metavar="FILE.zip")
        parser.add_argument("--force", action="store_true", help="replace the file if it is there")

    def handle(self, *args: Any, **options: Any) -> None:
        collection = Collection.objects.filter(name=options["collection"]).first()
        if collection is None:
            raise CommandError(f"There is no collection {options['collection']!r}.")
        path: Path = options["file"]
        if path.exists() and not options["force"]:
            raise CommandError(f"{path} is there already: name another file, or use --force.")
        record(principal=system("export_portraits"), action=Action.EXPORT, collection_id=collection.pk)
        report = ExportReport()
        try:
            self._write(collection, path, report)
        except OSError as error:
            raise CommandError(f"{path} could not be written: {error.strerror}.") from None
        self.stdout.write(f"{report.people} people and {report.portraits} portraits: {path}")
        if report.missing:
            self.stderr.write(f"{report.missing} pictures are missing from the storage, and from the file.")
            raise SystemExit(MISSING)

    def _write(self, collection: Collection, path: Path, report: ExportReport) -> None:
        """The file has its name only when it is whole."""
        part = path.with_name(f".{path.name}.part")
        total = Portrait.objects.filter(identity__collection=collection, deleted_at=None, identity__deleted_at=None)
        try:
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file, _bar() as bar:
                task = bar.add_task("export", total=total.count())
                for data in export_collection(collection=collection, report=report):
                    file.write(data)
                    bar.update(task, completed=report.portraits)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


def _bar() -> Progress:
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("portraits"), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True))
