"""`manage.py watch_cameras [NAME...]`: read cameras, one supervised process each."""

import signal
import threading
from argparse import ArgumentParser
from datetime import datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from portrait.cameras import addresses
from portrait.cameras.addresses import SourceKind
from portrait.cameras.capture.reader import Options, patiently
from portrait.cameras.capture.supervisor import HANG_S, Supervisor, find_cameras


class Command(BaseCommand):
    help = (
        "Read cameras (all that are enabled and have a source, or those named) until it is stopped. Cameras that are "
        "added, changed, switched off or deleted meanwhile are followed."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("names", nargs="*", metavar="NAME", help="a camera's name, or COLLECTION/NAME")
        parser.add_argument("--once", action="store_true", help="read files and folders to their ends, then end")
        parser.add_argument("--realtime", action="store_true", help="read files as fast as they were filmed")
        parser.add_argument(
            "--start", metavar="TIME", help="when files were filmed (2026-05-01T12:00:00Z); default: just before now"
        )
        parser.add_argument(
            "--patience", type=float, default=HANG_S, metavar="S", help="kill a reader that hangs for so long"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda number, frame: stop.set())
        how = Options(realtime=options["realtime"], once=options["once"], start=_start(options["start"]))
        names = options["names"]
        patiently(lambda: _check(names, how), stop)
        supervisor = Supervisor(names=names, options=how, stop=stop, hang_s=options["patience"])
        everything = supervisor.run()
        if how.once and not everything:
            raise CommandError(f"Not read to the end: {', '.join(supervisor.unreadable())}.")


def _check(names: list[str], how: Options) -> None:
    """Raise `CommandError` where a name means no camera that can be read so, or with --once none does."""
    for name in names:
        found = list(find_cameras([name]))
        if not found:
            raise CommandError(f"There is no camera {name!r} that is switched on and has a source.")
        if len(found) > 1:
            full = ", ".join(f"{camera.collection.name}/{camera.name}" for camera in found)
            raise CommandError(f"{name!r} is the name of several cameras: {full}.")
        if how.once and addresses.kind_of(found[0].source) is not SourceKind.PATH:
            raise CommandError(f"{name!r} is no file and no folder: --once would never end.")
    if how.once and not any(addresses.kind_of(camera.source) is SourceKind.PATH for camera in find_cameras(names)):
        raise CommandError("No camera that is switched on has a file or a folder as its source.")


def _start(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        found = parse_datetime(text)
    except ValueError:
        found = None
    if found is None:
        raise CommandError(f"--start is {text!r}: write a time like 2026-05-01T12:00:00Z.")
    found = found if found.tzinfo else timezone.make_aware(found)
    if found > timezone.now():
        raise CommandError("--start lies in the future.")
    return found
