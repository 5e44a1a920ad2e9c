"""`make drill`: everything dies while frames come in, and none is lost."""

from django.apps import AppConfig


class DrillConfig(AppConfig):
    name = "portrait.drill"
