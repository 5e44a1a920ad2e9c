"""`manage.py audit list|verify|export|head`: the audit log on the command line."""

import json
import sys
from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils.dateparse import parse_datetime
from rich.console import Console
from rich.table import Table

from portrait.audit import selectors
from portrait.audit.api import AuditEntrySerializer, filtered
from portrait.audit.models import Action, AuditEntry
from portrait.audit.services import record, seal, system

CHUNK = 1000


class Command(BaseCommand):
    help = "List, verify and export the audit log: who asked what about whom."

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="do", required=True)
        for name, text in (("list", "the newest entries"), ("export", "all entries as JSON lines, the oldest first")):
            told = actions.add_parser(name, help=text)
            told.add_argument("--actor")
            told.add_argument("--action", dest="of_action", choices=Action.values)
            told.add_argument("--collection", metavar="ID")
            told.add_argument("--since", type=parse_datetime, metavar="TIME")
            told.add_argument("--until", type=parse_datetime, metavar="TIME")
        actions.choices["list"].add_argument("--limit", type=int, default=30)
        checking = actions.add_parser("verify", help="whether an entry was changed or taken out; fails if so")
        checking.add_argument("--noted", action="append", default=[], metavar="POSITION:HASH", help="see `audit head`")
        actions.add_parser("head", help="the end of the chain: note it where nobody of this machine can change it")

    def handle(self, *args: Any, do: str, **options: Any) -> None:
        actions: dict[str, Callable[..., None]] = {
            "list": self._list,
            "export": self._export,
            "verify": self._verify,
            "head": self._head,
        }
        actions[do](**options)

    def _entries(self, *, do: str, **options: Any) -> Any:
        names = {
            "actor": "actor",
            "of_action": "action",
            "collection": "collection",
            "since": "since",
            "until": "until",
        }
        asked = {name: options[option] for option, name in names.items()}
        entries = filtered(AuditEntry.objects.all(), **asked)
        record(principal=system(f"manage.py audit {do}"), action=Action.READ, collection_id=None)
        return entries

    def _list(self, *, limit: int, **options: Any) -> None:
        table = Table("id", "at", "actor", "action", "collection", "found", "details", box=None)
        for entry in self._entries(do="list", **options).order_by("-id")[:limit]:
            table.add_row(
                str(entry.pk),
                f"{entry.at:%Y-%m-%d %H:%M:%S}",
                entry.actor,
                entry.action,
                str(entry.collection_id or ""),
                str(len(entry.subjects)),
                json.dumps(entry.details),
            )
        Console(file=sys.stdout if self.stdout is None else self.stdout, width=200).print(table)  # type: ignore[arg-type]

    def _export(self, **options: Any) -> None:
        entries = self._entries(do="export", **options).order_by("id")
        for entry in entries.iterator(CHUNK):
            told = AuditEntrySerializer(entry, context={"people": selectors.people_in([entry])}).data
            self.stdout.write(json.dumps(told, default=str))

    def _verify(self, *, noted: list[str], **options: Any) -> None:
        late = selectors.late()
        seal()
        found = selectors.verify(noted=[_noted(each) for each in noted])
        for fault in found.faults:
            self.stderr.write(fault)
        told = f"{found.entries} entries, {found.links} links, {found.unsealed} not sealed yet"
        if found.checkpoint:
            told += f", {found.checkpoint} older links removed by rule"
        if not found.intact:
            raise CommandError(f"The audit log is not as it was written: {told}.")
        if late:
            raise CommandError(
                f"{late} entries waited for their place in the chain for more than {selectors.LATE}, and one that was "
                "removed meanwhile is not missed: is 'audit: chain new entries' off in the schedule? "
                f"Else all is well: {told}."
            )
        self.stdout.write(f"The audit log is as it was written: {told}. Its end is {found.head[0]}:{found.head[1]}")

    def _head(self, **options: Any) -> None:
        seal()
        position, digest = selectors.head()
        self.stdout.write(f"{position}:{digest.hex()}")


def _noted(text: str) -> tuple[int, str]:
    position, _, digest = text.partition(":")
    if not position.isdigit() or len(digest) != 64:
        raise CommandError(f"{text!r} is no end of a chain: POSITION:HASH, as `manage.py audit head` writes it.")
    return int(position), digest
