"""Watched people: an alert at the first hit, one a sighting."""

from collections.abc import Sequence
from functools import partial

from django.db import transaction
from django.db.models import Q

from portrait.cameras.models import Camera
from portrait.sightings import evidence
from portrait.sightings.evidence import moment
from portrait.sightings.models import Alert, Detection, Sighting, Watch
from portrait.sightings.services.judging import Touch, Touches
from portrait.sightings.signals import alert_raised


def raise_alerts(*, camera: Camera, touches: Touches) -> None:
    """Alerts for those whose hits changed and who are watched. Under the camera's lock, after `events.update`."""
    here = Q(all_cameras=True) | Q(cameras=camera)
    watches = Watch.objects.filter(here, enabled=True, collection_id=camera.collection_id, identity_id__in=touches)
    watches = watches.filter(identity__deleted_at=None, identity__merged_into=None)
    gap = evidence.rule_of(camera).gap
    for watch in watches.distinct():
        _look(camera, watch, touches[watch.identity_id], gap)


def _look(camera: Camera, watch: Watch, touch: Touch, gap: int) -> None:
    """An alert for each stay (hits without a long pause) that was touched and has none yet."""
    times = {*touch.added, *touch.surer}
    if touch.since is not None and touch.until is not None:
        times |= set(evidence.hits_between(camera, watch.identity_id, touch.since, touch.until))
    for begin, end in _stays(sorted(times), gap):
        sightings = Sighting.objects.filter(camera=camera, identity_id=watch.identity_id)
        sighting = sightings.filter(first_seen__lte=moment(end), last_seen__gte=moment(begin)).first()
        known = _alert_of(camera, watch, sighting, begin - gap, end + gap)
        if known is None:
            _raise(camera, watch, sighting, begin, end)
        else:
            _extend(known, sighting, end)


def _stays(times: Sequence[int], gap: int) -> list[tuple[int, int]]:
    """First and last hit of each stay."""
    stays: list[tuple[int, int]] = []
    for time in times:
        if stays and time - stays[-1][1] <= gap:
            stays[-1] = (stays[-1][0], time)
        else:
            stays.append((time, time))
    return stays


def _alert_of(camera: Camera, watch: Watch, sighting: Sighting | None, since: int, until: int) -> Alert | None:
    """The alert of a stay: its sighting's, or one that was made at a hit of it."""
    alerts = Alert.objects.filter(watch=watch, camera=camera).order_by("captured_at", "id")
    of_sighting = alerts.filter(sighting=sighting).first() if sighting is not None else None
    return of_sighting or alerts.filter(captured_at__lte=moment(until), last_hit_at__gte=moment(since)).first()


def _extend(alert: Alert, sighting: Sighting | None, end: int) -> None:
    """The stay goes on, and perhaps has become a sighting."""
    alert.last_hit_at = max(alert.last_hit_at, moment(end))
    if sighting is not None and alert.sighting_id is None:
        alert.sighting = sighting
    alert.save(update_fields=["last_hit_at", "sighting"])


def _raise(camera: Camera, watch: Watch, sighting: Sighting | None, begin: int, end: int) -> None:
    seen = Detection.objects.filter(
        camera=camera, identity_id=watch.identity_id, track__similarity__gte=watch.min_similarity
    )
    inside = seen.filter(captured_at__range=(moment(begin), moment(end)))
    hit = inside.select_related("track").order_by("captured_at", "id").first()
    if hit is None or hit.track is None:
        return
    alert = Alert.objects.create(
        watch=watch,
        camera=camera,
        identity_id=watch.identity_id,
        sighting=sighting,
        detection=hit,
        captured_at=hit.captured_at,
        last_hit_at=moment(end),
        similarity=hit.track.similarity or 0.0,
    )
    transaction.on_commit(partial(alert_raised.send_robust, sender=Alert, alert_id=alert.pk), robust=True)
