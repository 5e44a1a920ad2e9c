"""How far apart faces of one person, and of two, are: `manage.py calibrate`."""

import getpass
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console

from portrait.calibration.models import CalibrationRun
from portrait.calibration.services import runs
from portrait.calibration.words import words
from portrait.core.errors import PortraitError
from portrait.core.models import Scope
from portrait.core.principal import Principal
from portrait.gallery.models import Collection
from portrait.gallery.selectors import find_collection

EVERYTHING = Principal("manage.py", Scope.ADMIN, None, "command")


class Command(BaseCommand):
    """Measures at once, not through the queue."""

    help = "Measure genuine and impostor distances of a collection; with --apply set its threshold by them."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--collection", default="default", help="name or id")
        parser.add_argument("--fmr", type=float, default=runs.DEFAULT_FMR, help="the false-match rate that is wanted")
        parser.add_argument("--group-by", help="a key of people's metadata: rates by its values too")
        parser.add_argument("--seed", type=int, default=runs.SEED, help="the same seed draws the same people")
        parser.add_argument("--png", type=Path, help="write the curves to this file too")
        parser.add_argument("--apply", action="store_true", help="make the threshold the collection's")
        parser.add_argument("--revert", action="store_true", help="give back the threshold before the last --apply")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            collection = find_collection(EVERYTHING, options["collection"])
            if options["revert"]:
                self._revert(collection)
            else:
                self._calibrate(collection, options)
        except PortraitError as error:
            raise CommandError(error.message) from None

    def _calibrate(self, collection: Collection, options: dict[str, Any]) -> None:
        if not 0 < options["fmr"] <= 0.5:
            raise CommandError("--fmr is a rate above 0 and up to 0.5, for example 1e-3.")
        png: Path | None = options["png"]
        if png is not None and not png.parent.is_dir():
            raise CommandError(f"--png: there is no folder {png.parent}.")
        with Console(stderr=True).status("measuring"):
            run = runs.carry_out(
                run=runs.new_run(
                    collection=collection,
                    fmr=options["fmr"],
                    group_by=options["group_by"],
                    seed=options["seed"],
                    actor=_actor(),
                )
            )
        if run.state != CalibrationRun.State.DONE:
            raise CommandError(run.report["refused"])
        for line in words(run.report):
            self.stdout.write(line)
        if options["group_by"] and not run.report["groups"]:
            self.stdout.write(f"Nobody's metadata has the key {options['group_by']!r}: no rates by group.")
        self._write_picture(run, png)
        if options["apply"]:
            runs.apply(run=run, actor=_actor())
            self.stdout.write(f"Applied: the threshold of {collection.name} is {run.threshold:.4f} now.")
        else:
            self.stdout.write(f"Nothing was changed; --apply sets it, or POST /api/v1/calibrations/{run.pk}/apply.")

    def _write_picture(self, run: CalibrationRun, path: Path | None) -> None:
        if path is not None:
            try:
                with run.picture.open("rb") as file:
                    path.write_bytes(file.read())
            except OSError as error:
                raise CommandError(f"{path} cannot be written: {error.strerror}") from None
            self.stdout.write(f"Curves: {path}")

    def _revert(self, collection: Collection) -> None:
        rows = CalibrationRun.objects.filter(collection=collection, reverted_at=None).exclude(applied_at=None)
        run = rows.order_by("-applied_at").first()
        if run is None:
            raise CommandError("No calibration of this collection is in force.")
        runs.revert(run=run, actor=_actor())
        told = "the embedding model's own" if run.threshold_before is None else f"{run.threshold_before:.4f}"
        self.stdout.write(f"The threshold of {collection.name} is {told} again.")


def _actor() -> str:
    try:
        return f"manage.py by {getpass.getuser()}"
    except (KeyError, OSError):  # a container's user without a name
        return "manage.py"
