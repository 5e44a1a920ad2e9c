"""One camera's story: whoever adds to it holds its lock, so that two workers never open a sighting twice."""

from collections import defaultdict
from collections.abc import Sequence
from uuid import UUID

from django.db.models.functions import Greatest
from django.utils import timezone

from portrait.cameras.models import Camera
from portrait.gallery.models import EmbeddingModel, Identity
from portrait.sightings import evidence
from portrait.sightings.decide import Decision
from portrait.sightings.models import Detection, Timeline, Track
from portrait.sightings.services import alerts, events, tracks
from portrait.sightings.services.tracks import SeenFrame, Touch, Touches


def lock(camera_id: UUID) -> Timeline:
    """Wait until nobody else changes this camera's story; until the transaction's end nobody else does."""
    mine = Timeline.objects.filter(camera_id=camera_id).select_for_update(of=("self",))
    found = mine.first()
    if found is None:
        Timeline.objects.bulk_create([Timeline(camera_id=camera_id)], ignore_conflicts=True)
        found = mine.get()
    return found


def record(*, camera: Camera, model: EmbeddingModel, seen: Sequence[SeenFrame]) -> None:
    """Add what was found in frames, in any order: detections, tracks, sightings, alerts. Inside a transaction, under
    the lock.

    camera: with its collection and that one's active model. model: the maker of the vectors.
    """
    touches = tracks.extend(camera=camera, model=model, seen=seen)
    _tell(camera, touches)
    newest = max(each.frame.captured_at for each in seen)
    # PostgreSQL's GREATEST passes over NULL, which `latest` is at first
    Timeline.objects.filter(camera=camera).update(latest=Greatest("latest", newest), advanced_at=timezone.now())


def name_track(*, camera: Camera, model: EmbeddingModel, track: Track, identity: Identity, similarity: float) -> None:
    """Say who a track is, against what was decided so far. Inside a transaction, under the lock."""
    touches: Touches = defaultdict(Touch)
    tracks.relabel(track, Decision(identity.pk, similarity), touches)
    track.save()
    for other in evidence.beside(track.pk).exclude(template=[]):
        tracks.judge(camera=camera, model=model, track=other, touches=touches)
    _tell(camera, touches)


def _tell(camera: Camera, touches: Touches) -> None:
    if touches:
        events.update(camera=camera, touches=touches)
        alerts.raise_alerts(camera=camera, touches=touches)


def is_unseen(identity_id: UUID) -> bool:
    """Whether no face is taken for this person any more."""
    return not Detection.objects.filter(identity_id=identity_id).exists()
