"""What was told of a picture goes with the picture, and with the people in it."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from portrait.jobs.models import Job, JobItem
from portrait.scenes.models import Caption, PersonInResult, Segmentation


def forget_frames(*, frame_ids: Sequence[int]) -> None:
    """Their captions and objects: they describe who was in them."""
    Caption.objects.filter(frame_id__in=frame_ids).delete()
    Segmentation.objects.filter(frame_id__in=frame_ids).delete()


def forget_person(*, identity_id: UUID) -> None:
    """Take somebody out of the results of jobs; in the transaction that deletes them, their row locked."""
    shown = PersonInResult.objects.filter(identity_id=identity_id).values("item_id")
    items = JobItem.objects.filter(pk__in=shown).select_related("job").select_for_update(of=("self",))
    for item in items.order_by("id"):
        if item.result is not None and "people" in item.result:  # else it was lost, and is done anew
            result = without(item.result, identity_id)
            if prompt_of(item.job):  # the caller's words, which may be a name
                result |= {"caption": ""}
                forget_prompt(item.job)
            JobItem.objects.filter(pk=item.pk).update(result=result)


def prompt_of(job: Job) -> str:
    return str((job.parameters.get("settings") or {}).get("prompt") or "")


def forget_prompt(job: Job) -> None:
    job.parameters = job.parameters | {"settings": job.parameters["settings"] | {"prompt": None}}
    job.save(update_fields=["parameters", "updated_at"])


def without(result: dict[str, Any], identity_id: UUID) -> dict[str, Any]:
    """A result as `answers.told_json` makes it, from which somebody is gone without a trace of where they were."""
    people = [person for person in result["people"] if person["identity"] != str(identity_id)]
    return result | {"people": people, "erased": True}
