"""Watched people: an alert at the first hit, one a sighting."""

from collections.abc import Sequence
from functools import partial
from uuid import UUID

from django.db import transaction
from django.db.models import Q, QuerySet

from portrait.cameras.models import Camera
from portrait.sightings import evidence
from portrait.sightings.evidence import moment
from portrait.sightings.models import Alert, Detection, Sighting, Watch
from portrait.sightings.services.tracks import Touch, Touches
from portrait.sightings.signals import alert_raised


def raise_alerts(*, camera: Camera, touches: Touches) -> None:
    """Alerts for those whose hits changed and who are watched. Under the camera's lock, after `events.update`."""
    here = Q(cameras=None) | Q(cameras=camera)
    watches = Watch.objects.filter(here, enabled=True, collection_id=camera.collection_id, identity_id__in=touches)
    gap = evidence.rule_of(camera).gap
    for watch in watches.distinct():
        _look(camera, watch, touches[watch.identity_id], gap)


def _look(camera: Camera, watch: Watch, touch: Touch, gap: int) -> None:
    """An alert for each appearance (hits without a long pause) that was touched and has none yet."""
    times = [*touch.added, *(time for time in (touch.since, touch.until) if time is not None)]
    for run in _appearances(evidence.hits(camera, watch.identity_id, min(times), max(times), gap), gap):
        begin, end = run[0], run[-1]
        if end < min(times) or begin > max(times):
            continue
        rows = Sighting.objects.filter(camera=camera, identity_id=watch.identity_id)
        sighting = rows.filter(first_seen__gte=moment(begin), last_seen__lte=moment(end)).first()
        known = _alerts_of(camera, watch, begin, end, sighting)
        if known is None:
            _raise(camera, watch, sighting, begin, end)
        elif sighting is not None and known.sighting_id != sighting.pk:
            known.sighting = sighting
            known.save(update_fields=["sighting"])


def _appearances(times: Sequence[int], gap: int) -> list[list[int]]:
    runs: list[list[int]] = []
    for time in times:
        if runs and time - runs[-1][-1] <= gap:
            runs[-1].append(time)
        else:
            runs.append([time])
    return runs


def _alerts_of(camera: Camera, watch: Watch, begin: int, end: int, sighting: Sighting | None) -> Alert | None:
    """The alert of an appearance: its sighting's, or one that was made at a hit of it."""
    alerts: QuerySet[Alert] = Alert.objects.filter(watch=watch, camera=camera).order_by("captured_at", "id")
    of_sighting = alerts.filter(sighting=sighting).first() if sighting is not None else None
    return of_sighting or alerts.filter(captured_at__range=(moment(begin), moment(end))).first()


def _raise(camera: Camera, watch: Watch, sighting: Sighting | None, begin: int, end: int) -> None:
    seen = Detection.objects.filter(camera=camera, identity_id=watch.identity_id, similarity__gte=watch.min_similarity)
    hit = seen.filter(captured_at__range=(moment(begin), moment(end))).order_by("captured_at", "id").first()
    if hit is None:
        return
    identity_id: UUID = watch.identity_id
    alert = Alert.objects.create(
        watch=watch,
        camera=camera,
        identity_id=identity_id,
        sighting=sighting,
        detection=hit,
        captured_at=hit.captured_at,
        similarity=hit.similarity or 0.0,
    )
    transaction.on_commit(partial(alert_raised.send_robust, sender=Alert, alert_id=alert.pk), robust=True)
