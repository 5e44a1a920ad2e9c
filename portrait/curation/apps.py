"""What people are asked about identities: suggestions, and the queue of those that wait for an answer."""

from django.apps import AppConfig


class CurationConfig(AppConfig):
    name = "portrait.curation"
