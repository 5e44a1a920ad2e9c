"""`manage.py frames audit|list|retry`: the ledger of frames."""

import json
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db.models import QuerySet
from rich.console import Console
from rich.table import Table

from portrait.cameras.models import Camera, Frame, FrameState
from portrait.cameras.selectors import cameras_named
from portrait.cameras.services.audit import LISTED, audit_camera, leftovers, orphans_elsewhere
from portrait.cameras.services.balance import CameraAudit
from portrait.cameras.services.reopen import reopen
from portrait.core.errors import PortraitError

TABLE_WIDTH = 120
COLUMNS = ("camera", "accepted", "done", "failed", "waiting", "expired", "pruned", "lost", "no file", "orphans")
FORMULA = "accepted = done + failed + waiting + expired + pruned (rows that retention took away) + lost"


RESULTS = ("lost_rows", "missing", "never_received", "balanced")


class Command(BaseCommand):
    help = "Account for every frame, list frames with their reasons, and do failed ones again."

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        audit = actions.add_parser("audit", help="prove that no frame is lost; fails if one is")
        audit.add_argument("--json", action="store_true", help="print the account as JSON")
        gaps = audit.add_mutually_exclusive_group()
        gaps.add_argument(
            "--gaps",
            action="store_const",
            const=True,
            help="sequences never received are lost frames for pushed cameras too: their clients count without a hole",
        )
        gaps.add_argument(
            "--ignore-gaps",
            dest="gaps",
            action="store_const",
            const=False,
            help="sequences never received are no loss, even of cameras that Portrait reads",
        )
        audit.add_argument("--delete-orphans", action="store_true", help="remove files that nothing names")
        listing = actions.add_parser("list", help="the newest frames of a state, with the reason of a failure")
        listing.add_argument("--state", choices=FrameState.values, default=FrameState.FAILED)
        listing.add_argument("--limit", type=int, default=50)
        retry = actions.add_parser("retry", help="let failed frames be processed again")
        for each in (listing, retry):
            each.add_argument("--code", help="only frames that failed for this reason")
        for each in (audit, listing, retry):
            each.add_argument(
                "--camera", action="append", metavar="NAME", help="NAME, COLLECTION/NAME or id (repeat for more)"
            )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            cameras = cameras_named(options["camera"] or [])
        except PortraitError as error:
            raise CommandError(error.message) from error
        getattr(self, f"_{options['action']}")(cameras, options)

    def _audit(self, cameras: list[Camera], options: dict[str, Any]) -> None:
        delete = options["delete_orphans"]
        audits = [audit_camera(camera=camera, delete_orphans=delete) for camera in cameras]
        strays, stray_count = ((), 0) if options["camera"] else leftovers(delete=delete)
        elsewhere = {} if options["camera"] else orphans_elsewhere(delete=delete)
        lost = sum(audit.lost(gaps=options["gaps"]) for audit in audits)
        if options["json"]:
            told = [asdict(audit) | {name: getattr(audit, name) for name in RESULTS} for audit in audits]
            orphans = {"files": strays, "count": stray_count}
            others = {root: {"files": files, "count": count} for root, (files, count) in elsewhere.items()}
            account = {"cameras": told, "orphans_of_no_camera": orphans, "orphans_elsewhere": others, "lost": lost}
            self.stdout.write(json.dumps(account, indent=2))
        else:
            self._tell(audits, gaps=options["gaps"])
            self._listed("belong to no camera", strays, stray_count)
            for root, (files, count) in elsewhere.items():
                self._listed(f"are files under {root}/ that nothing names", files, count)
            if delete:
                self.stdout.write("The files that nothing names were deleted.")
        if lost:
            raise CommandError(f"{lost} frame(s) are lost.", returncode=1)
        if not options["json"]:
            self.stdout.write("No frame is lost.")

    def _tell(self, audits: list[CameraAudit], *, gaps: bool | None) -> None:
        table = Table(*COLUMNS)
        for audit in audits:
            counts = (audit.accepted, audit.done, audit.failed, audit.waiting, audit.expired, audit.pruned)
            faults = (audit.lost_rows, audit.without_file_count, audit.orphan_count)
            table.add_row(f"{audit.collection}/{audit.camera}", *(str(count) for count in (*counts, *faults)))
        self._print(table)
        self.stdout.write(FORMULA)
        for audit in audits:
            self._details(audit, gaps=gaps)

    def _details(self, audit: CameraAudit, *, gaps: bool | None) -> None:
        name = f"{audit.collection}/{audit.camera}"
        if audit.lost_rows > 0:
            self.stdout.write(f"{name}: LOST: the rows of {audit.lost_rows} accepted frame(s) are gone")
        if audit.lost_rows < 0:
            self.stdout.write(f"{name}: {-audit.lost_rows} row(s) more than were accepted: somebody added them by hand")
        if audit.gaps:
            self.stdout.write(f"{name}: {_of_gaps(audit, gaps)}")
        self._listed(f"are frames of {name} whose picture is missing", audit.without_file, audit.without_file_count)
        self._listed(f"are files of {name} that no frame names", audit.orphans, audit.orphan_count)
        if audit.not_taken:
            self.stdout.write(
                f"{name}: {audit.not_taken} frame(s) of the source could not be stored, by its reader's count"
            )

    def _listed(self, what: str, items: tuple[Any, ...], count: int) -> None:
        if count:
            more = f" and {count - len(items)} more" if count > len(items) else ""
            self.stdout.write(f"{count} {what}: {', '.join(str(item) for item in items)}{more}")

    def _list(self, cameras: list[Camera], options: dict[str, Any]) -> None:
        frames = self._frames(cameras, options).filter(state=options["state"]).select_related("camera__collection")
        table = Table("frame", "camera", "sequence", "captured", "state", "tries", "reason", "message")
        for frame in frames.order_by("-id")[: options["limit"]]:
            table.add_row(
                str(frame.pk),
                f"{frame.camera.collection.name}/{frame.camera.name}",
                str(frame.sequence),
                f"{frame.captured_at:%Y-%m-%d %H:%M:%S}",
                str(frame.state),
                str(frame.attempts),
                frame.error_code,
                frame.error_message,
            )
        self._print(table)

    def _retry(self, cameras: list[Camera], options: dict[str, Any]) -> None:
        done = reopen(frames=self._frames(cameras, options))
        self.stdout.write(f"{done.waiting} frame(s) wait again.")
        if done.without_picture:
            self.stdout.write(f"{done.without_picture} cannot be done again: their pictures are gone.")

    def _frames(self, cameras: list[Camera], options: dict[str, Any]) -> "QuerySet[Frame]":
        frames = Frame.objects.filter(camera__in=cameras) if options["camera"] else Frame.objects.all()
        return frames.filter(error_code=options["code"]) if options["code"] else frames

    def _print(self, table: Table) -> None:
        console = Console(width=max(Console().width, TABLE_WIDTH))
        with console.capture() as capture:
            console.print(table)
        self.stdout.write(capture.get())


def _of_gaps(audit: CameraAudit, gaps: bool | None) -> str:
    """The sequences without a frame, and what they mean."""
    listed = [f"{gap.first}" if gap.first == gap.last else f"{gap.first}-{gap.last}" for gap in audit.gaps]
    ranges = ", ".join(listed) + (", ..." if len(audit.gaps) >= LISTED else "")
    if not audit.never_received:
        return f"the lost rows had the sequences {ranges}"
    what = "sequences never received" if audit.lost_rows <= 0 else "sequences never received, or of lost rows"
    counted = audit.source_read if gaps is None else gaps
    if audit.source_read:
        means = (
            f"LOST: {audit.never_received} frame(s) were taken from the source and could not be stored (--ignore-gaps "
            "does not count them)"
            if counted
            else "frames of the source that could not be stored; not counted, as --ignore-gaps says"
        )
    else:
        means = (
            f"LOST: {audit.never_received}, as --gaps says that its client counts without a hole"
            if counted
            else "no loss: whoever pushes counts (--gaps counts them as lost)"
        )
    return f"{what}: {ranges}: {means}"
