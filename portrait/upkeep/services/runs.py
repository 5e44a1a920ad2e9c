"""Runs: one of a kind at a time, each with its report, whatever becomes of it."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone

from portrait.upkeep.models import UpkeepRun

logger = logging.getLogger(__name__)

DEAD_AFTER = timedelta(hours=1)
"""A run that said nothing for so long was killed."""
KEEP = timedelta(days=90)
VANISHED = "Its process vanished."


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a check found. ok: nothing that needs a person. report: JSON, counts and the first few ids of each fault."""

    ok: bool
    report: dict[str, Any]


StillHere = Callable[[], None]
"""To be called now and then by whoever takes long."""


def run(*, kind: UpkeepRun.Kind, work: Callable[[StillHere], Outcome]) -> UpkeepRun | None:
    """Do a kind of work and keep its report; None where one of this kind is going on already.

    Raises:
        Exception: whatever `work` raised, noted in the row as well.
    """
    row = _begin(kind)
    if row is None:
        return None
    try:
        outcome = work(lambda: _say_alive(row))
    except BaseException as error:
        _end(row, error=f"{type(error).__name__}: {error}", ok=False)
        raise
    _end(row, ok=outcome.ok, report=outcome.report)
    if not outcome.ok:
        logger.warning("%s found something: manage.py upkeep status", kind)
    row.refresh_from_db()
    return row


def _begin(kind: UpkeepRun.Kind) -> UpkeepRun | None:
    now = timezone.now()
    dead = UpkeepRun.objects.filter(kind=kind, ended_at=None, alive_at__lt=now - DEAD_AFTER)
    dead.update(ended_at=now, ok=False, error=VANISHED)
    UpkeepRun.objects.filter(kind=kind, ended_at__lt=now - KEEP).delete()
    try:
        with transaction.atomic():
            return UpkeepRun.objects.create(kind=kind)
    except IntegrityError:
        return None


def _say_alive(row: UpkeepRun) -> None:
    UpkeepRun.objects.filter(pk=row.pk).update(alive_at=timezone.now())


def _end(row: UpkeepRun, **values: Any) -> None:
    UpkeepRun.objects.filter(pk=row.pk, ended_at=None).update(ended_at=timezone.now(), **values)
