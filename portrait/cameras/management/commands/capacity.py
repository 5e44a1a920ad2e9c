"""`manage.py capacity`: what the cameras produce, against what this machine can do (`services/capacity.py`)."""

import json
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from kombu.exceptions import OperationalError
from rich.console import Console
from rich.table import Table

from inference.errors import ServerError
from portrait.cameras.models import Camera
from portrait.cameras.selectors import cameras_named
from portrait.cameras.services import capacity
from portrait.cameras.services.capacity import Need, Speed
from portrait.celery import app
from portrait.core.errors import PortraitError

TABLE_WIDTH = 120
NEARLY = 0.8


class Command(BaseCommand):
    help = (
        "Measure the time per frame on this machine and print the cores, workers and Triton instances that the cameras "
        "need: frames produced per second times time per frame, per camera and in all. Stop the workers before, or "
        "it measures what they leave over."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--seconds", type=float, default=10.0, help="how long to measure in all (default 10)")
        parser.add_argument(
            "--camera", action="append", metavar="NAME", help="NAME, COLLECTION/NAME or id (repeat for more)"
        )
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            cameras = cameras_named(options["camera"] or [])
            self._warn_of_workers()
            speeds = self._measure(cameras, options["seconds"])
        except PortraitError as error:
            raise CommandError(error.message) from error
        except ServerError as error:
            raise CommandError(f"The time per frame cannot be measured: {error}") from error
        rates = capacity.produced(cameras)
        needs = [
            capacity.need(
                name=f"{camera.collection.name}/{camera.name}",
                produced_per_s=rates[camera.pk][0],
                basis=rates[camera.pk][1],
                speed=speed,
            )
            for camera, speed in zip(cameras, speeds, strict=False)
        ]
        total = capacity.sum_of(needs, speeds[: len(needs)])
        self._tell(needs, speeds, total, as_json=options["json"])

    def _measure(self, cameras: list[Camera], seconds: float) -> list[Speed]:
        threads, cores = settings.CELERY_WORKER_CONCURRENCY, settings.PORTRAIT.cores
        speeds = []
        measured: list[Camera | None] = [*cameras] or [None]
        for camera in measured:
            what, pictures = capacity.sample_pictures(camera)
            share = seconds / max(1, len(cameras))
            speeds.append(capacity.measure(pictures, what=what, seconds=share, threads=threads, cores=cores))
        return speeds

    def _tell(self, needs: list[Need], speeds: list[Speed], total: Need, *, as_json: bool) -> None:
        cores, unknown = settings.PORTRAIT.cores, sum(not each.known for each in needs)
        if as_json:
            told = {
                "cores": cores,
                "speeds": [asdict(speed) | {"core_s": speed.core_s} for speed in speeds],
                "cameras": [asdict(need) for need in needs],
                "total": asdict(total),
                "unknown": unknown,
                "keeps_up": None if unknown and total.cores <= cores else total.cores <= cores,
            }
            self.stdout.write(json.dumps(told, indent=2))
            return
        self._print(_speed_table(needs, speeds))
        if needs:
            self._print(_need_table([*needs, total]))
        self.stdout.write(verdict(total.cores, cores, unknown=unknown))

    def _warn_of_workers(self) -> None:
        if workers := running_workers():
            self.stderr.write(
                f"A worker is running ({', '.join(workers)}): while it has frames to process, what is measured is only "
                "what it leaves over. Stop the workers for a true figure."
            )

    def _print(self, table: Table) -> None:
        console = Console(width=max(Console().width, TABLE_WIDTH))
        with console.capture() as capture:
            console.print(table)
        self.stdout.write(capture.get())


def running_workers() -> list[str]:
    """The workers that answer now; none where the broker does not."""
    try:
        with app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, timeout=2)
            answers = app.control.ping(timeout=1.0, connection=connection)
    except (OSError, OperationalError):
        return []
    return sorted(name for answer in answers or [] for name in answer)


def verdict(needed: float, cores: int, *, unknown: int = 0) -> str:
    """Whether this machine keeps up, in words. unknown: of so many cameras nobody knows what they produce."""
    if unknown and needed <= cores:
        others = f"The others need {needed:.1f} of {cores} cores ({needed / cores:.0%}). " if needed else ""
        return (
            f"{unknown} camera{'s' if unknown > 1 else ''} unknown: no frame came yet, so that nobody can say whether "
            f"this machine keeps up. {others}Set their fps, or let frames come for a minute and ask again."
        )
    if needed == 0:
        return "No camera produces frames yet."
    besides = f" {unknown} more unknown: no frame came from them yet." if unknown else ""
    used = f"{needed:.1f} of {cores} cores ({needed / cores:.0%})"
    if needed > cores:
        return (
            f"This machine does not keep up: the cameras need {used}. The backlog grows on disk: "
            f"add machines, or take fewer frames (fps).{besides}"
        )
    if needed > NEARLY * cores:
        return f"This machine keeps up, with little to spare: the cameras need {used}."
    return f"This machine keeps up: the cameras need {used}."


def _speed_table(needs: list[Need], speeds: list[Speed]) -> Table:
    table = Table(
        "measured with", "pictures", "a frame alone", "of it the worker's CPU", "at full load", "a frame, one core"
    )
    names = [need.name for need in needs] or ["no camera"]
    for name, speed in zip(names, speeds, strict=True):
        table.add_row(
            name,
            speed.pictures,
            f"{speed.time_alone_s * 1000:.0f} ms",
            f"{speed.worker_cpu_s * 1000:.0f} ms",
            f"{speed.frames_per_s:.1f}/s, {speed.threads} callers",
            f"{speed.core_s * 1000:.0f} ms",
        )
    return table


def _need_table(needs: list[Need]) -> Table:
    table = Table("camera", "frames/s", "known from", "cores", "workers", "Triton instances")
    for need in needs:
        workers = str(need.workers) if need.produced_per_s else "-"
        instances = str(need.instances) if need.produced_per_s else "-"
        rate, cores = (f"{need.produced_per_s:.2f}", f"{need.cores:.2f}") if need.known else ("?", "?")
        table.add_row(need.name, rate, need.basis, cores, workers, instances)
    return table
