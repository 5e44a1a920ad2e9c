"""`manage.py services start|stop|status`: the three embedded back ends alone, in the background."""

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from portrait.embedded import services
from portrait.embedded.errors import EmbeddedError
from portrait.embedded.signals import StopRequested, stop_on_signals


class Command(BaseCommand):
    help = "Start or stop PostgreSQL, Redis and Triton in the background, or show how they are."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("action", choices=["start", "stop", "status"])

    def handle(self, *args: Any, **options: Any) -> None:
        action = {"start": self._start, "stop": self._stop, "status": self._status}[options["action"]]
        try:
            with stop_on_signals():
                action()
        except StopRequested as request:
            raise CommandError(f"Interrupted ({request}).", returncode=130) from None
        except EmbeddedError as error:
            raise CommandError(str(error)) from None

    def _start(self) -> None:
        services.start(environment=settings.PORTRAIT, attached=False, say=self.stdout.write)
        self.stdout.write("The back ends run:")
        for process, _ in services.status(environment=settings.PORTRAIT):
            self.stdout.write(f"  {process.name:<10} process {process.pid:<8} log {process.log}")
        self.stdout.write(f"Their addresses are in {settings.PORTRAIT.endpoints_file}.")

    def _stop(self) -> None:
        stopped = services.stop(environment=settings.PORTRAIT)
        self.stdout.write("The back ends are stopped." if stopped else "No embedded back end runs.")

    def _status(self) -> None:
        states = services.status(environment=settings.PORTRAIT)
        for process, problem in states:
            self.stdout.write(f"{process.name:<10} process {process.pid or '-':<8} {problem or 'ready'}")
        if not states:
            raise CommandError("No embedded back end runs.", returncode=3)
        if any(problem for _, problem in states):
            raise CommandError("A back end does not answer.", returncode=3)
