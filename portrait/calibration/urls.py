"""Calibrations' part of the API."""

from rest_framework.routers import SimpleRouter

from portrait.calibration.api.calibrations import CalibrationViewSet

router = SimpleRouter(trailing_slash=False)
router.register("calibrations", CalibrationViewSet, basename="calibration")
urlpatterns = router.urls
