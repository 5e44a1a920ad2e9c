"""Hits become sightings: what `windows.spans` says of all of a person's hits, kept up to date as hits come and go."""

from collections.abc import Sequence
from uuid import UUID

from django.db.models import QuerySet
from django.utils import timezone

from portrait.cameras.models import Camera
from portrait.sightings import evidence
from portrait.sightings.evidence import microseconds, moment
from portrait.sightings.models import Alert, Detection, Sighting
from portrait.sightings.services.judging import Touch, Touches
from portrait.sightings.windows import Rule, Span, only_extends, spans


def update(*, camera: Camera, touches: Touches, undoing: bool | None = None) -> None:
    """Bring the sightings of everybody up to date whose hits changed. Under the camera's lock.

    undoing: False where an edit of people changed them: rows that no hits hold any more are parked; True where it is
    undone: those come back with their hits, with id, picture and alerts. None: frames came in.
    """
    rule = evidence.rule_of(camera)
    for identity_id, touch in sorted(touches.items()):
        changed = bool(touch.added) or touch.since is not None
        if changed and not _extend(camera, rule, identity_id, touch):
            _rebuild(camera, rule, identity_id, touch, undoing)


def _extend(camera: Camera, rule: Rule, identity_id: UUID, touch: Touch) -> bool:
    """The usual case without a look at earlier hits: one sighting that only goes on. False: it is not that case."""
    if touch.since is not None or not touch.added:
        return False
    added = sorted(touch.added)
    rows = list(_touching(camera, identity_id, added[0] - rule.gap, added[-1] + rule.gap))
    if len(rows) != 1 or len(set(added)) != len(added):
        return False
    row = rows[0]
    span = Span(microseconds(row.first_seen), microseconds(row.last_seen), row.hits)
    last = max(span.last, added[-1])
    beyond = sum(time > span.last for time in added)
    if not only_extends(span, added, rule) or _seen(camera, identity_id, span.last, last + rule.gap) != beyond:
        return False
    row.last_seen, row.hits = moment(last), row.hits + len(added)
    _keep_best(row, since=added[0], until=added[-1])
    row.save()
    return True


def _rebuild(camera: Camera, rule: Rule, identity_id: UUID, touch: Touch, undoing: bool | None) -> None:
    """From the hits themselves: the sightings around what changed."""
    times = [*touch.added, *(time for time in (touch.since, touch.until) if time is not None)]
    since, until = min(times), max(times)
    near = list(_touching(camera, identity_id, since - rule.gap, until + rule.gap))
    if not near and not spans(
        evidence.hits_between(camera, identity_id, since - rule.window, until + rule.window), rule
    ):
        return  # no window that holds what changed is full: stray hits, of which there may be very many around
    for row in near:
        since, until = min(since, microseconds(row.first_seen)), max(until, microseconds(row.last_seen))
    hits = evidence.hits(camera, identity_id, since, until, rule.gap)
    bounds = [since, until, *hits]
    have = list(_touching(camera, identity_id, min(bounds), max(bounds)))
    _reconcile(camera, identity_id, have, spans(hits, rule), undoing)


def _touching(camera: Camera, identity_id: UUID, since: int, until: int) -> "QuerySet[Sighting]":
    rows = Sighting.objects.filter(camera=camera, identity_id=identity_id)
    return rows.filter(last_seen__gte=moment(since), first_seen__lte=moment(until)).order_by("first_seen")


def _seen(camera: Camera, identity_id: UUID, after: int, until: int) -> int:
    """In how many frames of a stretch the person is."""
    later = Detection.objects.filter(camera=camera, identity_id=identity_id, captured_at__gt=moment(after))
    return later.filter(captured_at__lte=moment(until)).values("frame_id").distinct().count()


