"""Django's registration of the app; it has no models, only commands."""

from django.apps import AppConfig


class EmbeddedConfig(AppConfig):
    name = "portrait.embedded"
    label = "embedded"
