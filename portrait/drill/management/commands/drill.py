"""`manage.py drill`, what `make drill` runs."""

import json
import logging
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from argparse import SUPPRESS, ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from rich.console import Console

from portrait.drill import report
from portrait.drill.play import Drill, Plan
from portrait.drill.reindexing import ReindexDrill, lines
from portrait.embedded import site
from portrait.embedded.errors import EmbeddedError
from portrait.embedded.machine import tied_to_parent
from portrait.embedded.signals import StopRequested, stop_on_signals
from portrait.env import BASE_DIR, ENDPOINT_KEYS, read_environment

FRAMES, SHORT_FRAMES = 1000, 150
LEASE_S, SHORT_LEASE_S = 10, 5
_WIDTH = 140
_STOP_S = 60.0


class Command(BaseCommand):
    help = (
        "Start a site of its own on an empty folder, let three cameras play, kill what can be killed while frames come "
        "in, and account for every frame. Fails if one is lost, done twice, stuck or failed."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--frames", type=int, help=f"at least so many (default: {FRAMES})")
        parser.add_argument(
            "--short", action="store_true", help=f"{SHORT_FRAMES} frames, one fault of each kind: a check of the drill"
        )
        parser.add_argument(
            "--reindex",
            action="store_true",
            help="another drill: a re-index whose worker is killed every few seconds, and Postgres restarted once",
        )
        parser.add_argument("--json", action="store_true", help="print the result as JSON, everything else to stderr")
        parser.add_argument("--keep", action="store_true", help="keep the folder with the database, pictures and logs")
        parser.add_argument("--inside", metavar="ADDRESS", help=SUPPRESS)

    def handle(self, *args: Any, **options: Any) -> None:
        frames = options["frames"] or (SHORT_FRAMES if options["short"] else FRAMES)
        if frames < SHORT_FRAMES:
            raise CommandError(f"--frames: fewer than {SHORT_FRAMES} frames leave no time for the faults.")
        console = Console(stderr=options["json"], width=None if self.stdout.isatty() else _WIDTH)
        try:
            with stop_on_signals():
                if options["inside"]:
                    self._play(Plan(frames, options["short"]), options, console)
                else:
                    self._stage(options, console)
        except StopRequested:
            if options["inside"]:
                raise SystemExit(130) from None
            console.print("Everything is stopped.")
            raise SystemExit(130) from None
        except EmbeddedError as error:
            raise CommandError(str(error)) from None

    def _stage(self, options: dict[str, Any], console: Console) -> None:
        """A site on a folder of its own, and the drill in a process that sees it."""

        def say(text: str) -> None:
            console.print(text, highlight=False, markup=False)

        with _folder(keep=options["keep"], say=say) as var:
            os.environ.update(
                PORTRAIT_VAR=str(var),
                PORTRAIT_PORT=str(_free_port()),
                PORTRAIT_HOST="127.0.0.1",
                PORTRAIT_SOURCE_DIRS=str(var / "sources"),
                PORTRAIT_JOB_LEASE_S=str(SHORT_LEASE_S if options["short"] else LEASE_S),
            )
            for key in ENDPOINT_KEYS:  # never other people's servers
                os.environ.pop(key.upper(), None)
            with site.running(environment=read_environment(), say=say) as running:
                status = _run_inside(running.address, options)
        if status:
            raise SystemExit(status)

    def _play(self, plan: Plan, options: dict[str, Any], console: Console) -> None:
        for name in ("psycopg.pool", "portrait.cameras.queue"):  # that a server is away is no news here
            logging.getLogger(name).setLevel(logging.ERROR)
        if options["reindex"]:
            self._reindex(plan, options, console)
            return
        outcome = Drill(plan, console, options["inside"]).run()
        report.show(outcome, console)
        if options["json"]:
            self.stdout.write(json.dumps(report.as_json(outcome), indent=2))
        if not outcome.good:
            raise SystemExit(1)

    def _reindex(self, plan: Plan, options: dict[str, Any], console: Console) -> None:
        outcome = ReindexDrill(short=plan.short, console=console, address=options["inside"]).run()
        for line in lines(outcome):
            console.print(line, highlight=False, markup=False)
        if options["json"]:
            self.stdout.write(json.dumps(outcome.as_json(), indent=2))
        if not outcome.good:
            raise SystemExit(1)


def _run_inside(address: str, options: dict[str, Any]) -> int:
    command = [sys.executable, str(BASE_DIR / "manage.py"), "drill", "--inside", address]
    command += [f"--{name}" for name in ("short", "json", "reindex") if options[name]]
    command += ["--frames", str(options["frames"])] if options["frames"] else []
    process = subprocess.Popen(  # noqa: S603  (our own command)
        [*tied_to_parent("TERM"), "--", *command],
        stdin=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C reaches this command alone, which stops everything in order
    )
    try:
        return process.wait()
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def _folder(*, keep: bool, say: Any) -> Iterator[Path]:
    var = Path(tempfile.mkdtemp(prefix="portrait-drill-"))
    try:
        yield var
    finally:
        if keep:
            say(f"Kept: {var}")
        else:
            shutil.rmtree(var, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
