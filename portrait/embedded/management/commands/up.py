"""`manage.py up`: everything that Portrait needs, until Ctrl-C."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from portrait.embedded import site
from portrait.embedded.errors import EmbeddedError
from portrait.embedded.signals import StopRequested, stop_on_signals
from portrait.embedded.site import Site


class Command(BaseCommand):
    help = "Start PostgreSQL, Redis, Triton, the web server, the worker and beat; stop them all at Ctrl-C."
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            with stop_on_signals():
                self._serve()
        except StopRequested:
            self._say("Everything is stopped.")
        except EmbeddedError as error:
            raise CommandError(str(error)) from None

    def _serve(self) -> None:
        with site.running(environment=settings.PORTRAIT, say=self._say) as running:
            self._announce(running)
            try:
                running.serve()
            except StopRequested as request:
                self._say(f"Stopping ({request}) ...")
                raise

    def _announce(self, running: Site) -> None:
        self._say(
            f"Portrait runs.\n"
            f"  web       {running.address}/\n"
            f"  admin     {running.address}/admin/\n"
            f"  API       {running.address}/api/docs/\n"
            f"  health    {running.address}/readyz\n"
            f"  logs      {running.logs}\n"
            f"Ctrl-C stops it."
        )

    def _say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()
