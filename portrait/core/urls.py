"""Health."""

from django.urls import path

from portrait.core import health

urlpatterns = [path("healthz", health.healthz), path("readyz", health.readyz)]
