"""`manage.py retention show|run|set|unset`: how long what is kept, and what goes by that."""

from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db.models import QuerySet

from portrait.audit.services import system
from portrait.cameras.models import Camera
from portrait.core.errors import PortraitError
from portrait.gallery.models import Collection, Identity
from portrait.privacy.models import OF_THE_INSTALLATION, Purpose, RetentionRule
from portrait.privacy.services.retention import Removed, run
from portrait.privacy.services.rules import remove_rule, save_rule

CALLER = system("manage.py retention")


class Command(BaseCommand):
    help = "Show and change how long what is kept, and remove what is kept no longer."

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="do", required=True)
        actions.add_parser("show", help="the rules, and those of the cameras")
        running = actions.add_parser("run", help="remove what is due")
        running.add_argument("--dry-run", action="store_true", help="only tell what would go, and whom")
        setting = actions.add_parser("set", help="keep something for so many days")
        setting.add_argument("purpose", choices=Purpose.values)
        setting.add_argument("days", type=int)
        unsetting = actions.add_parser("unset", help="keep it for good")
        unsetting.add_argument("purpose", choices=Purpose.values)
        for each in (setting, unsetting):
            each.add_argument(
                "--collection", metavar="NAME", help="only there; else in all without a rule of their own"
            )

    def handle(self, *args: Any, do: str, **options: Any) -> None:
        actions: dict[str, Callable[..., None]] = {
            "show": self._show,
            "run": self._run,
            "set": self._set,
            "unset": self._unset,
        }
        actions[do](**options)

    def _show(self, **options: Any) -> None:
        found = {
            (rule.purpose, rule.collection_id): rule for rule in RetentionRule.objects.select_related("collection")
        }
        for purpose in Purpose:
            general = found.pop((purpose.value, None), None)
            days = f"{general.days} days" if general else "for good"
            self.stdout.write(f"{purpose.value:12} {days:12} {purpose.label}")
            for rule in [rule for (name, _), rule in found.items() if name == purpose]:
                self.stdout.write(f"{'':12} {rule.days} days in {rule.collection}")
        for camera in Camera.objects.order_by("name"):
            named = f"{camera.keep_named_h} h" if camera.keep_named_h is not None else "until deleted"
            self.stdout.write(
                f"camera {camera.name}: pictures {camera.keep_frames_h} h, unknown people {camera.keep_unnamed_h} h, "
                f"known people {named}"
            )

    def _run(self, *, dry_run: bool, **options: Any) -> None:
        removed = run(dry_run=dry_run)
        for each in removed:
            self.stdout.write(_line(each))
            self._people(each)
        if not removed:
            self.stdout.write("Nothing is due.")

    def _people(self, removed: Removed) -> None:
        """Whom it would be about: in a dry run only."""
        names = dict(Identity.objects.filter(pk__in=removed.people).values_list("pk", "name"))
        for key in removed.people:
            self.stdout.write(f"{'':12} {key} {names.get(key, '')}")
        if removed.people and removed.count > len(removed.people):
            self.stdout.write(f"{'':12} and {removed.count - len(removed.people)} more")

    def _set(self, *, purpose: str, days: int, collection: str | None, **options: Any) -> None:
        if days < 1:
            raise CommandError("Days: at least 1. To keep something for good: retention unset.")
        if collection is not None and purpose in OF_THE_INSTALLATION:
            raise CommandError(f"Of {purpose!r} there is one rule for all collections.")
        where = _collection(collection)
        rule = _rules(purpose, where).first() or RetentionRule(purpose=purpose, collection=where)
        rule.days = days
        try:
            save_rule(rule=rule, principal=CALLER)
        except PortraitError as error:
            raise CommandError(error.message) from None
        self.stdout.write(f"{purpose}: {days} days in {where or 'all collections without a rule of their own'}.")

    def _unset(self, *, purpose: str, collection: str | None, **options: Any) -> None:
        where = _collection(collection)
        rule = _rules(purpose, where).first()
        if rule is None:
            raise CommandError("There is no such rule.")
        remove_rule(rule=rule, principal=CALLER)
        self.stdout.write(f"{purpose}: no rule any more.")


def _rules(purpose: str, collection: Collection | None) -> "QuerySet[RetentionRule]":
    return RetentionRule.objects.filter(purpose=purpose, collection=collection)


def _collection(name: str | None) -> Collection | None:
    if name is None:
        return None
    found = Collection.objects.filter(name=name).first()
    if found is None:
        raise CommandError(f"There is no collection {name!r}.")
    return found


def _line(removed: Removed) -> str:
    where = f" in {removed.collection}" if removed.collection else ""
    return f"{removed.purpose:12} {removed.count:8}{where}: {removed.why}"
