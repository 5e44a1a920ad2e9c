"""Celery's side of re-indexing."""

import contextlib
import logging

from celery import shared_task
from django.core.cache import cache
from django.db import transaction
from redis.exceptions import RedisError

from portrait.gallery.models import Collection
from portrait.gallery.services.spaces import models_of
from portrait.jobs.models import Job
from portrait.jobs.tasks import enqueue_job
from portrait.reindex.handlers import starting_again
from portrait.reindex.models import Reindex
from portrait.reindex.services.filling import Wanted, fill

logger = logging.getLogger(__name__)

MOST_AT_ONCE = 20_000
"""So many faces of a collection and model are looked at in one run: the schedule comes again."""
WHOLE_FOR_S = 6 * 3600


def enqueue(reindex: Reindex) -> None:
    """Give the broker a re-index's newest job; to be called after the commit."""
    job = Job.objects.filter(pk=reindex.job_id).first() if reindex.job_id else None
    if job is not None:
        enqueue_job(job)


def enqueue_on_commit(reindex: Reindex) -> None:
    """The same inside a transaction."""
    transaction.on_commit(lambda: enqueue(reindex))


@shared_task
def fill_missing(anew: bool = False) -> None:
    """Make what collections lack of the models they use or keep, after a crash or an import; bring on re-indexes that
    nobody brings on. Safe to run twice, and at the same time.

    Where nothing was to be made it looks again after `WHOLE_FOR_S`: a look reads every face of the collection.
    anew: look everywhere now.
    """
    starting_again()
    for collection_id in Collection.objects.order_by("pk").values_list("pk", flat=True):
        models = models_of(collection_id)
        for model in models.all:
            key = f"reindex-whole:{collection_id}:{model.pk}"
            if not anew and _remembered(key):
                continue
            other = models.active if model != models.active else None
            done = fill(Wanted(collection_id, model, other=other), most=MOST_AT_ONCE)
            if done.made:
                logger.warning("collection %s lacked %d vectors by %s: made now", collection_id, done.made, model)
            elif done.looked_at < MOST_AT_ONCE:
                _remember(key)


def _remembered(key: str) -> bool:
    try:
        return cache.get(key) is not None
    except RedisError:
        return False


def _remember(key: str) -> None:
    with contextlib.suppress(RedisError):
        cache.set(key, 1, WHOLE_FOR_S)
