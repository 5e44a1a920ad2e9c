"""`manage.py camera add|list|remove`: cameras, for people at the command line."""

from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError

from portrait.cameras.addresses import masked
from portrait.cameras.models import Camera
from portrait.cameras.selectors import cameras_named
from portrait.cameras.services.cameras import create_camera, delete_camera
from portrait.core.errors import PortraitError
from portrait.gallery.models import DEFAULT_COLLECTION, Collection

_SETTINGS = ("fps", "min_hits", "window_s", "gap_s", "window_mode", "keep_frames_h", "keep_unnamed_h", "keep_named_h")


class Command(BaseCommand):
    help = "Add, list and remove cameras. `watch_cameras` reads them."

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        add = actions.add_parser("add", help="make a camera")
        add.add_argument("name")
        add.add_argument("--source", default="", help=str(Camera._meta.get_field("source").help_text))
        add.add_argument("--collection", default=DEFAULT_COLLECTION, metavar="NAME")
        add.add_argument("--disabled", action="store_true", help="make it switched off")
        for name in _SETTINGS:
            field: Any = Camera._meta.get_field(name)
            kind = {"FloatField": float, "CharField": str}.get(field.get_internal_type(), int)
            add.add_argument(f"--{name.replace('_', '-')}", type=kind, help=field.help_text)
        actions.add_parser("list", help="show the cameras and how their reading goes")
        remove = actions.add_parser("remove", help="delete a camera, its frames and what was seen in them")
        remove.add_argument("name", help="NAME, COLLECTION/NAME or id")
        remove.add_argument("--yes", action="store_true", help="do not ask")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            getattr(self, f"_{options['action']}")(options)
        except PortraitError as error:
            raise CommandError(error.message) from None

    def _add(self, options: dict[str, Any]) -> None:
        collection = Collection.objects.filter(name=options["collection"]).first()
        if collection is None:
            raise CommandError(f"There is no collection {options['collection']!r}.")
        values = {name: options[name] for name in _SETTINGS if options[name] is not None}
        values |= {"enabled": not options["disabled"]}
        try:  # the rules of single fields
            Camera(name=options["name"], source=options["source"], **values).clean_fields(exclude=["collection"])
        except ValidationError as error:
            told = [f"{name}: {' '.join(texts)}" for name, texts in error.message_dict.items()]
            raise CommandError("\n".join(told)) from None
        camera = create_camera(collection=collection, name=options["name"], source=options["source"], **values)
        self.stdout.write(f"{collection.name}/{camera.name} {camera.pk}")

    def _list(self, options: dict[str, Any]) -> None:
        for camera in cameras_named([]):
            status = getattr(camera, "status", None)
            state = "off" if not camera.enabled else status.state if status else "idle"
            lag = "" if status is None or status.lag_s is None else f"  lag {status.lag_s:.1f} s"
            counts = f"{status.captured} captured, {status.not_taken} not taken" if status else ""
            source = masked(camera.source) or "(its frames are pushed)"
            self.stdout.write(f"{camera.collection.name}/{camera.name}  {state}  {counts}{lag}  {source}")
            if status and status.message:
                self.stdout.write(f"    {status.message}")

    def _remove(self, options: dict[str, Any]) -> None:
        (camera,) = cameras_named([options["name"]])
        label = f"{camera.collection.name}/{camera.name}"
        if not options["yes"] and input(f"Delete {label} and everything it saw? Type its name: ") != camera.name:
            raise CommandError("Nothing was deleted.")
        delete_camera(camera=camera)
        self.stdout.write(f"Deleted {label}.")
