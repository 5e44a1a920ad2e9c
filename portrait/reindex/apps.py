"""From one embedding model to another while everything goes on."""

from django.apps import AppConfig


class ReindexConfig(AppConfig):
    name = "portrait.reindex"
