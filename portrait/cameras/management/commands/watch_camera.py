"""`manage.py watch_camera ID`: the reader of one camera. `watch_cameras` starts it; it ends with its parent."""

import logging
import os
import signal
import sys
import threading
import time
from argparse import ArgumentParser
from datetime import datetime
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import close_old_connections

from portrait.cameras.capture.output import Output
from portrait.cameras.capture.reader import CameraReader, Exit, Options, patiently
from portrait.cameras.models import Camera
from portrait.embedded import lock

logger = logging.getLogger("portrait.cameras.capture")

LAST_S = 15.0
"""So long an orderly stop may take."""


class Command(BaseCommand):
    help = "Read one camera (watch_cameras starts this command, one for each camera)."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("camera_id")
        parser.add_argument("--realtime", action="store_true")
        parser.add_argument("--once", action="store_true")
        parser.add_argument("--start", type=datetime.fromisoformat)
        parser.add_argument("--parent", type=int, help="the process to end with")

    def handle(self, *args: Any, **options: Any) -> None:
        output = Output()
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda number, frame: _ask_to_stop(stop))
        if options["parent"]:
            threading.Thread(target=_follow_parent, args=(options["parent"], stop), daemon=True).start()
        code = 1
        try:
            code = _read(options, stop, output)
        except Exception:
            logger.exception("the reader of camera %s failed", options["camera_id"])
        finally:
            sys.stdout.flush()
            time.sleep(0.05)  # for the last lines to pass
            output.close()
            # A thread that hangs in FFmpeg would keep the process from ending otherwise.
            os._exit(code)


def _read(options: dict[str, Any], stop: threading.Event, output: Output) -> Exit:
    held = lock.acquire(settings.PORTRAIT.var / "run" / f"camera-{options['camera_id']}.lock")
    if held is None:
        logger.warning("camera %s is read by another process already", options["camera_id"])
        return Exit.LOCKED
    cameras = Camera.objects.select_related("collection").filter(id=options["camera_id"], enabled=True)
    camera = patiently(lambda: cameras.exclude(source="").first(), stop)
    if camera is None:
        return Exit.STOPPED if stop.is_set() else Exit.GONE
    how = Options(realtime=options["realtime"], once=options["once"], start=options["start"])
    try:
        return CameraReader(camera, how, stop, output.reason).run()
    finally:
        close_old_connections()


def _ask_to_stop(stop: threading.Event) -> None:
    if not stop.is_set():
        stop.set()
        last = threading.Timer(LAST_S, os._exit, args=(1,))
        last.daemon = True
        last.start()


def _follow_parent(parent: int, stop: threading.Event) -> None:
    """The kernel tells of the parent's death (`tied_to_parent`), but not of one before it was asked to."""
    while os.getppid() == parent:
        time.sleep(1)
    _ask_to_stop(stop)
