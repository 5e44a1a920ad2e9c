"""Celery's side of the audit log."""

from celery import shared_task

from portrait.audit import services


@shared_task
def seal() -> None:
    """Give new entries their place in the chain."""
    services.seal()
