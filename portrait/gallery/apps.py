"""The portrait database."""

from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_migrate


def _after_migrate(**kwargs: Any) -> None:
    from portrait.gallery.services.identities import ensure_defaults

    ensure_defaults()


class GalleryConfig(AppConfig):
    name = "portrait.gallery"

    def ready(self) -> None:
        from portrait.gallery import files  # noqa: F401  (connects the deletion of files)
        from portrait.gallery.tasks import ENROL, EnrolHandler
        from portrait.jobs.registry import register

        register(ENROL, EnrolHandler())
        post_migrate.connect(_after_migrate, sender=self)
