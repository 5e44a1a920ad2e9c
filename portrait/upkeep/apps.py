"""What keeps a long-lived installation in order: checks and repairs by schedule."""

from django.apps import AppConfig


class UpkeepConfig(AppConfig):
    name = "portrait.upkeep"
