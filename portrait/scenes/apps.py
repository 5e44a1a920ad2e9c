"""What pictures show: captions and segmented objects."""

from django.apps import AppConfig


class ScenesConfig(AppConfig):
    name = "portrait.scenes"

    def ready(self) -> None:
        import importlib.util  # TEMPORARY (lead): other helpers' tests must start while these are being written; remove

        from portrait.jobs.registry import register

        if not all(importlib.util.find_spec(f"portrait.scenes.{each}") for each in ("following", "tasks")):
            return
        from portrait.scenes import following, tasks  # noqa: F401  (connects what follows frames and people)

        for kind, handler in tasks.HANDLERS.items():
            register(kind, handler, present=getattr(handler, "present", None))
