from django.apps import AppConfig


class SmartavConfig(AppConfig):
    """The first-generation API: no tables of its own; its addresses exist only with PORTRAIT_SMARTAV."""

    name = "portrait.compat.smartav"

    def ready(self) -> None:
        from portrait.compat.smartav.shapes import ROOTS, error_json
        from portrait.core.api_errors import tell_errors_below

        for root in ROOTS:
            tell_errors_below(root, error_json)
