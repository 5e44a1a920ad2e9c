"""The Celery application: `celery -A portrait.celery worker`. Its settings are the CELERY_ ones of Django's."""

import os
from typing import Any

from celery import Celery
from kombu.transport import redis
from redis.exceptions import ConnectionError as RedisConnectionError

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portrait.settings")

app = Celery("portrait")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


class _Channel(redis.Channel):
    """A channel that says so where its connection is gone.

    After a loss of the connection, Celery 5.7 still gives back and acknowledges tasks over the old one, and kombu fails
    with an AttributeError, which ends the worker; a connection's error it takes as one. What is not given back is in
    the ledgers, which are swept.
    """

    def _connparams(self, asynchronous: bool = False) -> Any:
        if self.connection is None or self.connection.client is None:
            raise RedisConnectionError("the connection to the broker was lost")
        return super()._connparams(asynchronous=asynchronous)  # type: ignore[misc]  # the stubs lack it


redis.Transport.Channel = _Channel
