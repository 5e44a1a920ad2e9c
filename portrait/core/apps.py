"""The foundation that every other app stands on."""

from django.apps import AppConfig


class CoreConfig(AppConfig):
    name = "portrait.core"

    def ready(self) -> None:
        import portrait.celery  # noqa: F401  (tasks enqueued from the web process need the configured app)
        from portrait.core import auth  # noqa: F401  (registers how OpenAPI describes the keys)
