"""`manage.py demo`, what `make demo` runs."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils.text import slugify
from rich.console import Console

from portrait.demo import photos as demo_photos
from portrait.demo import run
from portrait.demo.annotate import clean_folder
from portrait.demo.client import ApiClient
from portrait.demo.scene import show_scene
from portrait.embedded import site
from portrait.embedded.errors import EmbeddedError
from portrait.embedded.signals import StopRequested, stop_on_signals
from portrait.embedded.site import Site


def _collection(folder: Path | None) -> str:
    """Where the people go: those of one folder do not meet those of another."""
    return f"photos-{slugify(folder.resolve().name)[:40]}" if folder else "demo"


class Command(BaseCommand):
    help = "Start everything, enrol people, recognise faces in other pictures, show the result, keep serving."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--once", action="store_true", help="stop after the table")
        parser.add_argument("--photos", type=Path, help="your own: DIR/<person>/*.jpg to enrol, DIR/*.jpg to recognise")

    def handle(self, *args: Any, **options: Any) -> None:
        folder = options["photos"]
        photos = demo_photos.from_folder(folder) if folder else demo_photos.built_in()
        console = Console(width=None if self.stdout.isatty() else 150)
        try:
            with (
                stop_on_signals(),
                site.running(
                    environment=settings.PORTRAIT, say=lambda text: console.print(text, highlight=False)
                ) as running,
            ):
                good = self._show(running, photos, _collection(folder), console)
                if options["once"]:
                    if not good:
                        raise CommandError("The demo did not give what it should: see the tables above.")
                    return
                console.print("Portrait keeps serving; Ctrl-C stops it.")
                running.serve()
        except StopRequested:
            console.print("Everything is stopped.")
        except EmbeddedError as error:
            raise CommandError(str(error)) from None

    def _show(self, running: Site, photos: demo_photos.PhotoSet, collection: str, console: Console) -> bool:
        var = settings.PORTRAIT.var
        key, password = run.api_key(var), run.admin_password(var)
        api = ApiClient(running.address, key)
        clean_folder(var / "demo")
        enrolled = run.enrol(api, collection, photos, console)
        results = run.recognise(api, collection, photos, var / "demo", console)
        scene_right = show_scene(api, var / "demo", console)
        right = sum(result.right for result in results)
        known = [result for result in results if result.photo.expected is not None]
        verdict = f"{right} of {len(known)} pictures right. " if known else ""
        console.print(
            f"{verdict}Annotated pictures: {var / 'demo'}\n\n"
            f"  admin     {running.address}/admin/    user {run.ADMIN}, password {password}\n"
            f"  API       {running.address}/api/docs/\n"
            f"  API key   {key}\n"
            f"  try       curl -s -H 'Authorization: Api-Key {key}' {running.address}/api/v1/identities\n",
            highlight=False,
            soft_wrap=True,
        )
        return enrolled and scene_right and right == len(results)
