"""Scans on the queue `reindex`, behind live work: a stretch of people an item, and in the last the questions."""

import logging
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from celery import shared_task

from inference.errors import InferenceError
from portrait.core.errors import PortraitError
from portrait.curation.looking import Looked
from portrait.curation.proposals import Proposal
from portrait.curation.services import scanning
from portrait.curation.services.starting import collection_of, has_news, start_scan
from portrait.gallery.models import Collection
from portrait.jobs.growing import renew_lease
from portrait.jobs.models import OPEN_STATES, ItemState, JobItem

logger = logging.getLogger(__name__)


class PartsUnderWayError(InferenceError):
    """The last item waits for the others."""

    code: ClassVar[str] = "parts_under_way"
    retryable: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class Prepared:
    """What an item came to: `looked` of one with people, `proposals` of the last."""

    collection: Collection
    looked: list[Looked]
    proposals: list[Proposal]


class SuggestHandler:
    """Job kind `suggest`: parameters parts, since, began, model. Each item can be done any number of times."""

    def prepare(self, item: JobItem) -> Prepared:
        collection, parameters = collection_of(item.job), item.job.parameters
        if item.index < parameters["parts"]:
            since = datetime.fromisoformat(parameters["since"]) if parameters["since"] else None
            looked = scanning.look_at_part(
                collection=collection,
                part=item.index,
                parts=parameters["parts"],
                since=since,
                beat=lambda: renew_lease(item=item),
            )
            return Prepared(collection, looked, [])
        if item.job.items.filter(state__in=OPEN_STATES).exclude(pk=item.pk).exists():
            raise PartsUnderWayError("the other items of this scan come first")
        return Prepared(collection, [], scanning.group(collection=collection, beat=lambda: renew_lease(item=item)))

    def store(self, item: JobItem, prepared: Prepared) -> dict[str, Any]:
        collection, parameters = prepared.collection, item.job.parameters
        if item.index < parameters["parts"]:
            opened = sum(scanning.store_looked(collection=collection, looked=each) for each in prepared.looked)
            people = sum(len(each.people) for each in prepared.looked)
            return {"people": people, "alike": sum(len(each.near) for each in prepared.looked), "opened": opened}
        result = scanning.store_groups(collection=collection, proposals=prepared.proposals)
        if item.job.items.filter(state__in=[ItemState.FAILED, ItemState.CANCELLED]).exists():
            return result | {"incomplete": True}  # the next scan begins where the last whole one did
        scanning.note_scan(
            collection=collection,
            job_id=item.job_id,
            began=datetime.fromisoformat(parameters["began"]),
            full=parameters["since"] is None,
        )
        return result


@shared_task
def suggest_all() -> None:
    """Look every collection through in which something changed; one that is being looked through is left alone."""
    for collection in Collection.objects.select_related("active_model").order_by("pk"):
        try:
            if has_news(collection):
                start_scan(collection=collection)
        except PortraitError as error:  # a full queue of one collection is no reason to leave out those after it
            logger.warning("no scan of %s: %s", collection.pk, error.message)
