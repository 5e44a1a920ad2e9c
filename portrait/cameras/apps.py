"""Cameras and their frames."""

from django.apps import AppConfig


class CamerasConfig(AppConfig):
    name = "portrait.cameras"

    def ready(self) -> None:
        from portrait.cameras import files  # noqa: F401  (connects the deletion of files)
        from portrait.cameras.services.cameras import delete_cameras_of
        from portrait.gallery.signals import collection_going

        collection_going.connect(delete_cameras_of)