def _reconcile(
    camera: Camera, identity_id: UUID, have: Sequence[Sighting], wanted: Sequence[Span], undoing: bool | None
) -> None:
    """Make the rows say what the hits say; a sighting that goes on keeps its row, and with it its alerts."""
    unused, pairs = list(have), list[tuple[Span, Sighting | None]]()
    parked = _parked(camera, identity_id, wanted) if undoing else []
    for span in wanted:
        row = next((row for row in (*unused, *parked) if _overlap(row, span)), None)
        if row is not None:
            (parked if row in parked else unused).remove(row)
        pairs.append((span, row))
    for row in unused:
        if undoing is False:
            _park(row)
        else:
            _leave_picture(row, pairs)
            row.delete()
    for span, row in pairs:
        sighting = row or Sighting(camera=camera, collection_id=camera.collection_id, identity_id=identity_id)
        sighting.first_seen, sighting.last_seen = moment(span.first), moment(span.last)
        sighting.hits, sighting.parked_at = span.hits, None
        sighting.best, sighting.best_quality = None, -1.0
        _keep_best(sighting, since=span.first, until=span.last)
        sighting.save()
    _reattach(camera, identity_id, [span for span, _ in pairs])


def _parked(camera: Camera, identity_id: UUID, wanted: Sequence[Span]) -> list[Sighting]:
    """Those of the person that wait for an undo around these spans; first those that fit exactly, then the newest."""
    if not wanted:
        return []
    rows = Sighting.everything.filter(camera=camera, identity_id=identity_id, parked_at__isnull=False)
    near = rows.filter(last_seen__gte=moment(wanted[0].first), first_seen__lte=moment(wanted[-1].last))
    exactly = {(span.first, span.last) for span in wanted}
    newest = near.order_by("-parked_at", "pk")
    return sorted(newest, key=lambda row: (microseconds(row.first_seen), microseconds(row.last_seen)) not in exactly)


def _park(row: Sighting) -> None:
    row.alerts.update(sighting=None)
    Sighting.objects.filter(pk=row.pk).update(parked_at=timezone.now())


def _leave_picture(row: Sighting, pairs: Sequence[tuple[Span, Sighting | None]]) -> None:
    """A sighting that becomes a part of another leaves it its cut-out: the frame may be gone."""
    heir = next((other for span, other in pairs if other is not None and _overlap(row, span)), None)
    if row.picture and heir is not None and not heir.picture:
        heir.picture, row.picture = row.picture.name, ""


def _overlap(row: Sighting, span: Span) -> bool:
    return microseconds(row.first_seen) <= span.last and microseconds(row.last_seen) >= span.first


def _keep_best(sighting: Sighting, *, since: int, until: int) -> None:
    """Take the best face of this stretch if it is better than the one the sighting has; of equals the earlier."""
    faces = Detection.objects.filter(camera_id=sighting.camera_id, identity_id=sighting.identity_id)
    inside = faces.filter(captured_at__range=(moment(since), moment(until)))
    best = inside.select_related("track").order_by("-grade", "-quality_score", "captured_at", "id").first()
    if best is None:
        return
    quality = best.grade + best.quality_score / 2
    if quality > sighting.best_quality or (quality == sighting.best_quality and _earlier(best, sighting.best)):
        sighting.best, sighting.best_quality = best, quality
        sighting.similarity = best.track.similarity if best.track else best.similarity


def _earlier(one: Detection, other: Detection | None) -> bool:
    return other is not None and one.captured_at < other.captured_at


def _reattach(camera: Camera, identity_id: UUID, wanted: Sequence[Span]) -> None:
    """Alerts of sightings that were joined, cut, or given to somebody else belong to those that hold their hit."""
    rows = Sighting.objects.filter(camera=camera, identity_id=identity_id)
    loose = Alert.objects.filter(camera=camera, identity_id=identity_id).exclude(sighting__in=rows)
    for span in wanted:
        for alert in loose.filter(captured_at__range=(moment(span.first), moment(span.last))):
            home = rows.filter(first_seen__lte=alert.captured_at, last_seen__gte=alert.captured_at).first()
            if home is not None and not home.alerts.filter(watch_id=alert.watch_id).exists():
                alert.sighting = home
                alert.save(update_fields=["sighting"])
