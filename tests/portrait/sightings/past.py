"""A past that edits of people label anew: what of it they may change, and the jobs that do it."""

from typing import Any

from django.db import transaction

from portrait.cameras.models import Camera
from portrait.gallery.models import Change, Collection
from portrait.gallery.services.identities import default_embedding_model
from portrait.jobs import services as jobs
from portrait.jobs.models import OPEN_STATES, Job, JobItem
from portrait.sightings.models import Alert, Detection, FaceRejection, Sighting, Track, Watch
from portrait.sightings.services import timeline
from portrait.sightings.services.tracks import SeenFrame
from tests.portrait.gallery import people


def record(camera: Camera, seen: list[SeenFrame]) -> None:
    with transaction.atomic():
        timeline.lock(camera.pk)
        timeline.record(camera=camera, model=default_embedding_model(), seen=seen)


def run_jobs() -> None:
    """All items of `history` that wait, as a worker does them."""
    waiting = JobItem.objects.filter(job__kind="history", state__in=OPEN_STATES)
    for item_id in list(waiting.order_by("job__created_at", "index").values_list("pk", flat=True)):
        item = jobs.claim(item_id=item_id)
        assert item is not None
        jobs.process(item=item)


def results(change: Change) -> dict[str, int]:
    """What the items of a change's job did, together."""
    total: dict[str, int] = {}
    for result in Job.objects.get(pk=change.job_id).items.values_list("result", flat=True):
        for name, count in (result or {}).items():
            total[name] = total.get(name, 0) + count
    return total


def snapshot(collection: Collection) -> dict[str, list[Any]]:
    """As of the gallery, and all that was seen."""
    cameras = list(Camera.objects.filter(collection=collection))
    tracks = Track.objects.filter(camera__in=cameras).order_by("pk")
    faces = Detection.objects.filter(camera__in=cameras).order_by("pk")
    sightings = Sighting.objects.filter(camera__in=cameras)
    return people.snapshot(collection) | {
        "tracks": list(tracks.values_list("pk", "identity", "similarity", "pinned")),
        "faces": list(faces.values_list("pk", "identity", "track")),
        "sightings": sorted(
            sightings.values_list(
                "pk", "camera", "identity", "first_seen", "last_seen", "hits", "best", "similarity", "picture"
            ),
            key=str,
        ),
        "watches": list(Watch.objects.filter(collection=collection).order_by("pk").values_list("pk", "identity")),
        "alerts": list(
            Alert.objects.filter(camera__in=cameras).order_by("pk").values_list("pk", "identity", "sighting")
        ),
        "face rejections": sorted(
            FaceRejection.objects.filter(detection__camera__in=cameras).values_list("pk", "identity", "detection"),
            key=str,
        ),
    }
