"""Pages for people: the admin as a team uses it every day."""

from django.apps import AppConfig


class ConsoleConfig(AppConfig):
    name = "portrait.console"

    def ready(self) -> None:
        from portrait.console import following  # noqa: F401
        from portrait.console.bulk import KIND, EditHandler
        from portrait.jobs.registry import register

        register(KIND, EditHandler())
