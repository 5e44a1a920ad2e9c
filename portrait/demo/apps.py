"""`make demo`: the main job, end to end, the way a client does it."""

from django.apps import AppConfig


class DemoConfig(AppConfig):
    name = "portrait.demo"
