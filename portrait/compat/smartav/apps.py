from django.apps import AppConfig


class SmartavConfig(AppConfig):
    """The first-generation API: no tables of its own; its addresses exist only with PORTRAIT_SMARTAV."""

    name = "portrait.compat.smartav"
