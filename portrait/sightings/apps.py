"""What was seen, by whom, and when."""

from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_migrate


def _after_migrate(**kwargs: Any) -> None:
    from portrait.sightings.indexes import ensure_indexes

    ensure_indexes()


class SightingsConfig(AppConfig):
    name = "portrait.sightings"

    def ready(self) -> None:
        from portrait.cameras.services.audit import OtherStore, register_store
        from portrait.jobs.registry import register
        from portrait.sightings import files
        from portrait.sightings.models import Sighting
        from portrait.sightings.services import history, journaling

        register(history.HISTORY, history.HistoryHandler())
        journaling.connect()

        storage = Sighting._meta.get_field("picture").storage
        register_store(OtherStore("sightings", lambda: storage, files.named))
        post_migrate.connect(_after_migrate, sender=self)
