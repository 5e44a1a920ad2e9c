"""The scenes' work on the queue `scenes`: captions, objects, and both of what the database holds."""

import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from typing import Any

from celery import shared_task
from django.db import transaction
from django.utils import timezone

from inference.types import CaptionSettings
from portrait.core.errors import NotFoundError
from portrait.gallery.models import Collection, Identity
from portrait.jobs.models import ItemState, Job, JobItem
from portrait.jobs.registry import Handler
from portrait.jobs.removal import delete_ended
from portrait.jobs.services import create_job
from portrait.jobs.tasks import enqueue_job
from portrait.scenes.models import PersonInResult
from portrait.scenes.selectors import Subject, captions_of, segmentations_of, subject_of
from portrait.scenes.services import answers, looking
from portrait.scenes.services.due import DESCRIBE_FRAMES, QUEUE
from portrait.scenes.services.keeping import keep, picture_of
from portrait.scenes.services.looking import DEFAULT, How, Segmented, Told

CAPTION, SEGMENT, DESCRIBE_PORTRAITS = "caption", "segment", "describe_portraits"
KEEP_DONE = timedelta(hours=1)
KEEP_SENT = timedelta(days=1)
NO_RESULT: dict[str, Any] = {"status": "erased"}


@dataclass(frozen=True, slots=True)
class Looked:
    """What was told of an item's picture; subject: where it is the database's own, and the result is kept there."""

    subject: Subject | None
    told: Told | None = None
    segmented: Segmented | None = None


def start_captions(
    *,
    collection: Collection,
    how: How,
    uploads: Sequence[bytes] = (),
    subject: Subject | None = None,
    api_key_id: uuid.UUID | None = None,
) -> Job:
    """Accept pictures for captions through the queue: stored first, then enqueued. People are looked for where `how`
    names the collection."""
    parameters = {"model": how.model, "settings": asdict(how.settings), "people": how.collection is not None}
    return _start(CAPTION, collection, parameters, uploads=uploads, subject=subject, api_key_id=api_key_id)


def start_segmentation(
    *,
    collection: Collection,
    parameters: dict[str, Any],
    uploads: Sequence[bytes] = (),
    subject: Subject | None = None,
    api_key_id: uuid.UUID | None = None,
) -> Job:
    """The same for objects. parameters: model, top_k, score_threshold."""
    return _start(SEGMENT, collection, parameters, uploads=uploads, subject=subject, api_key_id=api_key_id)


def start_describing(*, kind: str, collection_id: uuid.UUID, subjects: list[dict[str, Any]], **models: str) -> Job:
    """Describe what the database holds. subjects: {"portrait": id} or {"frame": id}; models: caption_model,
    segment_model."""
    parameters = {"subjects": subjects, **models}
    job = create_job(kind=kind, queue=QUEUE, collection_id=collection_id, items=len(subjects), parameters=parameters)
    transaction.on_commit(lambda: enqueue_job(job))
    return job


def _start(
    kind: str,
    collection: Collection,
    parameters: dict[str, Any],
    *,
    uploads: Sequence[bytes],
    subject: Subject | None,
    api_key_id: uuid.UUID | None,
) -> Job:
    if subject is not None:
        parameters |= {"subjects": [key_of(subject)]}
    job = create_job(
        kind=kind,
        queue=QUEUE,
        uploads=uploads,
        items=0 if subject is None else 1,
        collection_id=collection.pk,
        subject_id=subject.portrait.identity_id if subject is not None and subject.portrait is not None else None,
        parameters=parameters,
        api_key_id=api_key_id,
    )
    transaction.on_commit(lambda: enqueue_job(job))
    return job


def key_of(subject: Subject) -> dict[str, Any]:
    if subject.frame is not None:
        return {"frame": subject.frame.pk}
    return {"portrait": str(subject.row.pk)}


def _picture(item: JobItem) -> tuple[Subject | None, bytes]:
    if "subjects" in item.job.parameters:
        subject = subject_of(item.job.parameters["subjects"][item.index])
        return subject, picture_of(subject)
    with item.upload.open("rb") as file:
        return None, file.read()


def _tell(data: bytes, how: How, subject: Subject | None) -> Told:
    told = looking.tell(pictures=[data], how=how, count_faces=subject is not None and subject.portrait is not None)[0]
    if not isinstance(told, Told):
        raise told
    return told


class CaptionHandler:
    """Job kind `caption`: parameters model, settings, people; an upload an item, or `subjects`."""

    def prepare(self, item: JobItem) -> Looked:
        parameters = item.job.parameters
        subject, data = _picture(item)
        collection = None
        if parameters["people"] and subject is None:
            collection = _collection_of(item)
        how = How(parameters["model"], CaptionSettings(**parameters["settings"]), collection)
        return Looked(subject, told=_tell(data, how, subject))

    def store(self, item: JobItem, prepared: Looked) -> dict[str, Any]:
        if prepared.subject is not None:
            keep(subject=prepared.subject, told=prepared.told)
            return key_of(prepared.subject) | {"model": prepared.told.model if prepared.told else ""}
        return answers.told_json(_still_there(item, prepared.told)) if prepared.told else {}

    @staticmethod
    def present(items: Sequence[JobItem]) -> list[dict[str, Any] | None]:
        """With the names that people have now; a picture of the database with what is stored of it now."""
        kept = [_stored_caption(item.result) if _is_reference(item.result) else item.result for item in items]
        shown = iter(answers.presented([each for each in kept if each and "caption" in each]))
        answered = [next(shown) if each and "caption" in each else each for each in kept]
        return [_without_people(item, each) for item, each in zip(items, answered, strict=True)]


