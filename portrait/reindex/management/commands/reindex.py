"""Search collections by another embedding model: `manage.py reindex --model NAME`."""

import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from portrait.core.errors import PortraitError
from portrait.gallery.models import DEFAULT_COLLECTION, Collection
from portrait.reindex import selectors, tasks
from portrait.reindex.models import OPEN, Reindex, State
from portrait.reindex.services import ending, retiring, starting, switching

LOOK_EVERY_S = 1.0


class Command(BaseCommand):
    help = (
        "Give a collection the vectors of another embedding model and search it by them, while everything goes on. "
        "The work is done by the worker of the queue 'reindex'; what it does can be looked at with --status."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        what = parser.add_mutually_exclusive_group(required=True)
        what.add_argument("--model", metavar="NAME", help="begin: to this model (manage.py embedders list)")
        what.add_argument("--status", action="store_true", help="the newest re-index and its report")
        what.add_argument("--switch", action="store_true", help="search by the new vectors: of one that is ready")
        what.add_argument("--abandon", action="store_true", help="give up one that is ready: it makes room for another")
        what.add_argument("--rollback", action="store_true", help="search by the old vectors again")
        what.add_argument("--retire", action="store_true", help="remove the vectors that are not used any more")
        what.add_argument("--fill-missing", action="store_true", help="make what any collection lacks, here and now")
        parser.add_argument("--collection", default=DEFAULT_COLLECTION, help="name; default: default")
        parser.add_argument("--from-pictures", action="store_true", help="the network looks at stored pictures again")
        parser.add_argument("--no-switch", action="store_true", help="stop before the switch: --switch does it then")
        parser.add_argument("--force", action="store_true", help="with --switch: although portraits have no vector")
        parser.add_argument("--wait", action="store_true", help="until it has ended, with a bar")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            self._do(options)
        except PortraitError as error:
            raise CommandError(error.message) from None

    def _do(self, options: dict[str, Any]) -> None:
        if options["fill_missing"]:
            tasks.fill_missing(anew=True)
            return
        collection = Collection.objects.select_related("active_model").filter(name=options["collection"]).first()
        if collection is None:
            raise CommandError(f"There is no collection {options['collection']!r}.")
        ending.settle()
        if options["model"]:
            reindex = self._start(collection, options)
        else:
            reindex = self._newest(collection)
            if options["switch"]:
                switching.switch_by_hand(reindex, force=options["force"])
            elif options["abandon"]:
                ending.abandon(reindex)
            elif options["rollback"]:
                switching.roll_back(reindex)
            elif options["retire"]:
                tasks.enqueue(retiring.retire(reindex=reindex))
        if options["wait"]:
            self._wait(reindex)
        self._tell(reindex)

    def _start(self, collection: Collection, options: dict[str, Any]) -> Reindex:
        reindex = starting.start(
            collection=collection,
            model=starting.find_model(options["model"]),
            from_pictures=options["from_pictures"],
            switch_itself=not options["no_switch"],
        )
        tasks.enqueue(reindex)
        return reindex

    def _newest(self, collection: Collection) -> Reindex:
        found = Reindex.objects.filter(collection=collection).select_related("collection", "from_model", "to_model")
        newest = found.order_by("-created_at").first()
        if newest is None:
            raise CommandError(f"The collection {collection.name!r} was never re-indexed.")
        return newest

    def _wait(self, reindex: Reindex) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True)) as bar:
            shown = bar.add_task(str(reindex.to_model))
            while True:
                ending.settle([reindex.collection_id])
                reindex.refresh_from_db()
                told = selectors.progress_of(reindex)
                bar.update(
                    shown, total=told.rows, completed=told.done, description=f"{reindex.to_model}: {reindex.state}"
                )
                if reindex.state not in OPEN or reindex.state == State.READY:
                    return
                time.sleep(LOOK_EVERY_S)

    def _tell(self, reindex: Reindex) -> None:
        reindex.refresh_from_db()
        told, say = selectors.progress_of(reindex), self.stdout.write
        say(
            f"{reindex}: {reindex.state}, {told.done} of {told.rows} faces"
            + (f", {told.per_s}/s" if told.per_s else "")
        )
        if reindex.error:
            say(f"  {reindex.error}")
        report = reindex.report
        if report:
            agreement, missing = report["agreement"], report["missing"]
            say(
                f"  {report['portraits']} portraits, {report['detections']} seen faces; without a vector: "
                f"{missing['portraits']} and {missing['detections']}"
            )
            if agreement["asked"]:
                say(
                    f"  of {agreement['asked']} portraits {agreement['self_match']:.1%} are found by their own vector; "
                    f"about {agreement['same']:.1%} both models say the same"
                )
            if report["threshold"]["before"] is not None:
                say(
                    "  the collection's threshold {before:.4f} became {after:.4f} ({method})".format(
                        **report["threshold"]
                    )
                )
        if reindex.state in OPEN and reindex.state != State.READY:
            say(f"  GET /api/v1/reindexes/{reindex.pk}; cancel: POST /api/v1/jobs/{reindex.job_id}/cancel")
        if reindex.state == State.FAILED or (reindex.state == State.READY and reindex.error):
            raise SystemExit(1)
