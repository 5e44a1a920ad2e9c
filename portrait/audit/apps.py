"""Who asked what about whom: a log that grows and is never changed."""

from django.apps import AppConfig


class AuditConfig(AppConfig):
    name = "portrait.audit"
