"""`manage.py apikey create|list|revoke`: the keys that open the API."""

from argparse import ArgumentParser
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError

from portrait.cameras.models import Camera
from portrait.cameras.selectors import cameras_named
from portrait.cameras.services.cameras import collections_of
from portrait.core.errors import PortraitError
from portrait.core.models import ApiKey, Scope
from portrait.core.services import create_api_key, revoke_api_keys
from portrait.gallery.models import Collection


class Command(BaseCommand):
    help = "Make, list and revoke API keys. `create` prints only the key: it cannot be shown again."

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        create = actions.add_parser("create", help="make a key and print it")
        create.add_argument("name")
        create.add_argument("--scope", choices=Scope.values, default=Scope.READ)
        create.add_argument(
            "--collection", action="append", metavar="NAME", help="bind the key to this collection (repeat for more)"
        )
        create.add_argument(
            "--camera",
            action="append",
            metavar="NAME",
            help="bind the key to this camera: NAME, COLLECTION/NAME or id (repeat for more)",
        )
        actions.add_parser("list", help="list the keys, without the keys themselves")
        revoke = actions.add_parser("revoke", help="close a key for good")
        revoke.add_argument("prefix", help="the key's first characters, as `list` shows them")

    def handle(self, *args: Any, **options: Any) -> None:
        getattr(self, f"_{options['action']}")(options)

    def _create(self, options: dict[str, Any]) -> None:
        cameras = self._cameras(options["camera"])
        if cameras and options["scope"] == Scope.ADMIN:
            raise CommandError(
                "A key that is bound to cameras sets nothing up, so that the scope admin would open nothing more: use "
                "--scope enrol to push frames, --scope read to look on; or leave --camera out."
            )
        collections = self._collections(options["collection"]) or collections_of(cameras)
        outside = [camera.name for camera in cameras if camera.collection_id not in collections]
        if outside:
            raise CommandError(f"Of another collection than the key's: {', '.join(outside)}.")
        _, key = create_api_key(
            name=options["name"],
            scope=Scope(options["scope"]),
            collection_ids=collections or None,
            camera_ids=[camera.pk for camera in cameras] or None,
        )
        self.stdout.write(key)

    def _collections(self, names: list[str] | None) -> list[UUID]:
        found = dict(Collection.objects.filter(name__in=names or []).values_list("name", "id"))
        if missing := sorted(set(names or []) - set(found)):
            raise CommandError(f"There is no collection {', '.join(missing)}.")
        return list(found.values())

    def _cameras(self, names: list[str] | None) -> list[Camera]:
        try:
            return cameras_named(names) if names else []
        except PortraitError as error:
            raise CommandError(error.message) from error

    def _list(self, options: dict[str, Any]) -> None:
        for key in ApiKey.objects.all():
            state = "revoked" if key.revoked_at else "open"
            bound = "all" if key.collection_ids is None else f"{len(key.collection_ids)} collection(s)"
            if key.camera_ids is not None:
                bound = f"{len(key.camera_ids)} camera(s)"
            used = f"{key.last_used_at:%Y-%m-%d %H:%M}" if key.last_used_at else "never"
            self.stdout.write(f"{key.prefix}  {key.scope:5}  {state:7}  {bound:16}  last used {used}  {key.name}")

    def _revoke(self, options: dict[str, Any]) -> None:
        keys = list(ApiKey.objects.filter(prefix=options["prefix"], revoked_at=None))
        if len(keys) != 1:
            raise CommandError(f"{len(keys)} open keys begin with {options['prefix']!r}; see `manage.py apikey list`.")
        revoke_api_keys(ids=[keys[0].id])
        self.stdout.write(f"Revoked {keys[0].name!r}.")
