"""A person's rights in their data: export, erasure with proof, retention."""

from django.apps import AppConfig


class PrivacyConfig(AppConfig):
    name = "portrait.privacy"

    def ready(self) -> None:
        from portrait.jobs.registry import register
        from portrait.privacy import files  # noqa: F401  (connects what follows a person)
        from portrait.privacy.services.exporting import KIND
        from portrait.privacy.tasks import ExportHandler

        register(KIND, ExportHandler())
