"""What was told of a picture goes with the picture, and with the people in it."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from portrait.jobs.models import JobItem
from portrait.scenes.models import Caption, PersonInResult, Segmentation


def forget_frames(*, frame_ids: Sequence[int]) -> None:
    """Their captions and objects: they describe who was in them."""
    Caption.objects.filter(frame_id__in=frame_ids).delete()
    Segmentation.objects.filter(frame_id__in=frame_ids).delete()


def forget_person(*, identity_id: UUID) -> None:
    """Take somebody out of the results of jobs; in the transaction that deletes them, their row locked."""
    shown = PersonInResult.objects.filter(identity_id=identity_id).values("item_id")
    for item in JobItem.objects.filter(pk__in=shown).select_for_update(of=("self",)).only("result").order_by("id"):
        if item.result is not None and "people" in item.result:  # else it was lost, and is done anew
            JobItem.objects.filter(pk=item.pk).update(result=without(item.result, identity_id))


def without(result: dict[str, Any], identity_id: UUID) -> dict[str, Any]:
    """A result as `answers.told_json` makes it, from which somebody is gone without a trace of where they were."""
    people = [person for person in result["people"] if person["identity"] != str(identity_id)]
    return result | {"people": people, "erased": True}
