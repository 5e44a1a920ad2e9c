"""What the schedule starts; each is safe to run twice, and at the same time."""

from celery import shared_task

from portrait.upkeep.services import indexes, integrity, ledger


@shared_task
def check_integrity() -> None:
    """Rows against files, rows against each other."""
    integrity.check()


@shared_task
def check_ledger() -> None:
    """Is every frame accounted for?"""
    ledger.check()


@shared_task
def keep_indexes() -> None:
    """Statistics and indexes of the database."""
    indexes.check()
