"""What people are asked about identities: suggestions, and the queue of those that wait for an answer."""

from django.apps import AppConfig


class CurationConfig(AppConfig):
    name = "portrait.curation"

    def ready(self) -> None:
        from portrait.curation import following  # noqa: F401  (connects what follows edits and people)
        from portrait.curation.services.starting import SUGGEST
        from portrait.curation.tasks import SuggestHandler
        from portrait.jobs.registry import register

        register(SUGGEST, SuggestHandler())
