"""Long work: jobs and their items."""

from django.apps import AppConfig


class JobsConfig(AppConfig):
    name = "portrait.jobs"
