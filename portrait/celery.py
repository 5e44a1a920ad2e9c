"""The Celery application: `celery -A portrait.celery worker`. Its settings are the CELERY_ ones of Django's."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portrait.settings")

app = Celery("portrait")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
