"""What pictures show: captions and segmented objects."""

from django.apps import AppConfig


class ScenesConfig(AppConfig):
    name = "portrait.scenes"

    def ready(self) -> None:
        from portrait.jobs.registry import register
        from portrait.scenes import following, tasks  # noqa: F401  (connects what follows frames and people)

        for kind, handler in tasks.HANDLERS.items():
            register(kind, handler, present=getattr(handler, "present", None))
