"""From one embedding model to another while everything goes on."""

from django.apps import AppConfig


class ReindexConfig(AppConfig):
    name = "portrait.reindex"
    verbose_name = "Re-index"

    def ready(self) -> None:
        from portrait.jobs.registry import register
        from portrait.reindex.handlers import ReindexHandler, RetireHandler
        from portrait.reindex.services.planning import REINDEX
        from portrait.reindex.services.retiring import RETIRE

        register(REINDEX, ReindexHandler())
        register(RETIRE, RetireHandler())
