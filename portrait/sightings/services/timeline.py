"""One camera's story: whoever adds to it holds its lock, so that two workers never open a sighting twice."""

from collections.abc import Sequence
from uuid import UUID

from django.db.models import DateTimeField, Value
from django.db.models.functions import Coalesce, Greatest
from django.utils import timezone

from portrait.cameras.models import Camera
from portrait.gallery.models import EmbeddingModel
from portrait.sightings.models import Timeline, Track
from portrait.sightings.services import alerts, events, judging, tracks
from portrait.sightings.services.judging import Work
from portrait.sightings.services.tracks import SeenFrame


def lock(camera_id: UUID) -> Timeline:
    """Wait until nobody else changes this camera's story; until the transaction's end nobody else does."""
    mine = Timeline.objects.filter(camera_id=camera_id).select_for_update(of=("self",))
    found = mine.first()
    if found is None:
        Timeline.objects.bulk_create([Timeline(camera_id=camera_id)], ignore_conflicts=True)
        found = mine.get()
    return found


def record(
    *, camera: Camera, model: EmbeddingModel, seen: Sequence[SeenFrame], kept: Sequence[EmbeddingModel] = ()
) -> Work:
    """Add what was found in frames, in any order: detections, tracks, sightings, alerts. Inside a transaction, under
    the lock.

    camera: with its collection and that one's active model. model: that active model. kept: further ones whose
    vectors are stored (`gallery.services.spaces.lock_models`).

    Raises:
        NotEmbeddedError: the network behind one of the models did not see the faces.
    """
    work = Work(camera, model, kept=tuple(kept))
    tracks.extend(work=work, seen=seen)
    _tell(work)
    at = Value(max(each.frame.captured_at for each in seen), DateTimeField())
    timeline = Timeline.objects.filter(camera=camera)
    timeline.update(latest=Greatest(Coalesce("latest", at), at), advanced_at=timezone.now())
    return work


def look_again(*, camera: Camera, model: EmbeddingModel, track: Track) -> None:
    """Decide anew who a track is, since the gallery changed. Inside a transaction, under the lock."""
    work = Work(camera, model, {track.pk: track})
    judging.look_again(work, track)
    _tell(work)


def _tell(work: Work) -> None:
    if work.touches:
        events.update(camera=work.camera, touches=work.touches)
        alerts.raise_alerts(camera=work.camera, touches=work.touches)
