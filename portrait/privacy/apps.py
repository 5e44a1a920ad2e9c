"""A person's rights in their data: export, erasure with proof, retention."""

from django.apps import AppConfig


class PrivacyConfig(AppConfig):
    name = "portrait.privacy"
