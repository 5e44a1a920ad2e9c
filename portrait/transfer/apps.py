"""Import and export of whole collections."""

from django.apps import AppConfig


class TransferConfig(AppConfig):
    name = "portrait.transfer"

    def ready(self) -> None:
        from portrait.jobs.registry import register
        from portrait.transfer import following  # noqa: F401  (connects the erasure)
        from portrait.transfer.services.imports import KIND
        from portrait.transfer.tasks import ImportHandler

        register(KIND, ImportHandler())
