"""Describe what the database holds: `manage.py describe`."""

from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db.models import QuerySet

from inference.config import SceneTask
from inference.errors import ServerError
from portrait.cameras.models import Frame
from portrait.cameras.selectors import cameras_named
from portrait.core.errors import PortraitError
from portrait.gallery.models import Collection, Portrait
from portrait.jobs.selectors import open_items
from portrait.scenes.models import Caption, Segmentation
from portrait.scenes.selectors import untold
from portrait.scenes.services.cameras import check_model
from portrait.scenes.services.due import DESCRIBE_FRAMES, QUEUE
from portrait.scenes.services.engines import chosen
from portrait.scenes.services.looking import DEFAULT, DESCRIBE
from portrait.scenes.tasks import DESCRIBE_PORTRAITS, start_describing

ITEMS_A_JOB = 1000
READ_AT_ONCE = 2000
MOST_WAITING = 5000
"""Pictures of a collection; the queue takes twice as many."""


class Command(BaseCommand):
    """Enqueues portraits and frames as jobs; what is told of them is stored with them."""

    help = "Write captions of stored portraits and frames and find their objects, through the queue `scenes`."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--collection", help="only of this collection (name)")
        parser.add_argument("--camera", action="append", default=[], help="only frames of this camera; repeatable")
        parser.add_argument("--portraits", action="store_true", help="only portraits")
        parser.add_argument("--missing", action="store_true", help="only what these models told nothing of yet")
        parser.add_argument(
            "--caption-model", help="a model, default, describe, or empty for none; with no model named: both defaults"
        )
        parser.add_argument(
            "--segment-model", help="a model, default, or empty for none; neither given: default of both"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["camera"] and options["portraits"]:
            raise CommandError("Name either --camera or --portraits.")
        try:
            jobs = self._jobs(options, self._models(options))
        except (PortraitError, ServerError) as error:
            raise CommandError(str(error)) from None
        if not jobs:
            self.stdout.write("There is nothing to describe.")

    def _models(self, options: dict[str, Any]) -> dict[str, str]:
        """By their own names, so that it can be told what they told nothing of."""
        asked = {"caption_model": options["caption_model"], "segment_model": options["segment_model"]}
        if all(name is None for name in asked.values()):
            asked = dict.fromkeys(asked, DEFAULT)
        asked = {field: name or "" for field, name in asked.items()}
        tasks = {"caption_model": SceneTask.CAPTIONING, "segment_model": SceneTask.SEGMENTATION}
        if not any(asked.values()):
            raise CommandError("Name a model: --caption-model or --segment-model.")
        for field, name in asked.items():
            check_model(name, tasks[field], field=field)
            if name and name != DESCRIBE:
                asked[field] = chosen(tasks[field], None if name == DEFAULT else name)
        return asked

    def _jobs(self, options: dict[str, Any], models: dict[str, str]) -> int:
        made = 0
        for kind, collection_id, subjects in self._batches(options, models):
            if open_items(collection_id, QUEUE) + len(subjects) > MOST_WAITING:
                self.stdout.write(
                    f"{MOST_WAITING} pictures wait already, which leaves the cameras room for theirs: run this again "
                    "with --missing when they are done."
                )
                return max(made, 1)
            job = start_describing(kind=kind, collection_id=collection_id, subjects=subjects, **models)
            self.stdout.write(f"{len(subjects)} to do: GET /api/v1/jobs/{job.pk}")
            made += 1
        return made

    def _batches(
        self, options: dict[str, Any], models: dict[str, str]
    ) -> Iterator[tuple[str, UUID, list[dict[str, Any]]]]:
        if not options["camera"]:
            portraits = _only(options, Portrait.objects.all(), "identity__collection", "portrait", models)
            yield from _grouped(DESCRIBE_PORTRAITS, "portrait", portraits, "identity__collection_id")
        if not options["portraits"]:
            frames = Frame.objects.exclude(picture="")
            if options["camera"]:
                frames = frames.filter(camera__in=cameras_named(options["camera"]))
            chosen_frames = _only(options, frames, "camera__collection", "frame", models)
            yield from _grouped(DESCRIBE_FRAMES, "frame", chosen_frames, "camera__collection_id")


def _only(
    options: dict[str, Any], rows: "QuerySet[Any]", collection: str, name: str, models: dict[str, str]
) -> "QuerySet[Any]":
    if options["collection"]:
        found = Collection.objects.filter(name=options["collection"]).first()
        if found is None:
            raise CommandError(f"There is no collection {options['collection']!r}.")
        rows = rows.filter(**{collection: found})
    if not options["missing"]:
        return rows
    kinds = {"caption_model": Caption.objects.all(), "segment_model": Segmentation.objects.all()}
    lacking = [untold(rows, kinds[field], model=model, name=name) for field, model in models.items() if model]
    return lacking[0] if len(lacking) == 1 else lacking[0] | lacking[1]


def _grouped(
    kind: str, name: str, rows: "QuerySet[Any]", collection: str
) -> Iterator[tuple[str, UUID, list[dict[str, Any]]]]:
    """Jobs of at most `ITEMS_A_JOB`, each of one collection."""
    found = rows.order_by(collection, "pk").values_list(collection, "pk").iterator(READ_AT_ONCE)
    for collection_id, group in groupby(found, key=itemgetter(0)):
        keys = [{name: key if name == "frame" else str(key)} for _, key in group]
        for start in range(0, len(keys), ITEMS_A_JOB):
            yield kind, collection_id, keys[start : start + ITEMS_A_JOB]
