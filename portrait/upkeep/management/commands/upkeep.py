"""`manage.py upkeep integrity|ledger|indexes|status`: the checks that the schedule runs, by hand."""

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from portrait.upkeep.models import UpkeepRun
from portrait.upkeep.services import indexes, integrity, ledger


class Command(BaseCommand):
    help = "Check rows against files, frames against their ledger, and the database's indexes."

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        check = actions.add_parser("integrity", help="rows against files and each other; fails if something is wrong")
        check.add_argument("--no-repair", action="store_true", help="only look")
        actions.add_parser("ledger", help="is every frame accounted for; fails if one is lost")
        actions.add_parser("indexes", help="renew statistics and bloated indexes")
        actions.add_parser("status", help="the last run of each")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["action"] == "status":
            self._status()
            return
        checks = {
            "integrity": lambda: integrity.check(repair=not options.get("no_repair")),
            "ledger": ledger.check,
            "indexes": indexes.check,
        }
        run = checks[options["action"]]()
        if run is None:
            raise CommandError("This check is going on already: see `manage.py upkeep status`.")
        shown = {name: value for name, value in run.report.items() if name != "row_bytes"}  # for the next run only
        self.stdout.write(json.dumps(shown, indent=2))
        if not run.ok:
            raise CommandError("Something is wrong: see the report above.", returncode=1)
        self.stdout.write("All is well.")

    def _status(self) -> None:
        for kind in UpkeepRun.Kind:
            run = UpkeepRun.objects.filter(kind=kind).first()
            if run is None:
                self.stdout.write(f"{kind}: never run")
                continue
            state = "running" if run.ended_at is None else "well" if run.ok else f"NOT WELL {run.error}"
            ago = timezone.now() - (run.ended_at or run.started_at)
            self.stdout.write(f"{kind}: {state}, {int(ago.total_seconds())} s ago")
