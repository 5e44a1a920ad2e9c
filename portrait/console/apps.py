"""Pages for people: the admin as a team uses it every day."""

from django.apps import AppConfig


class ConsoleConfig(AppConfig):
    name = "portrait.console"
