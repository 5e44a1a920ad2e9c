"""How far genuine and impostor faces of a collection are apart, and the threshold that follows."""

from django.apps import AppConfig


class CalibrationConfig(AppConfig):
    name = "portrait.calibration"

    def ready(self) -> None:
        from portrait.calibration import following  # noqa: F401  (connects what follows people and rows)
        from portrait.calibration.tasks import CALIBRATE, CalibrateHandler
        from portrait.jobs.registry import register

        register(CALIBRATE, CalibrateHandler())
