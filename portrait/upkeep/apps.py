"""What keeps a long-lived installation in order: checks and repairs by schedule."""

from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_migrate


def _after_migrate(**kwargs: Any) -> None:
    from portrait.upkeep.schedule import ensure_schedule

    ensure_schedule()


class UpkeepConfig(AppConfig):
    name = "portrait.upkeep"

    def ready(self) -> None:
        from portrait.upkeep import following  # noqa: F401  (connects the erasure)

        post_migrate.connect(_after_migrate, sender=self)