def _without_people(item: JobItem, answer: dict[str, Any] | None) -> dict[str, Any] | None:
    """Of a picture that is stored, it is known who is in it, even where that was not asked."""
    if not answer or "people" not in answer or item.job.parameters.get("people", True):
        return answer
    return answer | {"people": [], "caption_with_names": None, "names_reason": answers.NOBODY_ASKED}


def _collection_of(item: JobItem) -> Collection:
    wanted = item.job.collection_id
    found = Collection.objects.select_related("active_model").filter(pk=wanted).first() if wanted else None
    if found is None:
        raise NotFoundError("The collection was deleted meanwhile.")
    return found


def _still_there(item: JobItem, told: Told) -> Told:
    """Without those who were erased since they were recognised; the others cannot go before this is committed, and
    are found by `PersonInResult` then."""
    if told.people is None:
        return told
    named = [person.identity_id for person in told.people if person.identity_id]
    rows = Identity.objects.select_for_update(of=("self",), no_key=True).filter(pk__in=named).order_by("pk")
    there = {row.pk for row in rows.only("pk")}
    PersonInResult.objects.bulk_create(PersonInResult(identity_id=key, item=item) for key in there)
    people = (person for person in told.people if person.identity_id is None or person.identity_id in there)
    return replace(told, people=tuple(people))


def _is_reference(result: dict[str, Any] | None) -> bool:
    return bool(result) and bool({"portrait", "frame"} & set(result or {}))


def _stored_caption(result: dict[str, Any] | None) -> dict[str, Any]:
    try:
        subject = subject_of(result or {})
    except NotFoundError:
        return NO_RESULT
    caption = captions_of(subject).filter(model=(result or {}).get("model")).first()
    return answers.stored_json(caption, subject) if caption else NO_RESULT


class SegmentHandler:
    """Job kind `segment`: parameters model, top_k, score_threshold; an upload an item, or `subjects`."""

    def prepare(self, item: JobItem) -> Looked:
        subject, data = _picture(item)
        asked = {name: item.job.parameters[name] for name in ("model", "top_k", "score_threshold")}
        return Looked(subject, segmented=looking.segment(data=data, **asked))

    def store(self, item: JobItem, prepared: Looked) -> dict[str, Any]:
        segmented = prepared.segmented
        if segmented is None:
            return {}
        if prepared.subject is not None:
            keep(subject=prepared.subject, segmented=segmented)
            return key_of(prepared.subject) | {"model": segmented.model}
        return answers.segmented_json(segmented)

    @staticmethod
    def present(items: Sequence[JobItem]) -> list[dict[str, Any] | None]:
        return [_stored_objects(item.result or {}) if _is_reference(item.result) else item.result for item in items]


def _stored_objects(result: dict[str, Any]) -> dict[str, Any]:
    try:
        subject = subject_of(result)
    except NotFoundError:
        return NO_RESULT
    found = segmentations_of(subject).filter(model=result.get("model")).first()
    return answers.stored_segmentation_json(subject, found) if found else NO_RESULT


class DescribeHandler:
    """Job kinds `describe_frames` and `describe_portraits`: parameters subjects (one an item), caption_model and
    segment_model (empty: not asked for)."""

    def prepare(self, item: JobItem) -> Looked:
        subject, data = _picture(item)
        caption_model, segment_model = item.job.parameters["caption_model"], item.job.parameters["segment_model"]
        return Looked(
            subject,
            told=_tell(data, How(_named(caption_model)), subject) if caption_model else None,
            segmented=looking.segment(data=data, model=_named(segment_model)) if segment_model else None,
        )

    def store(self, item: JobItem, prepared: Looked) -> dict[str, Any]:
        if prepared.subject is None:
            return {}
        keep(subject=prepared.subject, told=prepared.told, segmented=prepared.segmented)
        return key_of(prepared.subject) | {
            "captioned_by": prepared.told.model if prepared.told else None,
            "segmented_by": prepared.segmented.model if prepared.segmented else None,
        }


def _named(model: str) -> str | None:
    return None if model == DEFAULT else model


HANDLERS: dict[str, Handler] = {
    CAPTION: CaptionHandler(),
    SEGMENT: SegmentHandler(),
    DESCRIBE_FRAMES: DescribeHandler(),
    DESCRIBE_PORTRAITS: DescribeHandler(),
}


@shared_task
def tidy() -> None:
    """Remove what is soon of no use: jobs that cameras' rules made (one each few seconds, and nobody asked), after an
    hour, those that failed after a day; and jobs of pictures that were sent, with what was told of them, after a day:
    who is in such a picture need not be known to us, so that no erasure finds it."""
    ended = Job.objects.filter(finished_at__lt=timezone.now() - KEEP_DONE)
    of_cameras = ended.filter(kind=DESCRIBE_FRAMES, parameters__has_key="camera")
    delete_ended(jobs=of_cameras.exclude(items__state=ItemState.FAILED))
    old = Job.objects.filter(finished_at__lt=timezone.now() - KEEP_SENT)
    delete_ended(jobs=old.filter(kind=DESCRIBE_FRAMES, parameters__has_key="camera"))
    delete_ended(jobs=old.filter(kind__in=[CAPTION, SEGMENT]).exclude(parameters__has_key="subjects"))
