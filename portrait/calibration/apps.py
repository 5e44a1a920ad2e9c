"""How far genuine and impostor faces of a collection are apart, and the threshold that follows."""

from django.apps import AppConfig


class CalibrationConfig(AppConfig):
    name = "portrait.calibration"
